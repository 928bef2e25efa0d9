//! Request bodies: what is accepted, how much of it, how long it may take, and that an early answer arrives.

use tests::{Answer, Client, Env, Kvd, Wire};

tests::list! {
    Once =>
        a_body_beyond_every_value_is_413,
        a_declared_length_beyond_every_value_is_413_at_once,
        a_body_may_come_in_chunks,
        expect_100_continue_is_answered,
        a_body_that_does_not_come_is_408,
        a_body_that_stops_half_way_is_408,
        an_answer_before_the_body_was_read_reaches_the_client,
        requests_may_be_pipelined,
        a_body_is_never_taken_for_a_request
}

/// Nothing came of all the requests before.
pub(crate) async fn assert_empty(kvd: &Client) {
    assert_eq!(kvd.get("/items/").await.expect(200).json()["total"], 0);
}

/// A `PUT` of `/items/a` with this header, to which a body may follow.
fn head(header: &str) -> String {
    format!(
        "PUT /items/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{header}\r\n\r\n"
    )
}

/// A body in chunks of 16 kB.
fn chunked(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(16 * 1024) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

async fn small(env: &Env) -> Kvd {
    env.kvd().arg("--max-value-bytes", "1000").start().await
}

async fn a_body_beyond_every_value_is_413(env: Env) {
    let kvd = small(&env).await;
    let body = format!("{{\"value\":\"{}\"}}", "v".repeat(1_000_000));
    let mut wire = kvd.wire().await;
    wire.send(head(&format!("Content-Length: {}", body.len())))
        .await
        .send(&body)
        .await;
    wire.answer().await.problem(413, "value-too-large");

    let mut wire = kvd.wire().await;
    wire.send(head("Transfer-Encoding: chunked"))
        .await
        .send(chunked(body.as_bytes()))
        .await;
    wire.answer().await.problem(413, "value-too-large");

    // Neither white space nor an unknown member is a way around it.
    for body in [
        format!("{}{{}}", " ".repeat(1_000_000)),
        format!("{{\"x\":\"{}\"}}", "v".repeat(1_000_000)),
    ] {
        let mut wire = kvd.wire().await;
        wire.send(head("Transfer-Encoding: chunked"))
            .await
            .send(chunked(body.as_bytes()))
            .await;
        wire.answer().await.problem(413, "value-too-large");
    }
    assert_empty(&kvd).await;
}

async fn a_declared_length_beyond_every_value_is_413_at_once(env: Env) {
    let kvd = small(&env).await;
    for length in ["100000000", "9223372036854775807"] {
        let mut wire = kvd.wire().await;
        wire.send(head(&format!("Content-Length: {length}"))).await;
        // Not one byte of the body has been sent.
        wire.answer().await.problem(413, "value-too-large");
    }
}

async fn a_body_may_come_in_chunks(env: Env) {
    let kvd = env.start().await;
    let _created = kvd.create("a", "").await;
    let value = "é".repeat(100_000);
    let body = format!("{{\"value\":\"{value}\"}}");
    let mut wire = kvd.wire().await;
    wire.send(head("Transfer-Encoding: chunked"))
        .await
        .send(chunked(body.as_bytes()))
        .await;
    let updated = wire.answer().await.expect(200);
    assert!(updated.member("value") == value);
}

async fn expect_100_continue_is_answered(env: Env) {
    let kvd = env.start().await;
    let _created = kvd.create("a", "").await;
    let mut wire = kvd.wire().await;
    wire.send(head("Content-Length: 13\r\nExpect: 100-continue"))
        .await;
    let _go_on = wire.answer().await.expect(100);
    wire.send("{\"value\":\"b\"}").await;
    assert_eq!(wire.answer().await.expect(200).member("value"), "b");
}

async fn a_body_that_does_not_come_is_408(env: Env) {
    let kvd = env.kvd().arg("--request-timeout", "1s").start().await;
    let _created = kvd.create("a", "").await;
    for header in ["Content-Length: 13", "Transfer-Encoding: chunked"] {
        let mut wire = kvd.wire().await;
        wire.send(head(header)).await;
        wire.answer().await.problem(408, "request-timeout");
        assert!(wire.rest().await.is_empty(), "and the connection is closed");
    }
    let read = kvd.get("/items/a").await.expect(200);
    assert_eq!(read.json()["version"], 1);
}

async fn a_body_that_stops_half_way_is_408(env: Env) {
    let kvd = env.kvd().arg("--request-timeout", "1s").start().await;
    let _created = kvd.create("a", "").await;
    for (header, part) in [
        ("Content-Length: 13", "{\"value\":"),
        ("Transfer-Encoding: chunked", "9\r\n{\"value\":\r\n"),
    ] {
        let mut wire = kvd.wire().await;
        wire.send(head(header)).await.send(part).await;
        wire.answer().await.problem(408, "request-timeout");
    }
    // A client that hangs up in the middle gets nothing, and does nothing.
    let mut wire = kvd.wire().await;
    wire.send(head("Content-Length: 13"))
        .await
        .send("{\"value\":")
        .await;
    wire.shutdown().await;
    drop(wire.rest().await);
    let read = kvd.get("/items/a").await.expect(200);
    assert_eq!(read.json()["version"], 1);
}

/// Writes all of a 200 kB body before it reads, as most clients do, and reads the answer.
async fn early(kvd: &Kvd, line: &str, media_type: &str) -> Answer {
    let mut wire: Wire = kvd.wire().await;
    let head = format!(
        "{line} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let body = chunked(&vec![b' '; 200_000]);
    wire.send(head).await;
    for part in body.chunks(10_000) {
        wire.send(part).await;
    }
    wire.answer().await
}

async fn an_answer_before_the_body_was_read_reaches_the_client(env: Env) {
    let open = small(&env).await;
    let limited = env.kvd().env("RATE_LIMIT", "1").start().await;
    let _spent = limited.get("/items/").await.expect(200);
    for _ in 0..20 {
        early(&open, "PATCH /items/a", "application/json")
            .await
            .problem(405, "method-not-allowed");
        early(&open, "POST /livez", "application/json")
            .await
            .problem(405, "method-not-allowed");
        early(&open, "PUT /nowhere", "application/json")
            .await
            .problem(404, "route-not-found");
        early(&open, "PUT /items/a", "text/plain")
            .await
            .problem(415, "unsupported-media-type");
        early(&open, "PUT /items/a", "application/json")
            .await
            .problem(413, "value-too-large");
        early(&open, "PUT /items/a?x=1", "application/json")
            .await
            .problem(400, "invalid-request");
        early(&limited, "PUT /items/a", "application/json")
            .await
            .problem(429, "rate-limited");
    }
}

async fn requests_may_be_pipelined(env: Env) {
    let kvd = env.start().await;
    let _created = kvd.create("a", "0").await;
    let mut wire = kvd.wire().await;
    let mut requests = String::new();
    for n in 1..=5 {
        requests += &head("Content-Length: 13");
        requests += &format!("{{\"value\":\"{n}\"}}");
        requests += "GET /items/a HTTP/1.1\r\nHost: localhost\r\n\r\n";
    }
    wire.send(requests).await;
    for n in 1..=5 {
        for _ in 0..2 {
            let answer = wire.answer().await.expect(200);
            assert_eq!(
                answer.member("value"),
                n.to_string(),
                "answers come in order"
            );
        }
    }
}

/// The rest of a body that was not read must not become the next request (CWE-444).
async fn a_body_is_never_taken_for_a_request(env: Env) {
    let kvd = env.start().await;
    let _created = kvd.create("a", "b").await;
    let smuggled = "DELETE /items/a HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let length = format!("Content-Length: {}", smuggled.len());
    for line in [
        "PATCH /items/a",
        "GET /items/a",
        "POST /nowhere",
        "DELETE /items/missing",
        "PUT /items/a",
    ] {
        let mut wire = kvd.wire().await;
        wire.send(format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\n{length}\r\nConnection: close\r\n\r\n{smuggled}"
        ))
        .await;
        let _answer = wire.answer().await;
        assert!(
            wire.rest().await.is_empty(),
            "{line}: one request, one answer"
        );
    }
    // Two lengths at once: where a proxy in front believes one and kvd the other, the rest must not become a request.
    let body = format!("0\r\n\r\n{smuggled}");
    let lengths = format!(
        "Content-Length: {}\r\nTransfer-Encoding: chunked",
        body.len()
    );
    let mut wire = kvd.wire().await;
    wire.send(head(&lengths)).await.send(&body).await;
    wire.answer().await.problem(400, "invalid-request");
    assert!(
        wire.rest().await.is_empty(),
        "RFC 9112, 6.1: closed after the answer"
    );
    let read = kvd.get("/items/a").await.expect(200);
    assert_eq!(read.member("value"), "b");
}
