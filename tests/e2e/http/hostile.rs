//! Requests that no honest client sends: 4xx or a closed connection, never a 5xx, and nothing smuggled.

use reqwest::Method;
use tests::{Env, Kvd, Wire};
use tokio::task::JoinSet;

tests::list! {
    Once =>
        two_lengths_do_not_smuggle_a_request,
        malformed_heads_are_4xx_or_closed,
        a_huge_head_is_4xx,
        http_1_0_is_answered,
        a_value_too_large_under_expect_gets_its_answer_without_the_body,
        a_refused_request_under_expect_gets_its_answer_without_the_body,
        hostile_requests_hurt_nobody_else
}

/// Everything kvd says until it closes.
async fn answer_to(mut wire: Wire, bytes: String) -> String {
    // It may be refused before all of it is sent.
    let _sent = wire.try_send(bytes).await;
    String::from_utf8_lossy(&wire.rest().await).into_owned()
}

/// Each request is refused once at most, or its connection closed; all at once, since closing may take its time.
async fn assert_all_refused(kvd: &Kvd, requests: Vec<String>) {
    let mut asked = JoinSet::new();
    for request in requests {
        let wire = kvd.wire().await;
        asked.spawn(async move {
            let start: String = request.chars().take(200).collect();
            (start, answer_to(wire, request).await)
        });
    }
    let mut accepted = Vec::new();
    for (asked, said) in asked.join_all().await {
        let statuses = statuses(&said);
        let refused = statuses.iter().all(|status| status.starts_with('4'));
        if !refused || statuses.len() > 1 {
            accepted.push(format!("{asked:?}: {said}"));
        }
    }
    assert!(accepted.is_empty(), "not refused: {accepted:#?}");
}

/// The statuses of all answers in what kvd said.
fn statuses(said: &str) -> Vec<&str> {
    said.split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| answer.get(..3).unwrap_or_default())
        .collect()
}

/// A proxy and kvd may disagree where such a request ends; what follows must not become a request of its own.
async fn two_lengths_do_not_smuggle_a_request(env: Env) {
    let kvd = env.start().await;
    let _victim = kvd.create("victim", "alive").await;
    let smuggled = "DELETE /items/victim HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let body = "{\"value\":\"a\"}";
    let mut requests = Vec::new();
    for lengths in [
        "Content-Length: 13\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 13",
        "Content-Length: 13\r\nContent-Length: 60",
        "Content-Length: 60\r\nContent-Length: 13",
        "Content-Length: 13, 60",
        "Content-Length: +13",
        "Content-Length: -1",
        "Content-Length: 0x0d",
        "Content-Length: 99999999999999999999",
        "Content-Length: 1 3",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\x0bchunked",
    ] {
        for rest in [
            format!("{body}{smuggled}"),
            format!("0\r\n\r\n{smuggled}"),
            format!("d\r\n{body}\r\n0\r\n\r\n{smuggled}"),
        ] {
            let head = format!(
                "PUT /items/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{lengths}\r\n\r\n"
            );
            requests.push(head + rest.as_str());
        }
    }
    assert_all_refused(&kvd, requests).await;
    let _alive = kvd.get("/items/victim").await.expect(200);
}

async fn malformed_heads_are_4xx_or_closed(env: Env) {
    let kvd = env.start().await;
    let heads = [
        "\0\0\0\0",
        "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03",
        "nonsense\r\n\r\n",
        "GET\r\n\r\n",
        "GET /items/\r\n\r\n",
        "GET  /items/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /items/ HTTP/9.9\r\nHost: localhost\r\n\r\n",
        "GET /items/ HTTP/1.1\r\nHost kvd\r\n\r\n",
        "GET /items/ HTTP/1.1\r\n: empty\r\n\r\n",
        "GET /items/ HTTP/1.1\r\nHo st: kvd\r\n\r\n",
        "GET /items/ HTTP/1.1\r\nHost: k\0d\r\n\r\n",
        "GET /it ems/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /items/\x7f HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "G\u{e9}T /items/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    assert_all_refused(&kvd, heads.map(str::to_owned).to_vec()).await;
}

async fn a_huge_head_is_4xx(env: Env) {
    let kvd = env.start().await;
    let many: String = (0..5000).map(|n| format!("X-{n}: {n}\r\n")).collect();
    let long = "x".repeat(200_000);
    let heads = vec![
        format!("GET /items/ HTTP/1.1\r\nHost: localhost\r\nX-Long: {long}\r\n\r\n"),
        format!("GET /items/{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        format!("GET /items/ HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"),
        format!("{long}\r\n\r\n"),
    ];
    assert_all_refused(&kvd, heads).await;
    // Just large is fine: cookies and tokens of others come along.
    let token = format!("X-Token: {}\r\n", "t".repeat(8000));
    let mut wire = kvd.wire().await;
    let _answered = wire.ask("GET", "/items/", &token).await.expect(200);
}

async fn http_1_0_is_answered(env: Env) {
    let kvd = env.start().await;
    let _created = kvd.create("a", "old").await;
    for head in [
        "GET /items/a HTTP/1.0\r\n\r\n",
        "GET /items/a HTTP/1.0\r\nHost: localhost\r\n\r\n",
    ] {
        // The answer ends with the connection, and is not chunked, which HTTP/1.0 does not know.
        let said = answer_to(kvd.wire().await, head.to_owned()).await;
        assert!(said.starts_with("HTTP/1.0 200 "), "{said}");
        assert!(said.contains("\"old\""), "{said}");
        let lower = said.to_lowercase();
        assert!(!lower.contains("transfer-encoding"), "{said}");
    }
    let list = "GET /items/ HTTP/1.0\r\n\r\n".to_owned();
    let list = answer_to(kvd.wire().await, list).await;
    assert!(list.contains("\"total\":1") && !list.to_lowercase().contains("chunked"));
}

const EXPECT: &str = "PUT /items/a HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\
                      Content-Type: application/json\r\n";

async fn a_value_too_large_under_expect_gets_its_answer_without_the_body(env: Env) {
    let kvd = env.start().await;
    for length in ["2000000", "100000000", "9223372036854775807"] {
        let mut wire = kvd.wire().await;
        wire.send(format!("{EXPECT}Content-Length: {length}\r\n\r\n"))
            .await;
        wire.answer().await.problem(413, "value-too-large");
    }
}

async fn a_refused_request_under_expect_gets_its_answer_without_the_body(env: Env) {
    let kvd = env.kvd().arg("--rate-limit", "1").start().await;
    let _counted = kvd.get("/items/").await.expect(200);
    let mut wire = kvd.wire().await;
    wire.send(format!("{EXPECT}Content-Length: 13\r\n\r\n"))
        .await;
    wire.answer().await.problem(429, "rate-limited");
    let other = env.start().await;
    let mut wire = other.wire().await;
    let wrong = EXPECT.replace("application/json", "text/plain");
    wire.send(format!("{wrong}Content-Length: 13\r\n\r\n"))
        .await;
    wire.answer().await.problem(415, "unsupported-media-type");
}

async fn hostile_requests_hurt_nobody_else(env: Env) {
    let kvd = env.start().await;
    let mut honest = kvd.wire().await;
    let mut open: Vec<Wire> = Vec::new();
    for n in 0..50 {
        let mut wire = kvd.wire().await;
        let _sent = wire
            .try_send(format!("GET /items/{n} HTTP/1.1\r\nX: "))
            .await;
        open.push(wire);
        let _refused = answer_to(kvd.wire().await, "\0\r\n\r\n".to_owned()).await;
        let _served = honest.ask("GET", "/items/", "").await.expect(200);
        let deep = "[".repeat(20_000);
        let refused = kvd.request(Method::POST, "/items/");
        let refused = refused
            .header("Content-Type", "application/json")
            .body(deep);
        refused.await.problem(400, "invalid-request");
    }
}
