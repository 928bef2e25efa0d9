//! What a message has to be (RFC 9112), and that every answer reaches its client, which knows when kvd closes.

use std::time::Duration;

use nix::sys::signal::Signal;
use tests::{Answer, Env, Kvd, Wire, load::until, pace::Stopwatch};

tests::list! {
    Once =>
        a_transfer_coding_other_than_chunked_is_501,
        chunked_twice_is_400,
        options_of_the_whole_server_is_405,
        a_target_that_is_no_path_is_refused,
        a_head_that_cannot_be_read_gets_a_problem_document_with_an_id,
        a_head_request_that_cannot_be_read_gets_no_body,
        the_beginning_of_http_2_is_answered_as_a_head_that_cannot_be_read,
        a_refused_body_under_expect_that_is_sent_all_the_same_gets_its_answer,
        a_client_that_waits_for_100_is_refused_without_delay,
        every_connection_that_kvd_closes_is_said_to_close,
        shutting_down_is_said_too
}

const JSON: &str = "Content-Type: application/json\r\n";

fn says_close(answer: &Answer) -> bool {
    answer.header("connection") == Some("close")
}

/// The answer, after which the connection is closed, whatever came behind the request.
async fn last(mut wire: Wire, bytes: &str) -> Answer {
    wire.send(bytes).await;
    let answer = wire.answer().await;
    assert!(says_close(&answer), "{answer:?}");
    let rest = wire.rest().await;
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    answer
}

/// A `PUT` with these headers, and a request behind its body that must not be taken for one.
fn put(headers: &str) -> String {
    format!(
        "PUT /items/a?upsert=true HTTP/1.1\r\nHost: localhost\r\n{JSON}{headers}\r\n\r\n\
         d\r\n{{\"value\":\"b\"}}\r\n0\r\n\r\nDELETE /items/victim HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
}

async fn with_victim(env: &Env) -> Kvd {
    let kvd = env.start().await;
    let _victim = kvd.create("victim", "alive").await;
    kvd
}

async fn nothing_was_done(kvd: &Kvd) {
    let _alive = kvd.get("/items/victim").await.expect(200);
    kvd.get("/items/a").await.problem(404, "item-not-found");
}

async fn a_transfer_coding_other_than_chunked_is_501(env: Env) {
    let kvd = with_victim(&env).await;
    for headers in [
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity,chunked",
        "transfer-encoding: deflate;level=9, CHUNKED",
    ] {
        let answer = last(kvd.wire().await, &put(headers)).await;
        answer.problem(501, "not-implemented");
        assert!(answer.header("x-request-id").is_some(), "{answer:?}");
    }
    nothing_was_done(&kvd).await;
}

async fn chunked_twice_is_400(env: Env) {
    let kvd = with_victim(&env).await;
    for headers in [
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        // The end of these cannot be found at all.
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, gzip",
    ] {
        let answer = last(kvd.wire().await, &put(headers)).await;
        answer.problem(400, "invalid-request");
    }
    let old = put("Transfer-Encoding: chunked").replace("HTTP/1.1\r\nHost", "HTTP/1.0\r\nHost");
    last(kvd.wire().await, &old)
        .await
        .problem(400, "invalid-request");
    nothing_was_done(&kvd).await;
}

async fn options_of_the_whole_server_is_405(env: Env) {
    let kvd = env.start().await;
    let mut wire = kvd.wire().await;
    let answer = wire.ask("OPTIONS", "*", "").await;
    answer.problem(405, "method-not-allowed");
    assert_eq!(answer.header("allow"), Some("GET, HEAD, POST, PUT, DELETE"));
    let _still_open = wire.ask("GET", "/livez", "").await.expect(200);
}

async fn a_target_that_is_no_path_is_refused(env: Env) {
    let kvd = env.start().await;
    let mut wire = kvd.wire().await;
    for target in ["*", "kvd", "kvd:80"] {
        let answer = wire.ask("GET", target, "").await;
        answer.problem(400, "invalid-request");
    }
    let _absolute = wire
        .ask("GET", "http://localhost/livez", "")
        .await
        .expect(200);
    // What would come next is for the other end of a tunnel.
    let tunnel = "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n\
                  GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = last(kvd.wire().await, tunnel).await;
    answer.problem(405, "method-not-allowed");
}

async fn a_head_that_cannot_be_read_gets_a_problem_document_with_an_id(env: Env) {
    let kvd = env.start().await;
    let long = "x".repeat(200_000);
    for (head, status) in [
        ("nonsense\r\n\r\n".to_owned(), 400),
        ("GET /livez HTTP/1.1\r\nHost kvd\r\n\r\n".to_owned(), 400),
        (
            "PUT /items/a HTTP/1.1\r\nContent-Length: +1\r\n\r\n".to_owned(),
            400,
        ),
        (format!("GET /{} HTTP/1.1\r\n\r\n", &long[..65_535]), 414),
        (format!("GET /livez HTTP/1.1\r\nX: {long}\r\n\r\n"), 431),
        (
            format!("GET /livez HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(101)),
            431,
        ),
    ] {
        let mut wire = kvd.wire().await;
        // Also as the second request of a connection.
        let _first = wire.ask("GET", "/livez", "").await.expect(200);
        wire.send(head).await;
        let answer = wire.answer().await;
        answer.problem(status, "invalid-request");
        assert!(says_close(&answer), "{answer:?}");
        let id = answer.header("x-request-id").expect("X-Request-Id");
        kvd.logged(id).await;
        assert!(wire.rest().await.is_empty());
    }
}

async fn a_head_request_that_cannot_be_read_gets_no_body(env: Env) {
    let kvd = env.start().await;
    let long = "x".repeat(200_000);
    for (rest, status) in [
        ("/livez HTTP/1.1\r\nHost kvd\r\n\r\n".to_owned(), 400),
        (format!("/{} HTTP/1.1\r\n\r\n", &long[..65_535]), 414),
        (format!("/livez HTTP/1.1\r\nX: {long}\r\n\r\n"), 431),
    ] {
        for before in ["HEAD", "GET", ""] {
            let mut wire = kvd.wire().await;
            if !before.is_empty() {
                let _first = wire.ask(before, "/livez", "").await.expect(200);
            }
            wire.send(format!("HEAD {rest}")).await;
            let answer = wire.answer_to_head().await.expect(status);
            let length = answer
                .header("content-length")
                .expect("that of the document");
            assert_ne!(length, "0", "{answer:?}");
            assert!(says_close(&answer), "{answer:?}");
            let body = wire.rest().await;
            assert!(body.is_empty(), "{}", String::from_utf8_lossy(&body));
        }
        // What is no HEAD has a body, whatever was before it.
        let mut wire = kvd.wire().await;
        let _first = wire.ask("HEAD", "/livez", "").await.expect(200);
        wire.send(format!("GET {rest}")).await;
        wire.answer().await.problem(status, "invalid-request");
    }
}

async fn the_beginning_of_http_2_is_answered_as_a_head_that_cannot_be_read(env: Env) {
    const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let kvd = env.start().await;
    for (first, then) in [
        // An empty SETTINGS, as clients send it in the same breath.
        (PREFACE.to_owned() + "\0\0\0\x04\0\0\0\0\0", ""),
        (PREFACE.to_owned(), "\0\0\0\x04\0\0\0\0\0"),
        (PREFACE[..18].to_owned(), &PREFACE[18..]),
    ] {
        let mut wire = kvd.wire().await;
        wire.send(first).await;
        let answer = wire.answer().await;
        answer.problem(400, "invalid-request");
        assert!(says_close(&answer), "{answer:?}");
        let _read = wire.try_send(then).await;
        assert!(wire.rest().await.is_empty());
    }
}

/// Refused in all ways there are, each with its status.
const REFUSED: [(&str, &str, u16); 5] = [
    ("PATCH /items/a", JSON, 405),
    ("POST /livez", JSON, 405),
    ("PUT /nowhere", JSON, 404),
    ("PUT /items/a", "Content-Type: text/plain\r\n", 415),
    ("PUT /items/a", JSON, 413),
];

fn refused(line: &str, headers: &str, length: usize) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: localhost\r\n{headers}Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    )
}

async fn a_refused_body_under_expect_that_is_sent_all_the_same_gets_its_answer(env: Env) {
    const LENGTH: usize = 1_500_000;
    let open = env.kvd().arg("--max-value-bytes", "1000").start().await;
    let limited = env.kvd().env("RATE_LIMIT", "1").start().await;
    let _spent = limited.get("/items/").await.expect(200);
    for _ in 0..5 {
        let refusals = REFUSED.map(|(line, headers, status)| (&open, line, headers, status));
        let limit = (&limited, "PUT /items/a", JSON, 429);
        for (kvd, line, headers, status) in refusals.into_iter().chain([limit]) {
            let mut wire = kvd.wire().await;
            wire.send(refused(line, headers, LENGTH)).await;
            for part in vec![b' '; LENGTH].chunks(10_000) {
                wire.send(part).await;
            }
            let answer = wire.answer().await.expect(status);
            assert!(says_close(&answer), "{answer:?}");
            assert!(wire.rest().await.is_empty());
        }
    }
}

async fn a_client_that_waits_for_100_is_refused_without_delay(env: Env) {
    let kvd = env.kvd().arg("--max-value-bytes", "1000").start().await;
    let watch = Stopwatch::start();
    const ROUNDS: u32 = 4;
    for _ in 0..ROUNDS {
        for (line, headers, status) in REFUSED {
            let mut wire = kvd.wire().await;
            wire.send(refused(line, headers, 1_500_000)).await;
            let answer = wire.answer().await.expect(status);
            assert!(says_close(&answer), "{answer:?}");
            assert!(wire.rest().await.is_empty());
        }
    }
    // A second for each would be that of the draining.
    let taken = watch.elapsed();
    let draining = Duration::from_secs(1) * ROUNDS * REFUSED.len() as u32;
    assert!(taken < draining / 2, "{taken:?}");
}

async fn every_connection_that_kvd_closes_is_said_to_close(env: Env) {
    let kvd = env.kvd().arg("--request-timeout", "1s").start().await;
    for old in [
        "GET /livez HTTP/1.0\r\n\r\n",
        "GET /items/missing HTTP/1.0\r\nConnection: close\r\n\r\n",
        "HEAD /livez HTTP/1.0\r\n\r\n",
        "GET /livez HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
        "GET /livez HTTP/1.0\r\nConnection: Close\r\nConnection: keep-alive\r\n\r\n",
    ] {
        let mut wire = kvd.wire().await;
        let said = wire.send(old).await.rest().await;
        let said = String::from_utf8_lossy(&said).to_lowercase();
        assert!(said.contains("\r\nconnection: close\r\n"), "{said}");
    }
    for request in [
        "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_owned(),
        // The body does not come, or is too long to be read to its end.
        format!("PUT /items/a HTTP/1.1\r\nHost: localhost\r\n{JSON}Content-Length: 13\r\n\r\n"),
        format!(
            "PUT /items/a HTTP/1.1\r\nHost: localhost\r\n{JSON}Content-Length: 99999999\r\n\r\n"
        ),
        // Two lengths.
        format!(
            "PUT /items/a HTTP/1.1\r\nHost: localhost\r\n{JSON}Content-Length: 5\r\n\
             Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
    ] {
        let _answer = last(kvd.wire().await, &request).await;
    }
}

async fn shutting_down_is_said_too(env: Env) {
    let kvd = env.kvd().env("REQUEST_TIMEOUT", "40s").start().await;
    let mut wire = kvd.wire().await;
    let head = format!(
        "PUT /items/a?upsert=true HTTP/1.1\r\nHost: localhost\r\n{JSON}Content-Length: 13\r\n\r\n"
    );
    wire.send(head).await;
    until("it is under way", async || {
        kvd.metric("kvd_http_requests_in_flight").await > 1.0
    })
    .await;
    kvd.signal(Signal::SIGTERM);
    let address = kvd.address();
    until("no connection is taken", async || {
        Wire::attempt(address).await.is_err()
    })
    .await;
    let answer = last(wire, "{\"value\":\"b\"}").await.expect(201);
    assert_eq!(answer.member("value"), "b");
    let _ended = kvd.end().await.expect(0);
}
