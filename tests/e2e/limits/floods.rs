//! More than there is room for: connections, descriptors, requests, bytes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::sys::signal::Signal;
use tests::{
    Client, Engine, Env, Kvd, Wire, item,
    kvd::setting,
    load::{Load, Told, together, told, until},
    pace::stretched,
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
        a_page_of_the_largest_values_many_times_at_once_is_served_every_time,
        pages_of_the_largest_values_for_clients_that_never_read_are_bounded,
        pages_whose_text_is_six_times_their_values_are_bounded;
    Only(Engine::Postgres) => slow_lists_keep_nobody_from_single_items
}

async fn thousands_at_once_on_a_small_pool_are_served_or_told_that_it_is_overloaded(env: Env) {
    // On a fast machine as well there is too little time for all, and on a slow one time for some.
    let start = env.kvd().env("REQUEST_TIMEOUT", "1s");
    let start = start.arg("--database-max-connections", "1");
    let kvd = start.start().await;
    let mut all = together(3_000, |n| match n % 2 {
        0 => told(kvd.get("/items/?page_size=100")),
        _ => told(kvd.put(&format!("{}?upsert=true", item(&format!("k-{n}"))), "x")),
    })
    .await;
    let done = all.extract_if(.., |told| told.is_done()).count();
    for told in all.iter().filter(|told| !was_late_itself(told)) {
        // The client shares the processors with kvd, so it may see an answer late.
        told.expect_or_503(&[], Duration::from_secs(20));
    }
    env.note(format!("{done} done, {} refused", all.len()));
    assert!(done > 0 && !all.is_empty(), "some of both");
    let _served = kvd.get("/items/").await.expect(200);
}

/// A client that the machine kept from sending its head for ten seconds is cut off, and rightly.
fn was_late_itself(told: &Told) -> bool {
    let machine_was_slow = told.taken < told.waited / 2;
    told.status() == 0 && told.waited >= Duration::from_secs(10) && machine_was_slow
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
            let head = "Host: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
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

/// 60 pages of 25 MB for clients that ask and do not read would be 1.5 GB.
const LARGEST: usize = 262_144;
/// The most memory that kvd may take while all of these are asked for.
const BOUND: u64 = 700 * 1024 * 1024;

/// Makes a page of the largest values.
async fn fill_a_page(kvd: &Kvd) {
    fill(kvd, 100, "x").await;
}

/// Values of nothing but `text`.
async fn fill(kvd: &Kvd, items: usize, text: &str) {
    let value = text.repeat(LARGEST / text.len());
    for n in 0..items {
        let path = format!("{}?upsert=true", item(&format!("k-{n}")));
        let _stored = kvd.put(&path, &value).await.expect(201);
    }
}

async fn a_page_of_the_largest_values_many_times_at_once_is_served_every_time(env: Env) {
    // They are read one after the other, since they are one client's. Without optimisation, on a busy machine, that
    // takes kvd long.
    let kvd = env.kvd().arg("--request-timeout", "10m").start().await;
    fill_a_page(&kvd).await;
    let most = Arc::new(AtomicU64::new(0));
    let watch = tokio::spawn({
        let (most, pid) = (most.clone(), kvd.pid());
        async move {
            loop {
                most.fetch_max(resident(pid).unwrap_or_default(), Ordering::Relaxed);
                sleep(Duration::from_millis(50)).await;
            }
        }
    });
    // The same for most of them, and some that are different.
    let read = together(60, |n| {
        let size = if n % 10 == 0 { 99 - n / 10 } else { 100 };
        let page = kvd.get(&format!("/items/?page_size={size}"));
        async move { (size, page.await.expect(200).body.len()) }
    });
    for (size, bytes) in read.await {
        assert!(bytes > size * LARGEST, "{bytes} bytes of {size} values");
    }
    watch.abort();
    let most = most.load(Ordering::Relaxed);
    env.note(format!("at most {} MiB", most / 1024 / 1024));
    assert!(most > 0 && most < BOUND, "{most} bytes");
}

async fn pages_of_the_largest_values_for_clients_that_never_read_are_bounded(env: Env) {
    let kvd = env.start().await;
    fill_a_page(&kvd).await;
    pages_for_clients_that_never_read_are_bounded(&env, &kvd, 60, 100).await;
}

/// JSON writes U+0001 as six bytes.
async fn pages_whose_text_is_six_times_their_values_are_bounded(env: Env) {
    // Without optimisation, on a busy machine, it takes kvd long.
    let kvd = env.kvd().arg("--request-timeout", "30s").start().await;
    fill(&kvd, 40, "\u{1}").await;
    pages_for_clients_that_never_read_are_bounded(&env, &kvd, 20, 40).await;
}

async fn pages_for_clients_that_never_read_are_bounded(
    env: &Env,
    kvd: &Kvd,
    clients: usize,
    largest: usize,
) {
    let mut silent = Vec::new();
    for n in 0..clients {
        let mut wire = kvd.wire().await;
        let size = largest - n % 20;
        let head = format!("GET /items/?page_size={size} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        wire.send(head).await;
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
    served_a_whole_page(kvd).await;
}

/// Each row takes its time, as it does where it has to come from a slow disk.
async fn slow_lists_keep_nobody_from_single_items(env: Env) {
    let kvd = env.kvd().arg("--database-max-connections", "4");
    let patience = stretched(Duration::from_secs(30));
    let kvd = kvd.arg("--request-timeout", setting(patience));
    let kvd = kvd.start().await;
    kvd.create_all((0..30).map(|n| format!("k-{n}"))).await;
    let database = env.database();
    let _ = database.execute("ALTER TABLE items RENAME TO stored").await;
    let view = format!(
        "CREATE VIEW items AS SELECT * FROM stored WHERE pg_sleep({}) IS NOT NULL",
        stretched(Duration::from_millis(20)).as_secs_f64()
    );
    let _ = database.execute(&view).await;
    let client = Client::clone(&kvd);
    let lists = tokio::spawn(together(8, move |n| {
        told(client.get(&format!("/items/?count=none&page_size={}", 20 + n)))
    }));
    sleep(Duration::from_millis(300)).await;
    for _ in 0..10 {
        let _read = kvd.get("/items/k-0").await.expect(200);
    }
    assert!(
        !lists.is_finished(),
        "who asks for one item need not wait for lists"
    );
    for told in lists.await.expect("all") {
        assert_eq!(told.status(), 200);
    }
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
