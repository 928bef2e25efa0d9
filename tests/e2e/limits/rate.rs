//! The limit of requests for one client, and what it tells the client.

use std::time::{Duration, Instant};

use reqwest::Method;
use tests::{
    Answer, Client, Env, Kvd,
    kvd::setting,
    pace::{PATIENCE, Stopwatch, stretched},
};
use tokio::{task::JoinSet, time::sleep};

tests::list! {
    Once =>
        sixty_requests_a_minute_are_let_in_and_the_61st_is_429,
        every_request_below_items_counts_whatever_its_answer,
        no_spelling_of_the_path_escapes_the_limit,
        nothing_beside_items_counts,
        a_refusal_says_when_to_come_back_and_is_not_stored,
        a_client_that_waits_exactly_retry_after_is_let_in,
        refused_requests_do_not_count,
        t_is_the_time_until_the_oldest_counted_request_leaves_the_window,
        eight_addresses_at_once_get_exactly_their_limit,
        rate_limit_0_turns_the_limiter_off
}

async fn limited(env: &Env, limit: &str, window: &str) -> Kvd {
    let kvd = env.kvd().arg("--rate-limit", limit);
    kvd.arg("--rate-limit-window", window).start().await
}

/// `r` and `t` of `RateLimit: "default";r=<left>;t=<seconds>`.
#[track_caller]
pub(crate) fn state(answer: &Answer) -> (u64, u64) {
    let header = answer.header("ratelimit").unwrap_or_default();
    let parsed = header
        .strip_prefix("\"default\";r=")
        .and_then(|rest| rest.split_once(";t="))
        .and_then(|(left, seconds)| Some((left.parse().ok()?, seconds.parse().ok()?)));
    parsed.unwrap_or_else(|| panic!("{}: RateLimit: '{header}'", answer.asked))
}

/// The whole seconds of a refusal.
#[track_caller]
fn retry_after(answer: &Answer) -> u64 {
    answer.problem(429, "rate-limited");
    let seconds = answer.header("retry-after").and_then(|s| s.parse().ok());
    seconds.unwrap_or_else(|| panic!("{}: Retry-After", answer.asked))
}

async fn sixty_requests_a_minute_are_let_in_and_the_61st_is_429(env: Env) {
    let kvd = env.kvd().without_env("RATE_LIMIT").start().await;
    let mut longest = 60;
    for left in (0..60).rev() {
        let answer = kvd.get("/items/missing").await.expect(404);
        let policy = answer.header("ratelimit-policy");
        assert_eq!(policy, Some("\"default\";q=60;w=60"));
        let (r, t) = state(&answer);
        assert_eq!(r, left);
        assert!((1..=longest).contains(&t), "t={t} after t={longest}");
        longest = t;
    }
    let refused = kvd.get("/items/missing").await;
    assert!((1..=longest).contains(&retry_after(&refused)));
    assert_eq!(state(&refused).0, 0);
    kvd.get("/items/").await.problem(429, "rate-limited");
}

/// One request of each kind, all of them below `/items`.
fn requests(kvd: &Client) -> Vec<(u16, tests::client::Call)> {
    let post = || kvd.request(Method::POST, "/items/");
    vec![
        (200, kvd.get("/items")),
        (200, kvd.get("/items/")),
        (400, kvd.get("/items/?page=0")),
        (400, kvd.get("/items/?unknown=1")),
        (404, kvd.get("/items/missing")),
        (404, kvd.get("/items/a/b/c")),
        (400, kvd.get("/items/%FF")),
        (404, kvd.head("/items/missing")),
        (405, kvd.request(Method::PATCH, "/items/a")),
        (405, kvd.request(Method::OPTIONS, "/items/")),
        (415, post().header("Content-Type", "text/plain").body("x")),
        (
            400,
            post().header("Content-Type", "application/json").body("{"),
        ),
        (413, kvd.post("big", &"v".repeat(262_145))),
        (201, kvd.post("a", "1")),
        (409, kvd.post("a", "1")),
        (200, kvd.put("/items/a", "2")),
        (412, kvd.put("/items/a", "3").header("If-Match", "\"0-0\"")),
        (204, kvd.delete("/items/a")),
    ]
}

async fn every_request_below_items_counts_whatever_its_answer(env: Env) {
    let kvd = limited(&env, "18", "600s").await;
    let requests = requests(&kvd);
    assert_eq!(requests.len(), 18);
    for (left, (status, request)) in (0..18).rev().zip(requests) {
        let answer = request.await.expect(status);
        assert_eq!(state(&answer).0, left, "{}", answer.asked);
        let policy = answer.header("ratelimit-policy");
        assert_eq!(policy, Some("\"default\";q=18;w=600"), "{}", answer.asked);
    }
    kvd.get("/items/").await.problem(429, "rate-limited");
    kvd.request(Method::PATCH, "/items/a")
        .await
        .problem(429, "rate-limited");
    let _no_body = kvd.head("/items/a").await.expect(429);
}

/// Whatever reaches the items is counted; whatever is not counted is no item.
async fn no_spelling_of_the_path_escapes_the_limit(env: Env) {
    let kvd = limited(&env, "1", "600s").await;
    let _counted = kvd.get("/items/").await.expect(200);
    let spellings = [
        "/items",
        "/items?page=1",
        "/items/",
        "/items/a%2Fb",
        "http://localhost/items/",
        "http://127.0.0.1/items/a",
        "/%69tems/",
        "/%69tems/a",
        "/items%2F",
        "/items%2Fa",
        "//items/",
        "/./items/",
        "/docs/../items/",
        "/Items/",
    ];
    for path in spellings {
        let answer = kvd.wire().await.ask("GET", path, "").await;
        match answer.status {
            429 => drop(retry_after(&answer)),
            _ => drop(answer.problem(404, "route-not-found")),
        }
    }
}

async fn nothing_beside_items_counts(env: Env) {
    let kvd = limited(&env, "1", "600s").await;
    let paths = [
        (200, "/livez"),
        (200, "/readyz"),
        (200, "/metrics"),
        (200, "/docs"),
        (200, "/openapi.json"),
        (404, "/nowhere"),
        (404, "/itemsx"),
        (404, "/items.json"),
    ];
    let unlimited = || async {
        for (status, path) in paths {
            let answer = kvd.get(path).await.expect(status);
            assert_eq!(answer.header("ratelimit"), None, "{path}");
            assert_eq!(answer.header("ratelimit-policy"), None, "{path}");
        }
    };
    unlimited().await;
    let _first = kvd.get("/items/").await.expect(200);
    kvd.get("/items/").await.problem(429, "rate-limited");
    unlimited().await;
}

async fn a_refusal_says_when_to_come_back_and_is_not_stored(env: Env) {
    let kvd = limited(&env, "1", "30s").await;
    let _first = kvd.get("/items/").await.expect(200);
    for _ in 0..3 {
        let refused = kvd.post("a", "b").await;
        let seconds = retry_after(&refused);
        assert!((1..=30).contains(&seconds), "Retry-After: {seconds}");
        assert_eq!(refused.header("cache-control"), Some("no-store"));
        let policy = refused.header("ratelimit-policy");
        assert_eq!(policy, Some("\"default\";q=1;w=30"));
        assert_eq!(state(&refused), (0, seconds));
        let problem = refused.json();
        let kind = "https://iana.org/assignments/http-problem-types#quota-exceeded";
        assert_eq!(problem["type"], kind);
        assert_eq!(problem["violated-policies"], serde_json::json!(["default"]));
        assert_eq!(problem["retry_after"], seconds);
    }
}

async fn a_client_that_waits_exactly_retry_after_is_let_in(env: Env) {
    let kvd = limited(&env, "3", &setting(stretched(Duration::from_secs(2)))).await;
    for _ in 0..3 {
        let mut answer = kvd.get("/items/").await;
        while answer.status != 429 {
            answer = kvd.get("/items/").await;
        }
        // The contract's own promise, by the contract's own clock.
        sleep(Duration::from_secs(retry_after(&answer))).await;
        let _let_in = kvd.get("/items/").await.expect(200);
    }
}

async fn refused_requests_do_not_count(env: Env) {
    let kvd = limited(&env, "2", "1s").await;
    let _first = kvd.get("/items/").await.expect(200);
    let watch = Stopwatch::start();
    let mut let_in = 0;
    // A client that never stops knocking would never get in again if its refusals counted.
    while let_in < 5 {
        let answer = kvd.get("/items/").await;
        match answer.status {
            200 => let_in += 1,
            _ => drop(retry_after(&answer)),
        }
        assert!(watch.elapsed() < PATIENCE, "let in {let_in} times only");
    }
}

async fn t_is_the_time_until_the_oldest_counted_request_leaves_the_window(env: Env) {
    let kvd = limited(&env, "10", "100s").await;
    let before = Instant::now();
    let _oldest = kvd.get("/items/").await.expect(200);
    let after = Instant::now();
    sleep(Duration::from_millis(1100)).await;
    let asked = Instant::now();
    let (_, t) = state(&kvd.get("/items/").await.expect(200));
    let at_most = 100.0 - (asked - after).as_secs_f64();
    let at_least = 100.0 - before.elapsed().as_secs_f64();
    let expected = at_least.ceil() as u64..=at_most.ceil() as u64;
    assert!(expected.contains(&t), "t={t}, expected {expected:?}");
}

async fn eight_addresses_at_once_get_exactly_their_limit(env: Env) {
    let kvd = limited(&env, "20", "600s").await;
    let mut requests = JoinSet::new();
    for last in 2..10 {
        let client = kvd.client_at(&format!("127.0.0.{last}"));
        for _ in 0..100 {
            let client = client.clone();
            requests.spawn(async move { (last, client.get("/items/missing").await) });
        }
    }
    let mut left = vec![Vec::new(); 10];
    for (address, answer) in requests.join_all().await {
        match answer.status {
            404 => left[address].push(state(&answer).0),
            _ => drop(retry_after(&answer)),
        }
    }
    for mut left in left.drain(2..) {
        left.sort_unstable();
        assert_eq!(left, (0..20).collect::<Vec<_>>());
    }
}

async fn rate_limit_0_turns_the_limiter_off(env: Env) {
    let kvd = limited(&env, "0", "60s").await;
    for _ in 0..100 {
        let answer = kvd.get("/items/").await.expect(200);
        assert_eq!(answer.header("ratelimit"), None);
        assert_eq!(answer.header("ratelimit-policy"), None);
    }
}
