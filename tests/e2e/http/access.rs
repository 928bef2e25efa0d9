//! Tokens: who is let in, and to what.
// Long: each way past the tokens that there may be is tried on its own.

use reqwest::Method;
use tests::{Answer, Client, Env, Kvd, kvd::Start, token::made_up};

use crate::operating::metrics::gauge;

tests::list! {
    EveryEngine =>
        without_a_live_token_every_way_in_is_401_in_the_same_words,
        each_call_is_held_to_the_rules_of_its_token,
        what_is_outside_the_rules_is_403_whether_it_exists_or_not,
        whoami_tells_what_a_token_allows;
    Once =>
        with_auth_off_no_header_is_read,
        the_checks_of_a_request_have_one_order,
        every_request_that_is_401_is_counted_by_the_limiter,
        the_admin_address_asks_for_no_token,
        with_tokens_a_loopback_address_answers_to_every_host
}

pub(super) fn with_tokens(env: &Env) -> Start {
    env.kvd().env("AUTH", "tokens")
}

/// A kvd that asks for tokens, and a client of its that may do everything.
pub(super) async fn started(env: &Env) -> (Kvd, Client) {
    let kvd = with_tokens(env).start().await;
    let all = kvd.with_token(&env.token(["all", "--write", ""]).await);
    (kvd, all)
}

/// What needs a token: method, path and body.
const GUARDED: [(&str, &str, &str); 11] = [
    ("GET", "/items/", ""),
    ("HEAD", "/items", ""),
    ("POST", "/items/", r#"{"key":"b","value":""}"#),
    ("GET", "/items/a", ""),
    ("HEAD", "/items/a", ""),
    ("PUT", "/items/a", r#"{"value":"c"}"#),
    ("DELETE", "/items/a", ""),
    (
        "POST",
        "/batch",
        r#"{"operations":[{"op":"get","key":"a"}]}"#,
    ),
    ("GET", "/whoami", ""),
    ("HEAD", "/whoami", ""),
    ("GET", "/metrics", ""),
];

fn call(client: &Client, (method, path, body): (&str, &str, &str)) -> tests::client::Call {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let call = client.request(method, path);
    match body {
        "" => call,
        body => call
            .header("content-type", "application/json")
            .body(body.to_owned()),
    }
}

/// What of an answer may not tell anything: all but what every answer has of its own.
fn told(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let own = ["date", "x-request-id", "ratelimit"];
    let headers = answer.headers.iter();
    let mut headers: Vec<_> = headers
        .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()))
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .collect();
    headers.sort();
    (answer.status, headers, answer.text().to_owned())
}

#[track_caller]
pub(super) fn assert_unauthenticated(answer: &Answer) {
    assert_eq!(answer.status, 401, "{}", answer.asked);
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    if !answer.asked.starts_with("HEAD ") {
        answer.problem(401, "unauthenticated");
    }
}

// Long: all that may be wrong, at every way in.
async fn without_a_live_token_every_way_in_is_401_in_the_same_words(env: Env) {
    let (kvd, all) = started(&env).await;
    let _item = all.create("a", "b").await;
    let token = env.token(["one", "--write", ""]).await;
    let revoked = env.token(["gone", "--write", ""]).await;
    let _revoked = env.kvctl(["token", "revoke", "gone"]).await.expect(0);
    let typo = token.replace("kvd_", "kvd-");
    let last = token.chars().next_back().expect("a character");
    let wrong = format!("{}{}", &token[..39], if last == 'x' { 'y' } else { 'x' });
    let lines: Vec<Vec<String>> = vec![
        vec![],
        vec![String::new()],
        vec!["Bearer".to_owned()],
        vec!["Bearer ".to_owned()],
        vec![token.clone()],
        vec![format!("Basic {token}")],
        vec![format!("Bearer {token}"), format!("Bearer {token}")],
        vec![format!("Bearer {token}, Bearer {token}")],
        vec![format!("Bearer {typo}")],
        vec![format!("Bearer {wrong}")],
        vec![format!("Bearer {token}x")],
        vec![format!("Bearer {}", made_up())],
        vec![format!("Bearer {revoked}")],
    ];
    for guarded in GUARDED {
        let mut first = None;
        for lines in &lines {
            let asked = lines.iter().fold(call(&kvd, guarded), |asked, line| {
                asked.header("authorization", line)
            });
            let answer = asked.await;
            assert_unauthenticated(&answer);
            let told = told(&answer);
            assert_eq!(*first.get_or_insert(told.clone()), told, "{lines:?}");
        }
    }
    for scheme in ["Bearer", "bearer", "BEARER", "Bearer  "] {
        let line = format!("{scheme} {token}");
        let read = kvd.get("/items/a").header("authorization", &line);
        assert_eq!(read.await.expect(200).member("value"), "b", "{scheme}");
    }
    for open in ["/livez", "/readyz", "/openapi.json", "/docs"] {
        let _open = kvd.get(open).await.expect(200);
    }
    let _redirect = kvd.get("/").await.expect(307);
    assert_eq!(all.get("/items/a").await.expect(200).member("value"), "b");
}

// Long: one table of calls.
async fn each_call_is_held_to_the_rules_of_its_token(env: Env) {
    let (kvd, all) = started(&env).await;
    for key in ["a", "a/", "a/x", "a/w/x", "b"] {
        let _created = all.create(key, "v").await;
    }
    let words = ["app", "--read", "a/", "--write", "a/w/"];
    let app = kvd.with_token(&env.token(words).await);
    let put = r#"{"value":"w"}"#;
    let metrics = app.get("/metrics").await;
    metrics.problem(403, "forbidden");
    for (method, path, body, status) in [
        ("GET", "/items/a%2F", "", 200),
        ("GET", "/items/a%2Fx", "", 200),
        ("GET", "/items/a%2Fnone", "", 404),
        ("HEAD", "/items/a%2Fx", "", 200),
        ("GET", "/items/a%2Fw%2Fx", "", 200),
        ("PUT", "/items/a%2Fw%2Fx", put, 200),
        ("PUT", "/items/a%2Fw%2Fy?upsert=true", put, 201),
        ("DELETE", "/items/a%2Fw%2Fy", "", 204),
        ("PUT", "/items/a%2Fx", put, 403),
        ("DELETE", "/items/a%2Fx", "", 403),
        ("GET", "/items/a", "", 403),
        ("HEAD", "/items/b", "", 403),
        ("GET", "/items/A%2Fx", "", 403),
        ("POST", "/items/", r#"{"key":"a/w/z","value":""}"#, 201),
        ("POST", "/items/", r#"{"key":"a/z","value":""}"#, 403),
        ("POST", "/items/", r#"{"key":"b","value":""}"#, 403),
        ("GET", "/items/", "", 403),
        ("GET", "/items/?prefix=", "", 403),
        ("GET", "/items/?prefix=a", "", 403),
        ("GET", "/items/?prefix=b", "", 403),
        ("GET", "/items/?prefix=a/", "", 200),
        ("GET", "/items/?prefix=a%2Fw", "", 200),
        ("GET", "/items/?pref%69x=a/w/", "", 200),
        ("GET", "/items/?cursor=", "", 403),
        ("GET", "/items/?cursor=&prefix=a/", "", 200),
        ("GET", "/items/?prefix=%zz", "", 403),
    ] {
        let answer = call(&app, (method, path, body)).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    }
    let twice = app.get("/items/?prefix=a/&prefix=").await;
    twice.problem(400, "invalid-request");
    // The cursor knows where it began.
    let walk = all.get("/items/?cursor=&page_size=1").await.expect(200);
    let path = format!("/items/?prefix=a/&cursor={}", walk.member("next_cursor"));
    app.get(&path).await.problem(400, "invalid-request");
    let page = app.get("/items/?prefix=a/").await.expect(200).json();
    assert_eq!(page["total"], 4, "nothing is left out: {page}");
    let unread = all.get("/items/a%2Fx").await.expect(200);
    assert_eq!(unread.json()["version"], 1);
    let reader = kvd.with_token(&env.token(["reader", "--read", ""]).await);
    let _metrics = reader.get("/metrics").await.expect(200);
    let _all = reader.get("/items/").await.expect(200);
    call(&reader, ("PUT", "/items/b", put))
        .await
        .problem(403, "forbidden");
}

// Long: every call with every condition.
async fn what_is_outside_the_rules_is_403_whether_it_exists_or_not(env: Env) {
    let (kvd, all) = started(&env).await;
    let there = all.create("there", "x").await;
    let app = kvd.with_token(&env.token(["app", "--write", "a/"]).await);
    let tag = there.etag();
    let asked = |method: &str, key: &str| {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        app.request(method, &format!("/items/{key}"))
    };
    let before = gauge(&all, "kvd_database_batch_size_count{kind=\"read\"}").await;
    for header in [None, Some("if-match"), Some("if-none-match")] {
        for tag in ["*", tag.as_str(), "\"1-99\""] {
            for (method, body) in [
                ("GET", ""),
                ("HEAD", ""),
                ("PUT", r#"{"value":"y"}"#),
                ("PUT", "{"),
                ("DELETE", ""),
            ] {
                let mut answers = Vec::new();
                for key in ["there", "where"] {
                    let mut call = asked(method, key);
                    if let Some(header) = header {
                        call = call.header(header, tag);
                    }
                    if method == "PUT" {
                        call = call.header("content-type", "application/json");
                        call = call.body(body);
                    }
                    answers.push(told(&call.await));
                }
                assert_eq!(answers[0].0, 403, "{method} {header:?} {tag}");
                assert_eq!(answers[0], answers[1], "{method} {header:?} {tag}");
            }
        }
    }
    let after = gauge(&all, "kvd_database_batch_size_count{kind=\"read\"}").await;
    assert_eq!(before, after, "no key was looked up");
    for key in ["there", "where"] {
        let refused = app.post(key, "y").await;
        refused.problem(403, "forbidden");
    }
    let unread = all.get("/items/there").await.expect(200);
    assert_eq!(unread.member("value"), "x");
    all.get("/items/where").await.problem(404, "item-not-found");
}

async fn whoami_tells_what_a_token_allows(env: Env) {
    let off = env.start().await;
    let nobody = off.get("/whoami").await.expect(200);
    assert_eq!(
        nobody.text(),
        r#"{"name":null,"rules":[{"prefix":"","access":"write"}],"expires_at":null}"#
    );
    let (kvd, _) = started(&env).await;
    let words = [
        "app",
        "--read",
        "a/",
        "--write",
        "b\"é",
        "--expires-in",
        "1h",
    ];
    let app = kvd.with_token(&env.token(words).await);
    let told = app.get("/whoami").await.expect(200);
    let listed = env.kvctl(["token", "list", "-o", "json"]).await.expect(0);
    let listed: serde_json::Value = serde_json::from_str(listed.text()).expect("JSON");
    let mut listed = listed.as_array().expect("a list").iter();
    let listed = listed.rfind(|token| token["name"] == "app");
    let listed = listed.expect("it is listed");
    for member in ["name", "rules", "expires_at"] {
        assert_eq!(told.json()[member], listed[member], "{member}");
    }
    app.get("/whoami?name=x")
        .await
        .problem(400, "invalid-request");
    app.delete("/whoami")
        .await
        .problem(405, "method-not-allowed");
}

async fn with_auth_off_no_header_is_read(env: Env) {
    let kvd = env.start().await;
    let _item = kvd.create("a", "b").await;
    for line in ["", "Bearer", "Basic x", "Bearer kvd_x"] {
        let read = kvd.get("/items/a").header("authorization", line);
        let _read = read.await.expect(200);
    }
    let metrics = kvd.get("/metrics").await.expect(200);
    assert!(!metrics.text().contains("kvd_token_lookups_total"));
}

/// Each request is wrong in its own way and in all that are looked at later, and told only the first.
// Long: one list, in its order.
async fn the_checks_of_a_request_have_one_order(env: Env) {
    let kvd = with_tokens(&env).env("RATE_LIMIT", "1000").start().await;
    let app = kvd.with_token(&env.token(["app", "--write", "a/"]).await);
    let json = "application/json";
    let nul = r#"{"key":"b","value":"\u0000"}"#;
    let large = format!(r#"{{"key":"b","value":"{}"}}"#, "x".repeat(262_145));
    let steps: [(&Client, &str, &str, &str, &str, u16, &str); 16] = [
        (
            &kvd,
            "PUT",
            "/nothing?x=1",
            "text/plain",
            "{",
            404,
            "route-not-found",
        ),
        (
            &kvd,
            "PUT",
            "/items/b/c?x=1",
            "text/plain",
            "{",
            404,
            "route-not-found",
        ),
        (
            &kvd,
            "PATCH",
            "/items/%FF?x=1",
            "text/plain",
            "{",
            405,
            "method-not-allowed",
        ),
        (
            &kvd,
            "PUT",
            "/items/%FF?x=1",
            "text/plain",
            "{",
            401,
            "unauthenticated",
        ),
        (
            &kvd,
            "POST",
            "/items/?x=1",
            "text/plain",
            "{",
            401,
            "unauthenticated",
        ),
        (
            &app,
            "PUT",
            "/items/%FF?x=1",
            "text/plain",
            "{",
            400,
            "invalid-key",
        ),
        (
            &app,
            "PUT",
            "/items/b?x=1",
            "text/plain",
            "{",
            403,
            "forbidden",
        ),
        (
            &app,
            "GET",
            "/items/?prefix=b&x=1",
            "",
            "",
            403,
            "forbidden",
        ),
        (
            &app,
            "PUT",
            "/items/a%2Fb?x=1",
            "text/plain",
            "{",
            400,
            "invalid-request",
        ),
        (
            &app,
            "GET",
            "/items/?prefix=a/&x=1",
            "",
            "",
            400,
            "invalid-request",
        ),
        (
            &app,
            "PUT",
            "/items/a%2Fb",
            "text/plain",
            "{",
            415,
            "unsupported-media-type",
        ),
        (
            &app,
            "POST",
            "/items/",
            json,
            r#"{"key":"b"}"#,
            400,
            "invalid-request",
        ),
        (&app, "POST", "/items/", json, nul, 400, "invalid-value"),
        (
            &app,
            "POST",
            "/items/",
            json,
            &large,
            413,
            "value-too-large",
        ),
        (
            &app,
            "POST",
            "/items/",
            json,
            r#"{"key":"b","value":""}"#,
            403,
            "forbidden",
        ),
        (
            &app,
            "PUT",
            "/items/a%2Fb",
            json,
            r#"{"value":""}"#,
            404,
            "item-not-found",
        ),
    ];
    for (client, method, path, media, body, status, code) in steps {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut call = client.request(method, path);
        if !media.is_empty() {
            call = call.header("content-type", media).body(body.to_owned());
        }
        call.await.problem(status, code);
    }
    // The limiter goes before all of it, and `Host` before the limiter.
    let one = with_tokens(&env).env("RATE_LIMIT", "1").start().await;
    let _counted = one.get("/items/a").await.expect(401);
    for path in ["/items/a/b", "/items/%FF", "/items/", "/whoami"] {
        one.get(path).await.problem(429, "rate-limited");
    }
    let mut wire = one.wire().await;
    wire.send("GET /items/a HTTP/1.1\r\n\r\n").await;
    let refused = wire.answer().await;
    refused.problem(400, "invalid-request");
    assert_eq!(refused.header("ratelimit"), None);
}

async fn every_request_that_is_401_is_counted_by_the_limiter(env: Env) {
    let kvd = with_tokens(&env).env("RATE_LIMIT", "4").start().await;
    let app = kvd.with_token(&env.token(["app", "--read", ""]).await);
    for path in ["/metrics", "/items/a", "/whoami", "/metrics"] {
        let refused = kvd.get(path).await;
        assert_unauthenticated(&refused);
        assert!(refused.header("ratelimit").is_some(), "{path}");
    }
    for path in ["/metrics", "/items/a", "/whoami"] {
        kvd.get(path).await.problem(429, "rate-limited");
    }
    app.get("/whoami").await.problem(429, "rate-limited");
    // What needs no token, and the metrics with one, are not counted.
    let metrics = app.get("/metrics").await.expect(200);
    assert_eq!(metrics.header("ratelimit"), None);
    let _open = kvd.get("/livez").await.expect(200);
}

async fn the_admin_address_asks_for_no_token(env: Env) {
    let kvd = with_tokens(&env).arg("--admin-listen", "127.0.0.1:0");
    let kvd = kvd.start().await;
    for path in ["/livez", "/readyz", "/metrics"] {
        let _open = kvd.admin().get(path).await.expect(200);
        kvd.get(path).await.problem(404, "route-not-found");
    }
}

async fn with_tokens_a_loopback_address_answers_to_every_host(env: Env) {
    let kvd = with_tokens(&env).arg("--admin-listen", "127.0.0.1:0");
    let kvd = kvd.start().await;
    for host in ["kvd.example.com", "localhost", "127.0.0.1"] {
        let mut wire = kvd.wire().await;
        wire.send(format!("GET /items/a HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await;
        assert_unauthenticated(&wire.answer().await);
    }
    // The admin address asks for none.
    let metrics = kvd
        .admin()
        .get("/metrics")
        .header("Host", "kvd.example.com");
    metrics.await.problem(421, "misdirected-request");
}
