//! What `/metrics` tells. That its form is right is for a parser of others to say: see the tests of the Python client.

use std::{collections::BTreeMap, future::IntoFuture};

use sea_orm::{ConnectionTrait, TransactionTrait};
use tests::{
    Client, Env,
    load::{together, until},
};

tests::list! {
    EveryEngine =>
        requests_are_counted_by_route_method_and_status,
        no_label_grows_with_keys_methods_or_clients,
        calls_sent_together_are_counted_with_their_number,
        writes_that_wait_for_a_lock_are_told;
    Once =>
        the_decisions_of_the_limiter_and_its_clients_are_counted,
        the_process_and_its_build_are_told
}

/// All samples by their names with labels.
async fn samples(client: &Client) -> BTreeMap<String, f64> {
    let answer = client.get("/metrics").await.expect(200);
    let samples = answer.text().lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("name value");
        (name.to_owned(), value.parse().expect("a number"))
    };
    samples.map(sample).collect()
}

/// The one sample of this name with labels; 0 if there is none.
pub(crate) async fn gauge(client: &Client, name: &str) -> f64 {
    samples(client).await.get(name).copied().unwrap_or_default()
}

fn requests(method: &str, route: &str, status: u16) -> String {
    format!("kvd_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}}")
}

async fn requests_are_counted_by_route_method_and_status(env: Env) {
    let kvd = env.start().await;
    kvd.create_all(["a", "b"]).await;
    for _ in 0..3 {
        let _read = kvd.get("/items/a").await.expect(200);
        let _missing = kvd.get("/items/c").await.expect(404);
    }
    let samples = samples(&kvd).await;
    let item = "/items/{key}";
    assert_eq!(samples[&requests("POST", "/items/", 201)], 2.0);
    assert_eq!(samples[&requests("GET", item, 200)], 3.0);
    assert_eq!(samples[&requests("GET", item, 404)], 3.0);
    let duration =
        format!("kvd_http_request_duration_seconds_count{{method=\"GET\",route=\"{item}\"}}");
    assert_eq!(samples[&duration], 6.0);
    let sum = duration.replace("_count", "_sum");
    assert!((0.0..60.0).contains(&samples[&sum]) && samples[&sum] > 0.0);
    // The one that asks.
    assert_eq!(samples["kvd_http_requests_in_flight"], 1.0);
    assert!(samples["kvd_http_connections"] >= 1.0);
}

async fn no_label_grows_with_keys_methods_or_clients(env: Env) {
    let kvd = env.start().await;
    let mut names = Vec::new();
    for round in 0..2 {
        for n in 0..20 {
            let client = kvd.client_at(&format!("127.0.1.{}", n + 1));
            let key = format!("/items/{round}-{n}");
            let _missing = client.get(&key).await.expect(404);
            let _none = client.get(&format!("/no/{round}-{n}")).await.expect(404);
            let method = format!("M{round}{n}").parse().expect("a method");
            let _odd = client.request(method, &key).await.expect(405);
        }
        let samples = samples(&kvd).await;
        names.push(samples.into_keys().collect::<Vec<_>>());
    }
    // Only the scrape itself is new.
    names[1].retain(|name| !name.contains("\"/metrics\""));
    assert_eq!(names[0], names[1]);
}

async fn calls_sent_together_are_counted_with_their_number(env: Env) {
    let kvd = env.start().await;
    kvd.create_all((0..50).map(|n| format!("k-{n}"))).await;
    let before = samples(&kvd).await;
    for _ in 0..10 {
        let read = together(50, |n| kvd.get(&format!("/items/k-{n}")).into_future());
        for answer in read.await {
            let _read = answer.expect(200);
        }
    }
    let after = samples(&kvd).await;
    let moved = |name: &str| after[name] - before[name];
    assert_eq!(moved("kvd_database_batch_size_sum{kind=\"read\"}"), 500.0);
    let batches = moved("kvd_database_batch_size_count{kind=\"read\"}");
    assert!((1.0..500.0).contains(&batches), "{batches} batches");
    assert_eq!(after["kvd_database_calls"], 0.0);
    assert_eq!(after["kvd_database_connections_max"], 16.0);
    let (open, idle) = (
        after["kvd_database_connections"],
        after["kvd_database_connections_idle"],
    );
    assert!(
        (1.0..=16.0).contains(&open) && idle <= open,
        "{open}, {idle}"
    );
    let writes = after["kvd_database_batch_size_sum{kind=\"write\"}"];
    assert_eq!(writes, 50.0);
}

async fn writes_that_wait_for_a_lock_are_told(env: Env) {
    let kvd = env.start().await;
    let _created = kvd.create("a", "b").await;
    let connection = env.database().connection().await;
    let theirs = connection.begin().await.expect("BEGIN");
    let lock = "UPDATE items SET version = version + 1 WHERE id = 1";
    theirs.execute_unprepared(lock).await.expect("UPDATE");
    let write = tokio::spawn(kvd.put("/items/a", "c").into_future());
    until("the write waits", async || {
        gauge(&kvd, "kvd_database_locked_writes").await == 1.0
    })
    .await;
    theirs.rollback().await.expect("ROLLBACK");
    let _written = write.await.expect("an answer").expect(200);
    until("none waits", async || {
        gauge(&kvd, "kvd_database_locked_writes").await == 0.0
    })
    .await;
}

async fn the_decisions_of_the_limiter_and_its_clients_are_counted(env: Env) {
    let limits = env.kvd().env("RATE_LIMIT", "3");
    let kvd = limits.env("RATE_LIMIT_MAX_CLIENTS", "2").start().await;
    for _ in 0..5 {
        let _answer = kvd.get("/items/").await;
    }
    let decision = |name: &str| format!("kvd_rate_limit_decisions_total{{decision=\"{name}\"}}");
    let told = samples(&kvd).await;
    assert_eq!(told[&decision("admitted")], 3.0);
    assert_eq!(told[&decision("refused")], 2.0);
    assert_eq!(told["kvd_rate_limit_clients"], 1.0);
    assert_eq!(told["kvd_rate_limit_live_evictions_total"], 0.0);
    for n in 2..=5 {
        let other = kvd.client_at(&format!("127.0.0.{n}"));
        let _listed = other.get("/items/").await.expect(200);
    }
    let told = samples(&kvd).await;
    assert_eq!(told["kvd_rate_limit_clients"], 2.0);
    assert_eq!(told["kvd_rate_limit_live_evictions_total"], 3.0);
}

async fn the_process_and_its_build_are_told(env: Env) {
    let kvd = env.start().await;
    let told = samples(&kvd).await;
    let build = format!(
        "kvd_build_info{{version=\"{}\"}}",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(told[&build], 1.0);
    assert_eq!(told["kvd_database_up"], 1.0);
    assert!(told["process_resident_memory_bytes"] > 1e6);
    assert!(told["process_open_fds"] > 3.0);
}
