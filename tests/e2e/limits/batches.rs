//! Batches and the budget of memory: what they read is bounded, and one client's keep no other waiting.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Client, Env, Kvd,
    kvd::setting,
    load::{Load, together, told, until},
    pace::stretched,
    process::resident,
};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    memory::{all_is_given_back, seed},
    slow_readers,
};
use crate::http::batch::{batch, get, post, put, results, statuses};

tests::list! {
    EveryEngine =>
        large_values_are_read_or_told_that_there_is_no_memory;
    Once =>
        unread_batches_are_bounded,
        unread_batches_of_escaped_characters_are_bounded,
        large_batches_of_one_client_are_read_one_after_the_other,
        batches_of_one_client_keep_no_other_waiting
}

const MIB: u64 = 1 << 20;
const LARGEST: usize = 262_144;

async fn start(env: &Env, budget: &str) -> Kvd {
    let time = setting(stretched(Duration::from_secs(10)));
    let kvd = env.kvd().arg("--memory-budget", budget);
    kvd.arg("--request-timeout", time).start().await
}

fn gets(count: usize) -> Vec<Value> {
    (1..=count).map(|n| get(&format!("k-{n:06}"))).collect()
}

async fn large_values_are_read_or_told_that_there_is_no_memory(env: Env) {
    const COUNT: usize = 100;
    let kvd = start(&env, "256MiB").await;
    seed(&env, COUNT).await;
    let _small = kvd.create("small", "x").await;
    let mut operations = gets(COUNT - 2);
    operations.insert(50, get("small"));
    operations.push(put("new", "v"));
    for atomic in [false, true] {
        let body = json!({"atomic": atomic, "operations": operations});
        let answer = post(&kvd, &body).await.expect(200);
        for (operation, result) in operations.iter().zip(results(&answer)) {
            assert_eq!(result["item"]["key"], operation["key"]);
            let bytes = result["item"]["value"].as_str().map(str::len);
            let is_large = result["item"]["key"]
                .as_str()
                .is_some_and(|key| key.starts_with("k-"));
            assert_eq!(bytes, Some(if is_large { LARGEST } else { 1 }));
        }
        drop(answer);
        all_is_given_back(&kvd).await;
    }
    // Less than all need: each is answered, and what is small in any case.
    let kvd = env.kvd().arg("--memory-budget", "8MiB");
    let kvd = kvd.arg("--request-timeout", "1s").start().await;
    let answer = batch(&kvd, &operations).await;
    for (place, result) in results(&answer).iter().enumerate() {
        match result["status"].as_u64() {
            Some(200 | 201) => {}
            Some(503) => {
                assert_eq!(result["code"], "overloaded");
                assert!(result["retry_after"].is_number());
                assert!(place != 50 && place != 99, "what is small needs no memory");
            }
            other => panic!("{other:?}: {result}"),
        }
    }
    all_is_given_back(&kvd).await;
    let _one = batch(&kvd, &gets(2)).await.expect(200);
}

/// Sends a batch and reads nothing of its answer.
async fn unread(kvd: &Kvd, body: &Value) -> TcpStream {
    let mut stream = slow_readers::connect(kvd).await;
    let body = body.to_string();
    let request = format!(
        "POST /batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream
}

/// What kvd takes at most while many such answers are not read, and another client is served.
async fn most_while_unread(env: &Env, kvd: &Kvd, operations: &[Value]) -> u64 {
    let mut streams = Vec::new();
    for n in 0..20 {
        let body = json!({"atomic": n % 2 == 0, "operations": operations});
        streams.push(unread(kvd, &body).await);
    }
    let other = kvd.client_at("127.0.0.2");
    let mut most = 0;
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        most = most.max(resident(kvd.pid()).unwrap_or_default());
        let small = batch(&other, &[get("small"), put("small-2", "x")]).await;
        let _small = small.expect(200);
    }
    env.note(format!("at most {} MiB", most / MIB));
    drop(streams);
    all_is_given_back(kvd).await;
    most
}

async fn unread_batches_are_bounded(env: Env) {
    let kvd = start(&env, "64MiB").await;
    seed(&env, 50).await;
    let _small = kvd.create("small", "x").await;
    let before = resident(kvd.pid()).unwrap_or_default();
    let most = most_while_unread(&env, &kvd, &gets(50)).await;
    assert!(
        most < before + 96 * MIB,
        "{most} bytes, and {before} before"
    );
}

/// As text they take six times as much.
async fn unread_batches_of_escaped_characters_are_bounded(env: Env) {
    let kvd = start(&env, "128MiB").await;
    let value = "\u{1}".repeat(LARGEST);
    for n in 1..=50 {
        let stored = kvd.put(&format!("/items/k-{n:06}?upsert=true"), &value);
        let _stored = stored.await.expect(201);
    }
    let _small = kvd.create("small", "x").await;
    all_is_given_back(&kvd).await;
    let before = resident(kvd.pid()).unwrap_or_default();
    let most = most_while_unread(&env, &kvd, &gets(50)).await;
    // The text of one, of 75 MiB, in addition to the budget.
    assert!(
        most < before + 256 * MIB,
        "{most} bytes, and {before} before"
    );
}

/// Each needs more than a client's share, which it may have if it is the client's only one.
async fn large_batches_of_one_client_are_read_one_after_the_other(env: Env) {
    const KEYS: usize = 60;
    let kvd = env.kvd().arg("--memory-budget", "64MiB");
    let kvd = kvd.arg("--request-timeout", "30s").start().await;
    seed(&env, KEYS).await;
    for atomic in [false, true] {
        let body = json!({"atomic": atomic, "operations": gets(KEYS)});
        let answers = together(4, |_| {
            let (kvd, body) = (Client::clone(&kvd), body.clone());
            async move { post(&kvd, &body).await }
        });
        for answer in answers.await {
            assert_eq!(statuses(&answer), vec![200; KEYS], "atomic: {atomic}");
        }
    }
    all_is_given_back(&kvd).await;
}

async fn batches_of_one_client_keep_no_other_waiting(env: Env) {
    const KEYS: usize = 60;
    let kvd = env.kvd().arg("--memory-budget", "64MiB").start().await;
    seed(&env, KEYS).await;
    let crowd = Client::clone(&kvd);
    let load = Load::start(16, move |number, _| {
        let body = json!({"atomic": number % 2 == 0, "operations": gets(KEYS)});
        told(crowd.request(Method::POST, "/batch").json(&body))
    });
    until("the crowd waits for memory", async || {
        kvd.metric("kvd_memory_waiting_requests").await > 0.0
    })
    .await;
    let other = kvd.client_at("127.0.0.2");
    for n in 0..20 {
        let small = batch(&other, &[put(&format!("s-{n}"), "x"), get("k-000001")]).await;
        assert_eq!(statuses(&small), [201, 200]);
        let _large = other.get("/items/k-000002").await.expect(200);
    }
    for told in load.stop().await {
        assert!([200, 207, 503].contains(&told.status()), "{told:?}");
    }
    all_is_given_back(&kvd).await;
}
