//! A database that says nothing, with its connections open.

use std::time::Duration;

use tests::{
    Client, Engine, Env, Kvd, item,
    load::{Told, together, told},
    pace::{Stopwatch, stretched},
    process::resident,
    relay::Relay,
};
use tokio::time::sleep;

use crate::faults::contract::{
    AT_ONCE, Written, assert_as_told, assert_back, assert_pool_whole, assert_reads_succeed,
    in_time, key_column, kvd, request_timeout,
};

tests::list! {
    Faults =>
        everybody_is_answered_in_time_and_served_3_seconds_after_the_thaw,
        connections_that_never_answer_again_are_given_up,
        connections_that_died_unnoticed_are_found_out,
        who_sends_the_body_late_is_answered_in_the_time_of_one_request,
        connections_that_died_while_nobody_used_them_cost_one_request_a_second;
    Only(Engine::Mysql) => a_write_that_was_not_to_be_committed_yet_is_503
}

const CLIENTS: usize = 200;
/// What a kvd that queues without bound would exceed, and no other, built with or without optimisation.
const BOUNDED: u64 = 200 * 1024 * 1024;

/// Reads and writes of many at once, while nothing is answered; what the writers were told.
async fn ask_in_vain(kvd: &Kvd, name: &str) -> Vec<Written> {
    let reads = together(CLIENTS, |n| match n % 2 {
        0 => told(kvd.get(&item(&format!("k-{n}")))),
        _ => told(kvd.get("/items/")),
    });
    let writes = together(CLIENTS, |n| {
        let (key, value) = (format!("k-{n}"), format!("{name}-{n}"));
        let put = kvd.put(&item(&key), &value);
        async move {
            let told = told(put).await;
            Written { key, value, told }
        }
    });
    let (live, ready) = (told(kvd.get("/livez")), told(kvd.get("/readyz")));
    let (reads, writes, live, ready) = tokio::join!(reads, writes, live, ready);
    for read in &reads {
        read.expect_or_503(&[], in_time());
    }
    for write in &writes {
        write.told.expect_or_503(&[504], in_time());
    }
    // An answer of up to a second before is good.
    ready.expect_or_503(&[200], in_time());
    told(kvd.get("/readyz")).await.expect_or_503(&[], in_time());
    assert_eq!(live.status(), 200, "/livez");
    assert!(live.taken < AT_ONCE, "/livez: {:?}", live.taken);
    writes
}

async fn start(env: &Env, url: String) -> Kvd {
    let start = kvd(env).arg("--database-max-connections", "4");
    let kvd = start.env("DATABASE_URL", url).start().await;
    kvd.create_all((0..CLIENTS).map(|n| format!("k-{n}"))).await;
    busy(&kvd).await;
    kvd
}

/// Uses all connections of the pool.
async fn busy(kvd: &Client) {
    for told in together(40, |_| told(kvd.get("/items/"))).await {
        assert_eq!(told.status(), 200);
    }
}

async fn everybody_is_answered_in_time_and_served_3_seconds_after_the_thaw(env: Env) {
    let kvd = start(&env, env.database().url()).await;
    env.server().freeze().await;
    let mut writes = ask_in_vain(&kvd, "first").await;
    // By now none of the connections is any good.
    writes.extend(ask_in_vain(&kvd, "second").await);
    if let Some(bytes) = resident(kvd.pid()) {
        assert!(bytes < BOUNDED, "{bytes} bytes");
    }
    env.server().thaw();
    assert_back(&kvd, Duration::from_secs(3)).await;
    assert_as_told(&env, 1, &writes).await;
    assert_pool_whole(&env, &kvd, 4).await;
}

/// As when a network is gone without a word, and comes back without the connections.
async fn connections_that_never_answer_again_are_given_up(env: Env) {
    let relay = Relay::to(env.database()).await;
    let kvd = start(&env, relay.url()).await;
    for round in ["first", "second"] {
        relay.swallow();
        let writes = ask_in_vain(&kvd, round).await;
        relay.pass_again();
        assert_back(&kvd, Duration::from_secs(3)).await;
        let done: Vec<&Told> = writes
            .iter()
            .map(|w| &w.told)
            .filter(|t| t.is_done())
            .collect();
        assert!(done.is_empty(), "{done:?}");
    }
    let written = format!(
        "SELECT count(*) FROM items WHERE version > 1 AND {} LIKE 'k-%'",
        key_column(&env)
    );
    assert_eq!(
        env.database().value::<i64>(&written).await,
        0,
        "nothing came through"
    );
    assert_pool_whole(&env, &kvd, 4).await;
}

/// As when a firewall forgets idle connections: the first request to use one waits in vain, and none after it.
async fn connections_that_died_unnoticed_are_found_out(env: Env) {
    let relay = Relay::to(env.database()).await;
    let kvd = start(&env, relay.url()).await;
    relay.swallow();
    relay.pass_again();
    let watch = Stopwatch::start();
    assert_reads_succeed(&kvd).await;
    let taken = watch.elapsed();
    assert!(
        taken < request_timeout() + stretched(AT_ONCE * 2),
        "only after {taken:?}"
    );
    busy(&kvd).await;
    assert_pool_whole(&env, &kvd, 4).await;
}

/// What the body has taken, the database has not.
async fn who_sends_the_body_late_is_answered_in_the_time_of_one_request(env: Env) {
    let kvd = start(&env, env.database().url()).await;
    env.server().freeze().await;
    let mut wire = kvd.wire().await;
    let watch = Stopwatch::start();
    wire.send(
        "PUT /items/k-0 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: 13\r\n\r\n",
    )
    .await;
    sleep(request_timeout() - AT_ONCE / 5).await;
    wire.send("{\"value\":\"x\"}").await;
    let answer = wire.answer().await;
    let taken = watch.elapsed();
    env.server().thaw();
    assert!(matches!(answer.status, 503 | 504), "{}", answer.status);
    assert!(taken < in_time(), "{taken:?}");
}

/// A transaction that never got to its end has written nothing.
async fn a_write_that_was_not_to_be_committed_yet_is_503(env: Env) {
    let relay = Relay::to(env.database()).await;
    let kvd = start(&env, relay.url()).await;
    relay.swallow();
    let writes = together(CLIENTS, |n| told(kvd.put(&item(&format!("k-{n}")), "x")));
    for told in writes.await {
        told.expect_or_503(&[], in_time());
    }
}

/// For longer than kvd uses a connection without a question first.
async fn connections_that_died_while_nobody_used_them_cost_one_request_a_second(env: Env) {
    let relay = Relay::to(env.database()).await;
    let kvd = start(&env, relay.url()).await;
    sleep(Duration::from_secs(1)).await;
    relay.swallow();
    relay.pass_again();
    let watch = Stopwatch::start();
    let _read = kvd.get("/items/k-0").await.expect(200);
    let _written = kvd.put("/items/k-0", "x").await.expect(200);
    let taken = watch.elapsed();
    assert!(taken < stretched(AT_ONCE * 2), "{taken:?}");
}
