//! The budget of memory that bodies, values and pages share: how much kvd takes at most, and that all of it is given
//! back.

use std::time::Duration;

use serde_json::json;
use tests::{
    Env, Kvd, Wire, item,
    kvd::setting,
    load::until,
    pace::stretched,
    process::{Output, resident},
};
use tokio::{io::AsyncWriteExt, task::JoinHandle};

use super::slow_readers;

tests::list! {
    EveryEngine =>
        values_of_all_sizes_are_read_as_they_were_written;
    Once =>
        unread_answers_of_a_value_of_escaped_characters_are_bounded,
        bodies_that_stop_before_their_last_byte_are_bounded,
        bodies_of_unknown_length_that_stop_are_bounded,
        a_page_larger_than_the_budget_takes_all_of_it,
        a_budget_that_is_less_than_one_request_can_need_is_refused,
        the_default_budget_grows_with_the_values
}

const MIB: u64 = 1 << 20;
const LARGEST: usize = 262_144;

/// Around the sizes from which on a value is read by itself, and its answer is part of the budget.
const SIZES: [usize; 10] = [
    0, 1_000, 8_191, 8_192, 8_193, 16_384, 16_385, 53_000, 200_000, LARGEST,
];

/// Waits until nothing is held, and nothing waits to be.
pub(super) async fn all_is_given_back(kvd: &Kvd) {
    until("all memory is given back", async || {
        kvd.metric("kvd_memory_held_bytes").await == 0.0
            && kvd.metric("kvd_memory_waiting_requests").await == 0.0
    })
    .await;
}

async fn values_of_all_sizes_are_read_as_they_were_written(env: Env) {
    let kvd = env.start().await;
    let mut written = Vec::new();
    for (n, size) in SIZES.into_iter().enumerate() {
        for (kind, text) in [("plain", "x"), ("escaped", "\u{1}"), ("wide", "é🦀")] {
            let (key, value) = (format!("{kind}-{n}"), text.repeat(size / text.len()));
            let stored = kvd.put(&format!("{}?upsert=true", item(&key)), &value);
            let stored = stored.await.expect(201);
            assert_eq!(stored.member("value"), value, "{key}");
            written.push((key, value, stored.etag()));
        }
    }
    for (key, value, etag) in &written {
        let path = item(key);
        let read = kvd.get(&path).await.expect(200);
        assert!(read.member("value") == *value, "{key}");
        assert_eq!(read.etag(), *etag);
        let head = kvd.head(&path).await.expect(200);
        assert_eq!(head.header("content-length"), read.header("content-length"));
        let same = kvd.get(&path).header("If-None-Match", etag);
        let _not_modified = same.await.expect(304);
        let other = kvd.get(&path).header("If-Match", "\"0-1\"").await;
        assert_eq!(other.expect(412).etag(), *etag);
    }
    written.sort();
    assert_listed(&kvd, &written).await;
    all_is_given_back(&kvd).await;
}

/// All pages hold what was written, in the order of the keys.
async fn assert_listed(kvd: &Kvd, written: &[(String, String, String)]) {
    for (query, total) in [("", json!(written.len())), ("&count=none", json!(null))] {
        for (size, pages) in [(20, 2), (100, 1)] {
            let mut listed = Vec::new();
            for page in 1..=pages {
                let path = format!("/items/?page={page}&page_size={size}{query}");
                let page = kvd.get(&path).await.expect(200).json();
                assert_eq!(page["total"], total, "{path}");
                listed.extend(page["items"].as_array().expect("items").clone());
            }
            assert_eq!(listed.len(), written.len());
            for (item, (key, value, _)) in listed.iter().zip(written) {
                assert_eq!(item["key"], *key);
                assert!(item["value"] == *value, "{key}");
            }
        }
    }
}

/// What kvd takes at most while others are served.
async fn most_resident(kvd: &Kvd, key: &str) -> u64 {
    let other = kvd.client_at("127.0.0.2");
    let mut most = 0;
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        most = most.max(resident(kvd.pid()).unwrap_or_default());
        let _other = other.get(&item(key)).await.expect(200);
    }
    most
}

async fn unread_answers_of_a_value_of_escaped_characters_are_bounded(env: Env) {
    const VALUE: usize = 8 << 20;
    let kvd = env.kvd().arg("--max-value-bytes", VALUE.to_string());
    // Without optimisation, on a busy machine, it takes kvd long.
    let kvd = kvd.arg(
        "--request-timeout",
        setting(stretched(Duration::from_secs(20))),
    );
    let kvd = kvd.start().await;
    let value = "\u{1}".repeat(VALUE);
    let _stored = kvd.put("/items/big?upsert=true", &value).await.expect(201);
    let _small = kvd.create("other", &"x".repeat(LARGEST)).await;
    all_is_given_back(&kvd).await;
    let mut unread = Vec::new();
    for _ in 0..20 {
        let mut wire = kvd.wire().await;
        wire.send("GET /items/big HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        unread.push(wire);
    }
    let most = most_resident(&kvd, "other").await;
    env.note(format!("at most {} MiB", most / MIB));
    // One text of 48 MiB, and what is needed to make it.
    assert!(most < 320 * MIB, "{most} bytes");
    drop(unread);
    all_is_given_back(&kvd).await;
    let read = kvd.get("/items/big").await.expect(200);
    assert!(read.body.len() > 6 * VALUE);
}

/// Begins 300 requests, and sends the body of each as far as kvd takes it.
async fn send_300(kvd: &Kvd, head: &str, piece: &[u8], pieces: usize) -> Vec<JoinHandle<Wire>> {
    let mut bodies = Vec::new();
    for _ in 0..300 {
        let mut wire = kvd.wire().await;
        let (head, piece) = (head.to_owned(), piece.to_owned());
        bodies.push(tokio::spawn(async move {
            wire.send(head).await;
            for _ in 0..pieces {
                // kvd does not read on while it has no memory for it, and in the end answers.
                if wire.try_send(&piece).await.is_err() {
                    break;
                }
            }
            wire
        }));
    }
    bodies
}

/// Sends 300 bodies up to their last byte; `chunk` is what is before and after each 64 KiB of them.
async fn stopping_bodies_are_bounded(env: &Env, kvd: &Kvd, framing: &str, chunked: bool) {
    const BODY: usize = 1_500_000;
    const PIECE: usize = 65_536;
    let _other = kvd.create("other", &"x".repeat(LARGEST)).await;
    let before = resident(kvd.pid()).unwrap_or_default();
    let head = format!(
        "PUT /items/k?upsert=true HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
    );
    let piece = match chunked {
        true => [format!("{PIECE:x}\r\n").as_bytes(), &[b' '; PIECE], b"\r\n"].concat(),
        false => vec![b' '; PIECE],
    };
    let bodies = send_300(kvd, &head, &piece, BODY / PIECE).await;
    let most = most_resident(kvd, "other").await;
    env.note(format!("{} MiB more", most.saturating_sub(before) / MIB));
    assert!(
        most < before + 160 * MIB,
        "{most} bytes, and {before} before"
    );
    let other = kvd.client_at("127.0.0.2");
    let _stored = other
        .put("/items/of-another?upsert=true", &"x".repeat(LARGEST))
        .await
        .expect(201);
    for body in bodies {
        body.abort();
        drop(body.await);
    }
    all_is_given_back(kvd).await;
}

async fn bodies_that_stop_before_their_last_byte_are_bounded(env: Env) {
    let kvd = env.start().await;
    stopping_bodies_are_bounded(&env, &kvd, "Content-Length: 1500000", false).await;
}

async fn bodies_of_unknown_length_that_stop_are_bounded(env: Env) {
    let kvd = env.start().await;
    stopping_bodies_are_bounded(&env, &kvd, "Transfer-Encoding: chunked", true).await;
}

/// Stores this many of the largest values.
pub(super) async fn seed(env: &Env, count: usize) {
    let (count, bytes) = (count.to_string(), LARGEST.to_string());
    let args = [
        "seed",
        "--prefix",
        "k-",
        "--count",
        &count,
        "--value-bytes",
        &bytes,
    ];
    let _seeded = env.kvctl(args).await.expect(0);
}

async fn a_page_larger_than_the_budget_takes_all_of_it(env: Env) {
    let kvd = env.kvd().arg("--memory-budget", "4MiB").start().await;
    assert_eq!(
        kvd.metric("kvd_memory_budget_bytes").await,
        4.0 * MIB as f64
    );
    seed(&env, 40).await;
    let _small = kvd.create("small", "x").await;
    let page = kvd.get("/items/?page_size=100").await.expect(200);
    assert!(page.body.len() > 40 * LARGEST);
    let mut unread = slow_readers::connect(&kvd).await;
    let head = "GET /items/?page_size=100 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    unread.write_all(head.as_bytes()).await.expect("sent");
    until("the page has all", async || {
        kvd.metric("kvd_memory_held_bytes").await > 4.0 * MIB as f64
    })
    .await;
    // What is small is none of the budget's business.
    let other = kvd.client_at("127.0.0.2");
    let _page = other.get("/items/?prefix=small").await.expect(200);
    let _item = other.get("/items/small").await.expect(200);
    let _new = other.create("small-2", "x").await;
    let denied = other
        .get("/items/k-000001")
        .await
        .problem(503, "overloaded");
    assert!(
        denied["detail"]
            .as_str()
            .is_some_and(|text| text.contains("memory"))
    );
    drop(unread);
    all_is_given_back(&kvd).await;
    let _item = other.get("/items/k-000001").await.expect(200);
}

#[track_caller]
fn assert_refused(output: Output) {
    let output = output.expect(2);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    assert!(
        output.stderr.contains("--memory-budget"),
        "{}",
        output.stderr
    );
}

async fn a_budget_that_is_less_than_one_request_can_need_is_refused(env: Env) {
    for small in ["0", "64KiB", "1MiB"] {
        assert_refused(env.kvd().arg("--memory-budget", small).run().await);
        assert_refused(env.kvd().env("MEMORY_BUDGET", small).run().await);
    }
    let large = env.kvd().arg("--max-value-bytes", "67108864");
    assert_refused(large.arg("--memory-budget", "256MiB").run().await);
    for wrong in ["", "much", "1.5MiB", "256MB", "8589934592GiB"] {
        assert_refused(env.kvd().arg("--memory-budget", wrong).run().await);
    }
    let enough = env.kvd().arg("--memory-budget", "2 MiB").start().await;
    let value = "\u{1}".repeat(LARGEST);
    let _stored = enough.put("/items/k?upsert=true", &value).await.expect(201);
    assert!(enough.get("/items/k").await.expect(200).member("value") == value);
}

async fn the_default_budget_grows_with_the_values(env: Env) {
    for (values, budget) in [("262144", 256), ("33554432", 256), ("67108864", 512)] {
        let kvd = env.kvd().arg("--max-value-bytes", values).start().await;
        let told = kvd.metric("kvd_memory_budget_bytes").await;
        assert_eq!(told, (budget * MIB) as f64, "with values of {values}");
    }
}
