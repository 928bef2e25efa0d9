//! More than there is room for: connections, descriptors, requests, bytes.

use std::time::Duration;

use nix::sys::signal::Signal;
use tests::{
    Client, Env, Kvd, Wire, item,
    load::{Load, Told, together, told, until},
    process::{cpu_time, resident},
};
use tokio::time::sleep;

tests::list! {
    EveryEngine =>
        thousands_at_once_on_a_small_pool_are_served_or_told_that_it_is_overloaded,
        sigterm_under_load_cuts_off_no_request;
    Once =>
        beyond_max_connections_the_connection_idle_for_longest_goes_first,
        without_descriptors_it_neither_spins_nor_ends,
        pages_of_the_largest_values_for_clients_that_never_read_are_bounded
}

async fn thousands_at_once_on_a_small_pool_are_served_or_told_that_it_is_overloaded(env: Env) {
    let start = env.kvd().arg("--database-max-connections", "1");
    let kvd = start.start().await;
    let mut all = together(1_500, |n| match n % 2 {
        0 => told(kvd.get("/items/?page_size=100")),
        _ => told(kvd.put(&format!("{}?upsert=true", item(&format!("k-{n}"))), "x")),
    })
    .await;
    let done = all.extract_if(.., |told| told.is_done()).count();
    for told in &all {
        // The client shares the processors with kvd, so it may see an answer late.
        told.expect_or_503(&[], Duration::from_secs(20));
    }
    env.note(format!("{done} done, {} refused", all.len()));
    assert!(done > 0 && !all.is_empty(), "some of both");
    let _served = kvd.get("/items/").await.expect(200);
}

async fn sigterm_under_load_cuts_off_no_request(env: Env) {
    let kvd = env.start().await;
    let client = Client::clone(&kvd);
    let load = Load::start(16, move |n, round| {
        let path = format!("{}?upsert=true", item(&format!("k-{n}-{round}")));
        let (client, path) = (client.clone(), path);
        async move {
            // A connection each, so that none is closed just when a request is sent on it.
            let mut wire = Wire::attempt(client.address()).await.ok()?;
            let head = "Host: kvd\r\nConnection: close\r\nContent-Type: application/json\r\n\
                        Content-Length: 13\r\n\r\n{\"value\":\"x\"}";
            wire.send(format!("PUT {path} HTTP/1.1\r\n{head}")).await;
            Some((format!("k-{n}-{round}"), wire.rest().await))
        }
    });
    load.go_on(20).await;
    kvd.signal(Signal::SIGTERM);
    let _ended = kvd.end().await.expect(0);
    let answers: Vec<(String, Vec<u8>)> = load.stop().await.into_iter().flatten().collect();
    for (key, answer) in &answers {
        let answer = String::from_utf8_lossy(answer);
        assert!(answer.starts_with("HTTP/1.1 201 "), "{key}: '{answer}'");
    }
    let stored: i64 = env.database().value("SELECT count(*) FROM items").await;
    assert_eq!(usize::try_from(stored), Ok(answers.len()));
}

async fn beyond_max_connections_the_connection_idle_for_longest_goes_first(env: Env) {
    let kvd = env.kvd().arg("--max-connections", "3").start().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut wire = kvd.wire().await;
        let _served = wire.ask("GET", "/livez", "").await.expect(200);
        open.push(wire);
        sleep(Duration::from_millis(50)).await;
    }
    let mut oldest = open.remove(0);
    let mut fourth = kvd.wire().await;
    let _served = fourth.ask("GET", "/livez", "").await.expect(200);
    assert!(oldest.rest().await.is_empty(), "the oldest is closed");
    for mut wire in open {
        let _served = wire.ask("GET", "/livez", "").await.expect(200);
    }
}

async fn without_descriptors_it_neither_spins_nor_ends(env: Env) {
    const DESCRIPTORS: u64 = 80;
    let kvd = env.kvd().descriptors(DESCRIPTORS).start().await;
    // Busy ones, which cannot be dismissed: half a request each.
    let mut open = Vec::new();
    for _ in 0..2 * DESCRIPTORS {
        let mut wire = kvd.wire().await;
        wire.send("GET /livez HTTP/1.1\r\nX-Half: ").await;
        open.push(wire);
    }
    if let Some(before) = cpu_time(kvd.pid()) {
        sleep(Duration::from_secs(2)).await;
        let spent = cpu_time(kvd.pid()).expect("it runs") - before;
        assert!(spent < Duration::from_millis(500), "{spent:?} of 2 s");
    }
    drop(open);
    until("it serves again", async || {
        told(kvd.get("/items/")).await.is_done()
    })
    .await;
}

/// 60 pages of 25 MB for those who ask and do not read would be 1.5 GB.
async fn pages_of_the_largest_values_for_clients_that_never_read_are_bounded(env: Env) {
    const LARGEST: usize = 262_144;
    const BOUND: u64 = 700 * 1024 * 1024;
    let kvd = env.start().await;
    let value = "x".repeat(LARGEST);
    kvd.create_all((0..99).map(|n| format!("k-{n}"))).await;
    for n in 0..99 {
        let _stored = kvd.put(&item(&format!("k-{n}")), &value).await.expect(200);
    }
    let mut silent = Vec::new();
    for _ in 0..60 {
        let mut wire = kvd.wire().await;
        wire.send("GET /items/?page_size=100 HTTP/1.1\r\nHost: kvd\r\n\r\n")
            .await;
        silent.push(wire);
    }
    let mut most = 0;
    for _ in 0..30 {
        sleep(Duration::from_millis(100)).await;
        most = most.max(resident(kvd.pid()).unwrap_or_default());
        let _live = kvd.get("/livez").await.expect(200);
        let _others = kvd.get("/items/k-0").await.expect(200);
    }
    env.note(format!("at most {} MiB", most / 1024 / 1024));
    assert!(most < BOUND, "{most} bytes");
    let crowded = told(kvd.get("/items/?page_size=100")).await;
    assert!(matches!(crowded.status(), 200 | 503), "{crowded:?}");
    drop(silent);
    served_a_whole_page(&kvd).await;
}

async fn served_a_whole_page(kvd: &Kvd) {
    until("a page is served", async || {
        let told: Told = told(kvd.get("/items/?page_size=100")).await;
        told.is_done()
            && told
                .answer
                .is_some_and(|answer| answer.body.len() > 25_000_000)
    })
    .await;
}
