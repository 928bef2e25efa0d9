//! The log: one line for each request.

use serde_json::Value;
use tests::{Answer, Client, Engine, Env, Kvd, load::until};

tests::list! {
    Once =>
        a_start_and_an_end_that_go_well_warn_of_nothing,
        each_request_is_one_line_that_says_what_who_and_how_long,
        the_log_holds_templates_and_never_a_key,
        each_line_of_a_json_log_is_json,
        the_request_id_of_the_answer_is_the_one_in_the_log,
        an_id_of_1_to_128_visible_ascii_characters_is_taken_over,
        rust_log_sets_levels,
        without_rust_log_requests_that_did_not_fail_are_no_lines,
        a_wrong_rust_log_is_exit_code_2,
        the_settings_in_force_are_said_at_start,
        what_every_request_meets_is_said_a_few_times_and_then_counted;
    Only(Engine::Postgres) =>
        a_failure_that_its_client_does_not_wait_for_is_said_once_with_its_id
}

/// The one line about the request with this id.
async fn line_of(kvd: &Kvd, id: &str) -> String {
    kvd.logged(id).await;
    let log = kvd.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(id)).collect();
    assert_eq!(lines.len(), 1, "lines with {id} in: {log}");
    lines[0].to_owned()
}

#[track_caller]
fn assert_holds(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "no {part} in: {line}");
    }
}

async fn each_request_is_one_line_that_says_what_who_and_how_long(env: Env) {
    let kvd = env.start().await;
    let _created = kvd.create("a", "b").await;
    let requests = [
        (kvd.get("/items/a"), "GET", "/items/{key}", "200"),
        (kvd.get("/items/?page=2"), "GET", "/items/", "200"),
        (kvd.get("/items"), "GET", "/items/", "200"),
        (kvd.post("a", "b"), "POST", "/items/", "409"),
        (kvd.put("/items/x", "b"), "PUT", "/items/{key}", "404"),
        (kvd.delete("/items/a"), "DELETE", "/items/{key}", "204"),
        (kvd.get("/livez"), "GET", "/livez", "200"),
        (kvd.get("/docs"), "GET", "/docs", "200"),
    ];
    for (n, (request, method, route, status)) in requests.into_iter().enumerate() {
        let id = format!("request-{n}-of-mine");
        let _answer = request.header("X-Request-Id", &id).await;
        let line = line_of(&kvd, &id).await;
        assert_holds(&line, &[method, route, status, "127.0.0.1", "duration"]);
    }
    let other = kvd.client_at("127.0.0.7");
    let _answer = other.get("/items/").header("X-Request-Id", "from-7").await;
    assert_holds(&line_of(&kvd, "from-7").await, &["127.0.0.7"]);
}

async fn the_log_holds_templates_and_never_a_key(env: Env) {
    for format in ["text", "json"] {
        let kvd = env.kvd().arg("--log-format", format).start().await;
        let _created = kvd.put("/items/s3cret?upsert=true", "s3cret").await;
        let _read = kvd.get("/items/s3cret").await.expect(200);
        let _list = kvd.get("/items/?prefix=s3cret").await.expect(200);
        kvd.post("s3cret", "s3cret")
            .await
            .problem(409, "key-exists");
        kvd.get("/items/%FFs3cret")
            .await
            .problem(400, "invalid-key");
        kvd.get("/items/a/s3cret")
            .await
            .problem(404, "route-not-found");
        kvd.get("/s3cret?s3cret=s3cret")
            .await
            .problem(404, "route-not-found");
        let _gone = kvd.delete("/items/s3cret").await.expect(204);
        let log = kvd.stop().await.expect(0).stderr;
        assert!(!log.contains("s3cret"), "{log}");
        assert!(log.contains("/items/{key}"), "{log}");
    }
}

async fn each_line_of_a_json_log_is_json(env: Env) {
    let start = env.kvd().env("LOG_FORMAT", "json");
    let kvd = start.env("RUST_LOG", "debug").start().await;
    let id = r#"a"b\c{d}'e<f>%22"#;
    let request = kvd.delete("/items/a").header("X-Request-Id", id);
    request.await.problem(404, "item-not-found");
    let _more = kvd.get("/livez").await.expect(200);
    let log = kvd.stop().await.expect(0).stderr;
    let parsed = log.lines().map(|line| {
        let parsed = serde_json::from_str(line);
        parsed.unwrap_or_else(|e| panic!("{e}: {line}"))
    });
    let of_request = parsed.filter(|line: &Value| line["route"] == "/items/{key}");
    let lines: Vec<Value> = of_request.collect();
    assert_eq!(lines.len(), 1, "{log}");
    let line = &lines[0];
    assert_eq!(line["method"], "DELETE");
    assert_eq!(line["status"], 404);
    assert_eq!(line["client"], "127.0.0.1");
    assert!(line["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0));
    assert!(holds(line, id), "no id in {line}");
    assert!(line["timestamp"].is_string() && line["level"] == "DEBUG");
}

/// Whether some member, however deep, is this text.
fn holds(json: &Value, text: &str) -> bool {
    match json {
        Value::String(found) => found == text,
        Value::Array(all) => all.iter().any(|one| holds(one, text)),
        Value::Object(members) => members.values().any(|one| holds(one, text)),
        _ => false,
    }
}

fn id_of(answer: &Answer) -> String {
    answer
        .header("x-request-id")
        .expect("X-Request-Id")
        .to_owned()
}

async fn the_request_id_of_the_answer_is_the_one_in_the_log(env: Env) {
    let kvd = env.start().await;
    let mut ids = Vec::new();
    for path in [
        "/items/",
        "/items/a",
        "/nowhere",
        "/livez",
        "/items/?page=0",
    ] {
        let id = id_of(&kvd.get(path).await);
        let line = line_of(&kvd, &id).await;
        assert_holds(&line, &["GET"]);
        ids.push(id);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5, "each has its own");
}

/// The id of the answer to a request with this one.
async fn answered(kvd: &Client, id: &str) -> String {
    id_of(&kvd.get("/items/").header("X-Request-Id", id).await)
}

async fn an_id_of_1_to_128_visible_ascii_characters_is_taken_over(env: Env) {
    let kvd = env.start().await;
    let visible: String = ('!'..='~').collect();
    for id in ["x", &visible, &"x".repeat(128)] {
        assert_eq!(answered(&kvd, id).await, id);
    }
    for id in ["", &"x".repeat(129), "a b", "a\tb", "é"] {
        let made = answered(&kvd, id).await;
        assert_ne!(made, id);
        let _in_the_log = line_of(&kvd, &made).await;
    }
}

async fn rust_log_sets_levels(env: Env) {
    for (level, logged) in [
        ("debug", true),
        ("api::observe=debug", true),
        ("info", false),
        ("off", false),
        ("", false),
    ] {
        let kvd = env.kvd().env("RUST_LOG", level).start().await;
        let id = answered(&kvd, "look-for-me").await;
        let log = kvd.stop().await.expect(0).stderr;
        assert_eq!(log.contains(&id), logged, "RUST_LOG={level}: {log}");
    }
}

async fn without_rust_log_requests_that_did_not_fail_are_no_lines(env: Env) {
    let kvd = env.kvd().without_env("RUST_LOG").start().await;
    for id in ["fine", "missing"] {
        let path = format!("/items/{id}");
        let _answer = kvd.get(&path).header("X-Request-Id", id).await;
    }
    let log = kvd.stop().await.expect(0).stderr;
    assert!(log.contains("starting") && log.contains("leaving"), "{log}");
    assert!(!log.contains("fine") && !log.contains("missing"), "{log}");
}

async fn a_wrong_rust_log_is_exit_code_2(env: Env) {
    for wrong in ["kvd=loud", "info,[", "=,="] {
        let output = env.kvd().env("RUST_LOG", wrong).run().await.expect(2);
        assert_eq!(output.text(), "");
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
        assert!(output.stderr.contains("RUST_LOG"), "{}", output.stderr);
    }
}

async fn the_settings_in_force_are_said_at_start(env: Env) {
    let kvd = env
        .kvd()
        .env("RATE_LIMIT", "77")
        .arg("--shutdown-grace", "3s");
    let kvd = kvd.without_env("RUST_LOG").start().await;
    let log = kvd.log();
    let line = log.lines().find(|line| line.contains("starting"));
    let line = line.expect("a line about the start");
    assert_holds(
        line,
        &[
            "rate_limit=77",
            "shutdown_grace=3s",
            "max_value_bytes=262144",
        ],
    );
}

async fn what_every_request_meets_is_said_a_few_times_and_then_counted(env: Env) {
    let database = env.empty_database().await;
    let kvd = env.kvd_on(&database).env("RATE_LIMIT", "0");
    let kvd = kvd.without_env("RUST_LOG").start().await;
    for _ in 0..100 {
        kvd.get("/items/a")
            .await
            .problem(503, "database-unavailable");
    }
    let counted = until("the others are counted", async || {
        kvd.log().contains("more lines that said the same")
    });
    counted.await;
    let log = kvd.log();
    let said = log.lines().filter(|line| line.contains("ERROR")).count();
    assert!((1..=30).contains(&said), "{said} errors in: {log}");
}

async fn a_start_and_an_end_that_go_well_warn_of_nothing(env: Env) {
    let kvd = env.start().await;
    let _document = kvd.get("/openapi.json").await.expect(200);
    let _ended = kvd.stop().await;
    let log = kvd.log();
    let warns = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ");
    let warnings: Vec<_> = log.lines().filter(warns).collect();
    assert!(!log.is_empty() && warnings.is_empty(), "{warnings:#?}");
}

async fn a_failure_that_its_client_does_not_wait_for_is_said_once_with_its_id(env: Env) {
    let database = env.database();
    for sql in [
        "CREATE TABLE word ()",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         WHILE NOT EXISTS (SELECT FROM word) LOOP PERFORM pg_sleep(0.01); END LOOP; \
         RAISE EXCEPTION 'refused by a trigger'; END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION refuse()",
    ] {
        database.execute(sql).await;
    }
    // The database must not end the statement before the word is given.
    let kvd = env.kvd().env("REQUEST_TIMEOUT", "10m").start().await;
    let mut client = kvd.wire().await;
    let body = r#"{"key":"a","value":"b"}"#;
    let head = format!(
        "POST /items/ HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: not-waited-for\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.send(head).await;
    until("the write is under way", async || {
        let sleeping = "SELECT count(*) FROM pg_stat_activity \
                        WHERE wait_event = 'PgSleep' AND datname = current_database()";
        database.value::<i64>(sleeping).await == 1
    })
    .await;
    client.reset();
    until("kvd knows that the client is gone", async || {
        // The scrape is a request too.
        kvd.metric("kvd_http_requests_in_flight").await < 2.0
    })
    .await;
    database.execute("INSERT INTO word DEFAULT VALUES").await;
    let line = line_of(&kvd, "not-waited-for").await;
    assert_holds(&line, &["refused by a trigger", "database-refused"]);
    let _ended = kvd.stop().await;
    assert_eq!(kvd.log().matches("refused by a trigger").count(), 1);
}
