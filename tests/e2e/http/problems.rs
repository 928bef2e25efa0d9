//! Errors as problem documents, and what is said of all answers.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;
use tests::{Answer, Client, Engine, Env};

tests::list! {
    EveryEngine =>
        every_error_is_a_problem_document,
        on_a_database_that_is_not_migrated_items_answers_503,
        no_database_text_reaches_a_client;
    Once =>
        an_unknown_path_is_404_route_not_found,
        a_wrong_method_is_405_with_allow,
        options_is_405_without_cors,
        an_error_to_head_has_no_body,
        a_title_is_the_phrase_of_the_status,
        a_request_id_is_taken_over,
        a_request_id_is_made_if_there_is_none_to_take_over
}

/// The media type, the members and the agreement with the status line are checked by the client, for every answer.
async fn every_error_is_a_problem_document(env: Env) {
    let kvd = env.start().await;
    let tag = kvd.create("a", "").await.etag();
    kvd.get("/items/missing")
        .await
        .problem(404, "item-not-found");
    kvd.get("/nowhere").await.problem(404, "route-not-found");
    kvd.request(Method::PATCH, "/items/a")
        .await
        .problem(405, "method-not-allowed");
    kvd.post("a", "").await.problem(409, "key-exists");
    let refused = kvd.put("/items/a", "").header("If-None-Match", &tag).await;
    refused.problem(412, "precondition-failed");
    kvd.get("/items/?page=0")
        .await
        .problem(400, "invalid-request");
    kvd.post("", "").await.problem(400, "invalid-key");
    kvd.post("b", "\0").await.problem(400, "invalid-value");
    kvd.post("b", &"v".repeat(262_145))
        .await
        .problem(413, "value-too-large");
    let text = kvd
        .request(Method::POST, "/items/")
        .header("Content-Type", "text/plain")
        .body("x");
    text.await.problem(415, "unsupported-media-type");
}

async fn on_a_database_that_is_not_migrated_items_answers_503(env: Env) {
    let database = env.empty_database().await;
    let kvd = env.kvd_on(&database).start().await;
    assert_not_migrated(&kvd).await;
    // What is wrong with the request is said all the same.
    kvd.post("", "").await.problem(400, "invalid-key");
    let _alive = kvd.get("/livez").await.expect(200);
    let _not_ready = kvd.get("/readyz").await.expect(503);
    // Nor is that the table of kvd.
    for columns in [
        "id INT, name VARCHAR(9)",
        "{key} VARCHAR(9) UNIQUE, value TEXT",
    ] {
        let key = if env.engine() == Engine::Mysql {
            "`key`"
        } else {
            "key"
        };
        let table = format!("CREATE TABLE items ({})", columns.replace("{key}", key));
        database.execute(&table).await;
        assert_not_migrated(&kvd).await;
        database.execute("DROP TABLE items").await;
    }

    let _migrated = env.kvctl_on(&database, ["migrate"]).await.expect(0);
    let _created = kvd.create("a", "b").await;
    let _read = kvd.get("/items/a").await.expect(200);
}

async fn assert_not_migrated(kvd: &Client) {
    for call in [
        kvd.get("/items/"),
        kvd.get("/items/?prefix=a"),
        kvd.get("/items/?cursor="),
        kvd.get("/items/a"),
        kvd.post("a", ""),
        kvd.put("/items/a", ""),
        kvd.put("/items/a?upsert=true", ""),
        kvd.put("/items/a", "").header("If-Match", "*"),
        kvd.delete("/items/a"),
    ] {
        let answer = call.await;
        answer.problem(503, "database-unavailable");
        let after: Option<u64> = answer
            .header("retry-after")
            .and_then(|seconds| seconds.parse().ok());
        assert!(
            after.is_some_and(|seconds| seconds >= 1),
            "{}: Retry-After",
            answer.asked
        );
    }
}

async fn no_database_text_reaches_a_client(env: Env) {
    let kvd = env.start().await;
    let _created = kvd.create("a", "b").await;
    env.database()
        .execute("ALTER TABLE items RENAME TO elsewhere")
        .await;
    for answer in [
        kvd.get("/items/a").await,
        kvd.put("/items/a", "x").await,
        kvd.get("/readyz").await,
    ] {
        let text = answer.text().to_lowercase();
        for word in [
            "select",
            "update ",
            "relation",
            "sqlx",
            "sqlite",
            "42p01",
            "1146",
            "no such table",
            "kvd_test",
            "/tmp",
        ] {
            assert!(!text.contains(word), "{}: '{word}' in {text}", answer.asked);
        }
    }
    env.database()
        .execute("ALTER TABLE elsewhere RENAME TO items")
        .await;
    let read = kvd.get("/items/a").await.expect(200);
    assert_eq!(read.member("value"), "b");
}

async fn an_unknown_path_is_404_route_not_found(env: Env) {
    let kvd = env.start().await;
    let mut wire = kvd.wire().await;
    let paths = [
        "/nowhere",
        "/item",
        "/itemsa",
        "/Items/",
        "/items/a/b",
        "/items/a/",
        "/items//",
        "//",
        "//items/",
        "/livez/",
        "/readyz/x",
        "/openapi.json/x",
        "/docs/nothing-here",
        "/%2Fitems",
        "/favicon.ico",
    ];
    for path in paths {
        for method in ["GET", "POST", "DELETE", "OPTIONS"] {
            let answer = wire.ask(method, path, "").await;
            answer.problem(404, "route-not-found");
        }
    }
    let answer = wire.ask("GET", "/items/a/b", "").await;
    let problem = answer.problem(404, "route-not-found");
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("%2F"))
    );
}

/// The methods of `Allow`.
#[track_caller]
fn allowed(answer: &Answer) -> BTreeSet<String> {
    answer.problem(405, "method-not-allowed");
    let header = answer.header("allow").expect("Allow");
    header
        .split(',')
        .map(|method| method.trim().to_owned())
        .collect()
}

#[track_caller]
fn assert_allowed(answer: &Answer, methods: &[&str]) {
    let expected: BTreeSet<String> = methods.iter().map(|method| (*method).to_owned()).collect();
    assert_eq!(allowed(answer), expected, "{}", answer.asked);
}

async fn a_wrong_method_is_405_with_allow(env: Env) {
    let kvd = env.start().await;
    let custom = Method::from_bytes(b"BREW").expect("a method");
    for method in [Method::PUT, Method::DELETE, Method::PATCH, custom.clone()] {
        for path in ["/items", "/items/", "/items?page=1"] {
            let answer = kvd.request(method.clone(), path).await;
            assert_allowed(&answer, &["GET", "HEAD", "POST"]);
        }
    }
    for method in [Method::POST, Method::PATCH, custom] {
        for path in ["/items/a", "/items/a%2Fb", "/items/a?x=1"] {
            let answer = kvd.request(method.clone(), path).await;
            assert_allowed(&answer, &["GET", "HEAD", "PUT", "DELETE"]);
        }
    }
    for path in [
        "/livez",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/docs",
        "/",
    ] {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let answer = kvd.request(method, path).await;
            assert_allowed(&answer, &["GET", "HEAD"]);
        }
    }
}

async fn options_is_405_without_cors(env: Env) {
    let kvd = env.start().await;
    for path in ["/items", "/items/", "/items/a", "/livez", "/openapi.json"] {
        let preflight = kvd
            .request(Method::OPTIONS, path)
            .header("Origin", "https://elsewhere.example")
            .header("Access-Control-Request-Method", "PUT");
        let answer = preflight.await;
        assert!(allowed(&answer).contains("GET"), "{path}");
        let cors = answer
            .headers
            .keys()
            .find(|name| name.as_str().starts_with("access-control-"));
        assert_eq!(cors, None, "{path}");
    }
}

async fn an_error_to_head_has_no_body(env: Env) {
    let kvd = env.start().await;
    let mut wire = kvd.wire().await;
    for (path, status) in [
        ("/items/missing", 404),
        ("/nowhere", 404),
        ("/items/?page=0", 400),
        ("/items/%00", 400),
    ] {
        let head = wire.ask("HEAD", path, "").await.expect(status);
        assert_eq!(
            head.header("content-type"),
            Some("application/problem+json")
        );
        // A body would be read as the head of this one.
        let _still_in_step = wire.ask("GET", "/livez", "").await.expect(200);
    }
}

/// RFC 9457, 4.2.1: with `about:blank`. The client checks it for every answer; a type of its own has a title of
/// its own.
async fn a_title_is_the_phrase_of_the_status(env: Env) {
    let kvd = env.kvd().arg("--rate-limit", "2").start().await;
    let missing = kvd.get("/items/a").await.problem(404, "item-not-found");
    assert_eq!(
        (&missing["title"], &missing["type"]),
        (&json!("Not Found"), &json!("about:blank"))
    );
    let other = kvd.get("/a").await.problem(404, "route-not-found");
    assert_eq!(missing["title"], other["title"]);
    let media_type = kvd.request(Method::POST, "/items/").body("x").await;
    let media_type = media_type.problem(415, "unsupported-media-type");
    assert_eq!(media_type["title"], "Unsupported Media Type");
    let limited = kvd.get("/items/a").await.problem(429, "rate-limited");
    assert_ne!(limited["type"], "about:blank");
    assert_eq!(limited["title"], "Too many requests");
}

async fn id_for(kvd: &Client, path: &str, sent: &str) -> String {
    let answer = kvd.get(path).header("X-Request-Id", sent).await;
    answer
        .header("x-request-id")
        .expect("X-Request-Id")
        .to_owned()
}

async fn a_request_id_is_taken_over(env: Env) {
    let kvd = env.start().await;
    let longest = "x".repeat(128);
    for sent in [
        "a",
        "4f2c-11",
        "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
        &longest,
    ] {
        for path in [
            "/items/",
            "/items/missing",
            "/nowhere",
            "/livez",
            "/metrics",
            "/openapi.json",
            "/items/?page=0",
        ] {
            assert_eq!(id_for(&kvd, path, sent).await, sent, "{path}");
        }
    }
    let _answer = kvd
        .get("/items/")
        .header("X-Request-Id", "in-the-log-too")
        .await;
    kvd.logged("in-the-log-too").await;
}

async fn a_request_id_is_made_if_there_is_none_to_take_over(env: Env) {
    let kvd = env.start().await;
    let mut ids = BTreeSet::new();
    let too_long = "x".repeat(129);
    for sent in ["", " ", "a b", "a\tb", "é", &too_long] {
        let id = id_for(&kvd, "/livez", sent).await;
        assert_ne!(id, sent);
        assert!(
            (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()),
            "{id}"
        );
        ids.insert(id);
    }
    for _ in 0..10 {
        let answer = kvd.get("/items/").await.expect(200);
        ids.insert(
            answer
                .header("x-request-id")
                .expect("X-Request-Id")
                .to_owned(),
        );
    }
    assert_eq!(ids.len(), 16, "each is made once: {ids:?}");
    // Which of the two is meant cannot be known.
    let twice = kvd
        .get("/livez")
        .header("X-Request-Id", "a")
        .header("X-Request-Id", "b")
        .await;
    assert!(twice.header("x-request-id").is_some());
}
