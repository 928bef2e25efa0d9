//! The host that a request is meant for, and the hosts to which kvd answers.

use reqwest::Method;
use tests::{Answer, Client, Env, Wire};

use crate::limits::rate::state;

tests::list! {
    Once =>
        http_1_1_needs_one_valid_host,
        http_1_0_needs_none_but_no_invalid_one,
        on_a_loopback_address_another_name_is_421,
        localhost_and_addresses_are_answered,
        the_host_of_an_absolute_target_goes_before_the_header,
        a_target_that_is_a_host_alone_is_400,
        allowed_hosts_are_answered,
        a_trusted_proxy_may_send_any_host_until_hosts_are_set,
        on_another_address_every_host_is_answered,
        the_admin_address_has_the_same_rule,
        what_is_refused_for_its_host_is_not_counted,
        a_body_that_came_to_the_wrong_host_is_drained
}

const ROUTES: [&str; 10] = [
    "/items/",
    "/items",
    "/items/a",
    "/items/a/b",
    "/livez",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/nowhere",
];

/// Sends a head made of this line and these headers, and nothing else.
async fn ask(kvd: &Client, line: &str, headers: &str) -> Answer {
    let mut wire = Wire::connect(kvd.address()).await;
    wire.send(format!("{line}\r\n{headers}\r\n")).await;
    wire.answer().await
}

async fn ask_host(kvd: &Client, host: &str) -> Answer {
    ask(kvd, "GET /livez HTTP/1.1", &format!("Host: {host}\r\n")).await
}

/// What every answer has, and no proxy may keep this one.
#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str) -> String {
    let problem = answer.problem(status, code);
    assert!(answer.header("x-request-id").is_some(), "{}", answer.asked);
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("ratelimit"), None, "it was not counted");
    problem["detail"].as_str().expect("a detail").to_owned()
}

#[track_caller]
fn assert_misdirected(answer: &Answer) {
    let detail = assert_refused(answer, 421, "misdirected-request");
    assert!(detail.contains("ALLOWED_HOSTS"), "{detail}");
}

/// What no `Host` may be.
const INVALID: [&str; 21] = [
    "",
    " ",
    ":8000",
    "::1",
    "[::1",
    "[localhost]",
    "[::1]x",
    "localhost:x",
    "localhost:-1",
    "localhost:65536",
    "localhost:1:1",
    "local host",
    "localhost, localhost",
    "localhost/",
    "http://localhost",
    "me@localhost",
    "localhost?",
    "localhost#",
    "loc\u{e4}lhost",
    "%zz",
    "\"localhost\"",
];

async fn http_1_1_needs_one_valid_host(env: Env) {
    let kvd = env.start().await;
    for route in ROUTES {
        for method in ["GET", "POST", "OPTIONS"] {
            let line = format!("{method} {route} HTTP/1.1");
            for headers in [
                "",
                "Host: localhost\r\nHost: localhost\r\n",
                "Host: a/b\r\n",
            ] {
                let answer = ask(&kvd, &line, headers).await;
                assert_refused(&answer, 400, "invalid-request");
            }
        }
    }
    for host in INVALID {
        let answer = ask_host(&kvd, host).await;
        assert_refused(&answer, 400, "invalid-request");
    }
    let absolute = ask(&kvd, "GET http://localhost/livez HTTP/1.1", "").await;
    assert_refused(&absolute, 400, "invalid-request");
}

/// As HAProxy's plain `httpchk` asks.
async fn http_1_0_needs_none_but_no_invalid_one(env: Env) {
    let kvd = env.kvd().arg("--admin-listen", "127.0.0.1:0").start().await;
    let said = async |client: &Client, path: &str, headers: &str| {
        let mut wire = Wire::connect(client.address()).await;
        wire.send(format!("GET {path} HTTP/1.0\r\n{headers}\r\n"))
            .await;
        let said = String::from_utf8(wire.rest().await).expect("text");
        let status = said.split(' ').nth(1).map(str::to_owned);
        status.unwrap_or_default()
    };
    assert_eq!(said(&kvd, "/items/", "").await, "200");
    assert_eq!(said(&kvd.admin(), "/readyz", "").await, "200");
    let readyz = async |headers: &str| said(&kvd.admin(), "/readyz", headers).await;
    assert_eq!(readyz("Host: localhost\r\n").await, "200");
    assert_eq!(readyz("Host: a b\r\n").await, "400");
    assert_eq!(
        readyz("Host: localhost\r\nHost: localhost\r\n").await,
        "400"
    );
    assert_eq!(readyz("Host: evil.example\r\n").await, "421");
}

async fn on_a_loopback_address_another_name_is_421(env: Env) {
    let kvd = env.start().await;
    for route in ROUTES {
        for method in ["GET", "PUT", "BREW"] {
            let line = format!("{method} {route} HTTP/1.1");
            assert_misdirected(&ask(&kvd, &line, "Host: evil.example\r\n").await);
        }
    }
    for host in [
        "kvd",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "notlocalhost",
        "localhost..",
        "0",
        "127.1",
        "0x7f000001",
        "2130706433",
        "%6cocalhost",
    ] {
        assert_misdirected(&ask_host(&kvd, host).await);
    }
    let put = kvd
        .put("/items/a?upsert=true", "x")
        .header("Host", "evil.example");
    assert_misdirected(&put.await);
    kvd.get("/items/a").await.problem(404, "item-not-found");
    let long = ask_host(&kvd, &"x".repeat(10_000)).await;
    assert!(assert_refused(&long, 421, "misdirected-request").len() < 400);
    // A client that gets no body is told by the status alone.
    let mut wire = kvd.wire().await;
    wire.send("HEAD /items/ HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        .await;
    let _refused = wire.answer_to_head().await.expect(421);
    let _still_in_step = wire.ask("GET", "/livez", "").await.expect(200);
}

async fn localhost_and_addresses_are_answered(env: Env) {
    let kvd = env.start().await;
    for host in [
        "localhost",
        "LocalHost:1",
        "localhost:",
        "localhost.",
        "localhost.:65535",
        "kvd.localhost",
        "a.b.LOCALHOST.:80",
        "127.0.0.1",
        "127.9.9.9:8000",
        "192.0.2.1",
        "[::1]",
        "[::1]:8000",
        "[::FFFF:127.0.0.1]",
        "[2001:db8::1]",
    ] {
        let _answered = ask_host(&kvd, host).await.expect(200);
    }
}

async fn the_host_of_an_absolute_target_goes_before_the_header(env: Env) {
    let kvd = env.start().await;
    let get = async |target: &str, host: &str| {
        let line = format!("GET {target} HTTP/1.1");
        ask(&kvd, &line, &format!("Host: {host}\r\n")).await
    };
    for (target, host) in [
        ("http://localhost/livez", "localhost"),
        ("http://LOCALHOST:1/livez", "evil.example"),
        ("http://127.0.0.1/livez", "evil.example"),
        ("HTTP://[::1]:8000/items/", "evil.example"),
    ] {
        let _answered = get(target, host).await.expect(200);
    }
    for target in [
        "http://evil.example/livez",
        "http://evil.example:80/items/?page=1",
        "http://evil.example",
    ] {
        assert_misdirected(&get(target, "localhost").await);
    }
    for (target, host) in [
        ("http://localhost/livez", "a b"),
        ("http://me@localhost/livez", "localhost"),
        ("http://:80/livez", "localhost"),
        ("http://localhost:65536/livez", "localhost"),
    ] {
        assert_refused(&get(target, host).await, 400, "invalid-request");
    }
}

async fn a_target_that_is_a_host_alone_is_400(env: Env) {
    let kvd = env.start().await;
    for target in ["livez", "localhost", "localhost:80"] {
        let line = format!("GET {target} HTTP/1.1");
        let answer = ask(&kvd, &line, "Host: localhost\r\n").await;
        assert_refused(&answer, 400, "invalid-request");
    }
}

async fn allowed_hosts_are_answered(env: Env) {
    let kvd = env
        .kvd()
        .env("ALLOWED_HOSTS", "kvd.example, Other.Example.")
        .start()
        .await;
    for host in [
        "kvd.example",
        "KVD.Example:8000",
        "kvd.example.",
        "other.example",
        "localhost",
        "127.0.0.1",
    ] {
        let _answered = ask_host(&kvd, host).await.expect(200);
    }
    for host in ["example", "a.kvd.example", "kvd.example.evil.example"] {
        assert_misdirected(&ask_host(&kvd, host).await);
    }
    let any = env.kvd().arg("--allowed-hosts", "*").start().await;
    let _answered = ask_host(&any, "evil.example").await.expect(200);
    assert_refused(&ask_host(&any, "a b").await, 400, "invalid-request");
}

async fn a_trusted_proxy_may_send_any_host_until_hosts_are_set(env: Env) {
    let trusting = || env.kvd().env("TRUSTED_PROXIES", "127.0.0.2");
    let kvd = trusting().start().await;
    let proxy = |kvd: &tests::Kvd| kvd.client_at("127.0.0.2");
    let get = |client: &Client| client.get("/items/").header("Host", "kvd.example");
    let _answered = get(&proxy(&kvd)).await.expect(200);
    // Only the peer is asked, not whom it names.
    assert_misdirected(&get(&kvd).await);
    let forged = get(&kvd).header("X-Forwarded-For", "127.0.0.2");
    assert_misdirected(&forged.await);
    let kvd = trusting()
        .env("ALLOWED_HOSTS", "other.example")
        .start()
        .await;
    assert_misdirected(&get(&proxy(&kvd)).await);
}

/// A web page that rebinds its name reaches nothing there that it could not reach anyway.
async fn on_another_address_every_host_is_answered(env: Env) {
    for allowed in ["", "kvd.example"] {
        let start = env.kvd().env("LISTEN_ADDR", "0.0.0.0:0").env("AUTH", "off");
        let kvd = start.env("ALLOWED_HOSTS", allowed).start().await;
        let _answered = ask_host(&kvd, "other.example").await.expect(200);
        assert_refused(&ask_host(&kvd, "a b").await, 400, "invalid-request");
    }
}

async fn the_admin_address_has_the_same_rule(env: Env) {
    let start = || env.kvd().arg("--admin-listen", "127.0.0.1:0");
    let kvd = start().start().await;
    let get =
        |client: Client| async move { client.get("/metrics").header("Host", "scraped").await };
    assert_misdirected(&get(kvd.admin()).await);
    let kvd = start().env("ALLOWED_HOSTS", "scraped").start().await;
    let _answered = get(kvd.admin()).await.expect(200);
    // Each listener has the rule of its own address.
    let kvd = start()
        .env("LISTEN_ADDR", "0.0.0.0:0")
        .env("AUTH", "off")
        .start()
        .await;
    assert_misdirected(&get(kvd.admin()).await);
    let items = ask(&kvd, "GET /items/ HTTP/1.1", "Host: scraped\r\n").await;
    let _answered = items.expect(200);
    let elsewhere = env.kvd().arg("--admin-listen", "0.0.0.0:0");
    let kvd = elsewhere.start().await;
    let _answered = get(kvd.admin()).await.expect(200);
    assert_misdirected(&ask_host(&kvd, "scraped").await);
}

async fn what_is_refused_for_its_host_is_not_counted(env: Env) {
    let kvd = env.kvd().arg("--rate-limit", "1").start().await;
    let refused = async || {
        let foreign = ask(&kvd, "GET /items/ HTTP/1.1", "Host: evil.example\r\n").await;
        assert_misdirected(&foreign);
        let missing = ask(&kvd, "GET /items/ HTTP/1.1", "").await;
        assert_refused(&missing, 400, "invalid-request");
    };
    refused().await;
    refused().await;
    assert_eq!(state(&kvd.get("/items/").await.expect(200)).0, 0);
    kvd.get("/items/").await.problem(429, "rate-limited");
    refused().await;
}

async fn a_body_that_came_to_the_wrong_host_is_drained(env: Env) {
    let kvd = env.start().await;
    let call = kvd
        .request(Method::POST, "/items/")
        .header("Host", "evil.example")
        .body("x".repeat(1_500_000));
    assert_misdirected(&call.await);
}
