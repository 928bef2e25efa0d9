//! What the limiter remembers, and what it forgets.

use std::time::Duration;

use tests::{
    Answer, Client, Env, Kvd,
    pace::{PATIENCE, Stopwatch},
};
use tokio::time::sleep;

tests::list! {
    Once =>
        it_is_exact_while_no_more_than_the_bound_are_live,
        a_client_that_goes_on_sending_is_not_the_one_evicted,
        evicting_a_live_window_is_a_metric,
        idle_clients_are_forgotten
}

/// Behind a proxy, so that one test can be many clients.
async fn start(env: &Env, limit: &str, window: &str, max_clients: &str) -> Kvd {
    env.kvd()
        .arg("--rate-limit", limit)
        .arg("--rate-limit-window", window)
        .arg("--rate-limit-max-clients", max_clients)
        .arg("--trusted-proxies", "127.0.0.1")
        .start()
        .await
}

/// A request of client number `n`.
async fn ask(kvd: &Client, n: u32) -> Answer {
    let [_, a, b, c] = n.to_be_bytes();
    let address = format!("10.{a}.{b}.{c}");
    kvd.get("/items/missing")
        .header("X-Forwarded-For", &address)
        .await
}

async fn evictions(kvd: &Client) -> f64 {
    kvd.metric("kvd_rate_limit_live_evictions_total").await
}

async fn it_is_exact_while_no_more_than_the_bound_are_live(env: Env) {
    let kvd = start(&env, "2", "600s", "200").await;
    for status in [404, 404, 429] {
        for n in 0..200 {
            let _as_expected = ask(&kvd, n).await.expect(status);
        }
    }
    assert_eq!(evictions(&kvd).await, 0.0);
}

async fn a_client_that_goes_on_sending_is_not_the_one_evicted(env: Env) {
    let kvd = start(&env, "10", "600s", "20").await;
    let busy = u32::MAX;
    for n in 0..300 {
        let expected = if n < 100 { 404 } else { 429 };
        if n % 10 == 0 {
            let _counted = ask(&kvd, busy).await.expect(expected);
        }
        let _passing_by = ask(&kvd, n).await.expect(404);
    }
    assert!(evictions(&kvd).await > 0.0, "nobody was evicted");
}

async fn evicting_a_live_window_is_a_metric(env: Env) {
    let kvd = start(&env, "10", "600s", "2").await;
    assert_eq!(evictions(&kvd).await, 0.0);
    let watch = Stopwatch::start();
    let mut n = 0;
    // The cache tidies up now and then, not at once.
    while evictions(&kvd).await < 10.0 {
        let _let_in = ask(&kvd, n).await.expect(404);
        n += 1;
        assert!(watch.elapsed() < PATIENCE, "no eviction after {n} clients");
    }
    assert!(evictions(&kvd).await <= f64::from(n - 2));
}

async fn idle_clients_are_forgotten(env: Env) {
    let kvd = start(&env, "10", "1s", "1000").await;
    for n in 0..50 {
        let _let_in = ask(&kvd, n).await.expect(404);
    }
    let watch = Stopwatch::start();
    // Scrapes go on: a service without requests has no need to tidy up.
    while kvd.metric("kvd_rate_limit_clients").await > 1.0 {
        assert!(watch.elapsed() < PATIENCE, "idle clients are kept");
        let _still = ask(&kvd, 99).await;
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(evictions(&kvd).await, 0.0, "their windows were over");
}
