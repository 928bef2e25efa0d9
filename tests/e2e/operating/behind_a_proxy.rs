//! What is true behind every proxy of the handbook.

use std::{net::SocketAddr, time::Duration};

use reqwest::Method;
use sea_orm::{ConnectionTrait, TransactionTrait};
use tests::{Client, Env, Wire, item, load::told, process::run, relay::Relay};

use crate::limits::rate::state;

/// Keys that a proxy may take for something else.
pub(crate) const KEYS: [&str; 12] = [
    "a/b", "a%2Fb", "a//b", "/", "//", "../a", "a/..", "%", "?x=y#z", "a b+c", "\u{e9}", "a;b=c",
];

/// What is done through the proxy is done to this key.
pub(crate) async fn assert_arrives(key: &str, proxy: &Client, kvd: &Client) {
    let created = proxy.create(key, "").await;
    let location = created.header("location").expect("a location").to_owned();
    let path = item(key);
    assert_eq!(proxy.get(&location).await.expect(200).member("key"), key);
    assert_eq!(proxy.put(&path, "x").await.expect(200).member("key"), key);
    assert_eq!(kvd.get(&path).await.expect(200).member("key"), key);
    let _deleted = proxy.delete(&path).await.expect(204);
}

/// How much of its limit a client has used after each of these requests through the proxy: two of them forge a header.
pub(crate) async fn counted(proxy: SocketAddr, limit: u64) -> [u64; 4] {
    let mut used = [0; 4];
    for (used, (local, forged)) in used.iter_mut().zip([
        ("127.0.0.2", "unknown"),
        ("127.0.0.2", "198.51.100.7"),
        ("127.0.0.2", "198.51.100.7, 127.0.0.1"),
        ("127.0.0.3", "127.0.0.2"),
    ]) {
        let local = local.parse().expect("an address");
        let client = Client::new(proxy, Some(local));
        let request = client.get("/items/missing");
        let answer = request.header("X-Forwarded-For", forged).await;
        *used = limit - state(&answer.expect(404)).0;
    }
    used
}

/// Sends a PUT whose answer kvd gives and the proxy never gets; the status of the client, and the item's version.
pub(crate) async fn put_whose_answer_is_lost(
    proxy: SocketAddr,
    relay: &Relay,
    kvd: &Client,
) -> (u16, i64) {
    let put = async {
        let mut wire = Wire::connect(proxy).await;
        let body = r#"{"value":"b"}"#;
        let head = "PUT /items/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json";
        let length = body.len();
        let request = format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}");
        wire.send(request).await.answer().await.status
    };
    let ((), status) = tokio::join!(relay.lose_an_answer("PUT"), put);
    let read = kvd.get("/items/a").await.expect(200).json();
    (status, read["version"].as_i64().expect("a version"))
}

/// The status of a request by TLS to `localhost`, whose certificate must be one of this authority.
pub(crate) fn status_by_tls(port: u16, authority: &str, arguments: &[&str]) -> String {
    let url = format!("https://localhost:{port}/items/a");
    let status = ["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"];
    let said = run(
        "curl",
        &[&status[..], &[authority], arguments, &[&url]].concat(),
    );
    said.expect(0).text().to_owned()
}

/// The largest value passes through the proxy, however it is written, and of a larger one it is kvd that says so.
pub(crate) async fn assert_kvd_bounds_values(proxy: &Client) {
    let _created = proxy.create("a", "").await;
    for (characters, status) in [(262_144, 200), (262_145, 413)] {
        // Each takes six bytes.
        let body = format!("{{\"value\":\"{}\"}}", "\\u0001".repeat(characters));
        let put = proxy.request(Method::PUT, "/items/a");
        let put = put.header("Content-Type", "application/json").body(body);
        let answer = put.await.expect(status);
        if status == 413 {
            answer.problem(413, "value-too-large");
        }
    }
}

/// A write that waits for a lock until kvd gives it up, after 0.6 × `REQUEST_TIMEOUT`, has kvd's answer.
pub(crate) async fn assert_late_answers_arrive(env: &Env, proxy: &Client) {
    let locks = env.database().connection().await.begin().await;
    let locks = locks.expect("a transaction");
    let insert = "INSERT INTO items (key, value) VALUES ('x', 'y')";
    let _locked = locks.execute_unprepared(insert).await.expect("it writes");
    let written = told(proxy.post("a", "b")).await;
    written.expect_503();
    assert!(written.waited > Duration::from_secs(2), "{written:?}");
}
