//! A crowd from one address that takes all connections, or all descriptors.

use std::time::Duration;

use tests::{Answer, Client, Env, Kvd, Wire, kvd::Start, pace::Stopwatch};

tests::list! {
    Once =>
        half_heads_of_one_address_keep_nobody_else_waiting,
        idle_connections_of_one_address_keep_nobody_else_waiting,
        what_is_no_request_keeps_nobody_else_waiting,
        bodies_that_stop_keep_nobody_else_waiting,
        answers_that_are_not_taken_keep_nobody_else_waiting,
        without_descriptors_nobody_else_waits_either
}

/// What a new client may have to wait.
const LONGEST: Duration = Duration::from_secs(1);

const HALF: &str = "GET /items/ HTTP/1.1\r\nHost:";
const HALF_BODY: &str = "POST /items/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                         Content-Length: 100\r\n\r\n{";
const WHOLE: &str = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Many connections from 127.0.0.1 that have sent this.
async fn crowd(kvd: &Client, sent: &str, count: usize) -> Vec<Wire> {
    let mut crowd = Vec::new();
    for _ in 0..count {
        let mut wire = Wire::connect(kvd.address()).await;
        // Its turn may have come already.
        let _sent = wire.try_send(sent).await;
        crowd.push(wire);
    }
    crowd
}

/// A client at another address, which has asked once.
async fn other(kvd: &Kvd, local: &str) -> Wire {
    let mut wire = kvd.wire_at(local).await;
    let _served = wire.ask("GET", "/items/", "").await.expect(200);
    wire
}

async fn in_time(asked: impl Future<Output = Answer>) {
    let watch = Stopwatch::start();
    let _served = asked.await.expect(200);
    let taken = watch.elapsed();
    assert!(taken < LONGEST, "{taken:?}");
}

/// Others are served while the crowd is there and grows again, and keep their connections.
async fn keeps_nobody_waiting(start: Start, sent: &str, count: usize) {
    let kvd = start.start().await;
    let mut one = other(&kvd, "127.0.0.2").await;
    let mut crowds = Vec::new();
    for round in 0..3 {
        crowds.extend(crowd(&kvd, sent, count).await);
        let local = format!("127.0.0.{}", round + 3);
        in_time(async {
            let mut new = kvd.wire_at(&local).await;
            new.ask("GET", "/items/", "").await
        })
        .await;
        in_time(one.ask("GET", "/items/", "")).await;
    }
}

async fn half_heads_of_one_address_keep_nobody_else_waiting(env: Env) {
    let start = env.kvd().arg("--max-connections", "200");
    keeps_nobody_waiting(start, HALF, 220).await;
}

async fn idle_connections_of_one_address_keep_nobody_else_waiting(env: Env) {
    let start = env.kvd().arg("--max-connections", "50");
    keeps_nobody_waiting(start, WHOLE, 60).await;
}

/// Such connections are answered, and then closed when their client has sent all, or a second later.
async fn what_is_no_request_keeps_nobody_else_waiting(env: Env) {
    let start = env.kvd().arg("--max-connections", "50");
    keeps_nobody_waiting(start, "nonsense\r\n\r\n", 60).await;
}

async fn bodies_that_stop_keep_nobody_else_waiting(env: Env) {
    let start = env.kvd().arg("--max-connections", "50");
    let kvd = start.arg("--request-timeout", "50s").start().await;
    let mut crowds = Vec::new();
    for round in 2..5 {
        crowds.extend(crowd(&kvd, HALF_BODY, 60).await);
        in_time(async {
            let mut new = kvd.wire_at(&format!("127.0.0.{round}")).await;
            new.ask("GET", "/items/", "").await
        })
        .await;
    }
}

async fn answers_that_are_not_taken_keep_nobody_else_waiting(env: Env) {
    const READERS: usize = 9;
    // More than the kernel takes in for a client that does not read.
    const ITEMS: usize = 30;
    let start = env
        .kvd()
        .arg("--max-connections", (READERS + 1).to_string());
    let start = start.arg("--request-timeout", "50s");
    let kvd = start.arg("--memory-budget", "1GiB").start().await;
    let value = "x".repeat(262_144);
    for n in 0..ITEMS {
        let _created = kvd.create(&format!("big-{n}"), &value).await;
    }
    let list = "GET /items/?page_size=100 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut readers = crowd(&kvd, list, READERS).await;
    for reader in &mut readers {
        reader.arrived(64 * 1024).await;
    }
    for round in 2..5 {
        in_time(async {
            let mut new = kvd.wire_at(&format!("127.0.0.{round}")).await;
            new.ask("GET", "/livez", "").await
        })
        .await;
    }
}

async fn without_descriptors_nobody_else_waits_either(env: Env) {
    keeps_nobody_waiting(env.kvd().descriptors(300), HALF, 600).await;
}
