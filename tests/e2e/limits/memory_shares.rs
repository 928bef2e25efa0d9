//! What one client may hold of the memory that all share: clients that take no answers keep nothing from others.

use std::time::Duration;

use tests::{
    Env, Kvd, item,
    load::{together, told, until},
    pace::stretched,
};

use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    memory::{all_is_given_back, seed},
    slow_readers,
};

tests::list! {
    Once =>
        unread_pages_of_one_client_keep_no_other_from_any_page,
        a_client_that_holds_too_much_is_told_so_and_still_gets_what_is_small,
        behind_a_trusted_proxy_each_client_has_a_share,
        others_need_not_wait_for_a_client_that_asks_for_the_same_page,
        clients_that_disappear_give_everything_back
}

const MIB: f64 = (1 << 20) as f64;
const LARGEST: usize = 262_144;
/// A page of these takes 16 MiB while it is made and 8 MiB afterwards, which is the share of a client.
const ITEMS: usize = 32;
const BUDGET: &str = "32MiB";

async fn filled(env: &Env, trusted: &str) -> Kvd {
    let kvd = env.kvd().arg("--memory-budget", BUDGET);
    let kvd = kvd.arg("--trusted-proxies", trusted).start().await;
    seed(env, ITEMS).await;
    let _small = kvd.create("small", "x").await;
    kvd
}

/// Asks for twelve different large pages and reads none of them.
async fn unread_pages(kvd: &Kvd, headers: &str) -> Vec<TcpStream> {
    let mut unread = Vec::new();
    for n in 0..12 {
        let mut stream = slow_readers::connect(kvd).await;
        let path = format!("/items/?prefix=k&page_size={}", ITEMS - n);
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        unread.push(stream);
    }
    until("the client holds what it may", async || {
        let held = kvd.metric("kvd_memory_held_bytes").await;
        held > 4.0 * MIB && held < 10.0 * MIB
    })
    .await;
    unread
}

async fn unread_pages_of_one_client_keep_no_other_from_any_page(env: Env) {
    let kvd = filled(&env, "").await;
    let unread = unread_pages(&kvd, "").await;
    let other = kvd.client_at("127.0.0.2");
    for _ in 0..3 {
        for path in [
            "/items/",
            "/items/?prefix=small",
            "/items/?page_size=100",
            "/items/?page_size=100&keys_only=true",
            "/items/k-000001",
        ] {
            let _served = other.get(path).await.expect(200);
        }
    }
    drop(unread);
    all_is_given_back(&kvd).await;
}

async fn a_client_that_holds_too_much_is_told_so_and_still_gets_what_is_small(env: Env) {
    let kvd = filled(&env, "").await;
    let unread = unread_pages(&kvd, "").await;
    for _ in 0..3 {
        let _small = kvd.get("/items/?prefix=small").await.expect(200);
        let _small = kvd.get("/items/small").await.expect(200);
    }
    let page = kvd.get("/items/?page_size=100").await;
    let _refused = page.problem(503, "overloaded");
    drop(unread);
    all_is_given_back(&kvd).await;
    let _served = kvd.get("/items/?page_size=100").await.expect(200);
}

async fn behind_a_trusted_proxy_each_client_has_a_share(env: Env) {
    let kvd = filled(&env, "127.0.0.1").await;
    let unread = unread_pages(&kvd, "X-Forwarded-For: 2001:db8::1\r\n").await;
    let from = |client: &str| {
        let page = kvd.get("/items/?page_size=100");
        page.header("X-Forwarded-For", client)
    };
    let _refused = from("2001:db8::2").await.problem(503, "overloaded");
    let _served = from("2001:db8:0:1::1").await.expect(200);
    let _served = from("192.0.2.1").await.expect(200);
    drop(unread);
    all_is_given_back(&kvd).await;
}

async fn others_need_not_wait_for_a_client_that_asks_for_the_same_page(env: Env) {
    let kvd = filled(&env, "").await;
    let unread = unread_pages(&kvd, "").await;
    let path = "/items/?page_size=31";
    let waiting = tokio::spawn(told(kvd.get(path)));
    until("it waits", async || {
        kvd.metric("kvd_memory_waiting_requests").await > 0.0
    })
    .await;
    let others = together(2, |n| {
        let other = kvd.client_at(&format!("127.0.0.{}", n + 2));
        async move { other.get(path).await.expect(200).body.len() }
    });
    for bytes in others.await {
        assert!(bytes > 31 * LARGEST);
    }
    waiting.abort();
    drop(unread);
    all_is_given_back(&kvd).await;
}

async fn clients_that_disappear_give_everything_back(env: Env) {
    let kvd = filled(&env, "").await;
    let body = format!("{{\"value\":\"{}\"}}", "y".repeat(LARGEST));
    let write = format!(
        "PUT /items/k-000002 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let requests = [
        "GET /items/?page_size=100 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        format!(
            "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n",
            item("k-000001")
        ),
        format!("{write}{}", &body[..LARGEST / 2]),
        format!("{write}{body}"),
    ];
    for pause in [0, 1, 5, 20, 100].map(Duration::from_millis) {
        let mut wires = Vec::new();
        for request in requests.iter().cycle().take(40) {
            let mut wire = kvd.wire().await;
            wire.send(request).await;
            wires.push(wire);
        }
        tokio::time::sleep(stretched(pause)).await;
        drop(wires);
    }
    all_is_given_back(&kvd).await;
    let _served = kvd.get("/items/?page_size=100").await.expect(200);
}
