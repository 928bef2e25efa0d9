//! A database that is not there.

use std::{future::IntoFuture, time::Duration};

use tests::{
    Env, Kvd,
    kvd::setting,
    load::{together, until},
    pace::stretched,
};

use crate::{
    faults::contract::{
        AT_ONCE, assert_back, assert_pool_whole, assert_unavailable, kvd, request_timeout,
    },
    operating::metrics::gauge,
};

tests::list! {
    Faults =>
        while_it_is_down_everybody_gets_503_in_time_and_2_seconds_after_its_return_is_served,
        kvd_that_starts_without_it_serves_once_it_is_there_and_migrated,
        the_log_says_once_that_it_is_lost_and_once_that_it_is_back
}

async fn while_it_is_down_everybody_gets_503_in_time_and_2_seconds_after_its_return_is_served(
    env: Env,
) {
    let kvd = kvd(&env).start().await;
    let _item = kvd.create("a", "b").await;
    for kill in [false, true] {
        match kill {
            true => env.server().kill().await,
            false => env.server().shut_down().await,
        }
        // Whoever finds out that the connections are broken cannot know what became of a write; a read can be asked again.
        let _noticed = kvd.get("/items/a").await.expect(503);
        assert_unavailable(&kvd).await;
        env.server().start().await;
        assert_back(&kvd, Duration::from_secs(2)).await;
        let kept = kvd.get("/items/a").await.expect(200);
        assert_eq!(
            (kept.member("value"), &kept.json()["version"]),
            ("b".to_owned(), &1.into())
        );
    }
    assert_pool_whole(&env, &kvd, 16).await;
}

async fn kvd_that_starts_without_it_serves_once_it_is_there_and_migrated(env: Env) {
    let (by_kvd, by_kvctl) = (env.empty_database().await, env.empty_database().await);
    env.server().shut_down().await;
    let start = || env.kvd().env("REQUEST_TIMEOUT", setting(request_timeout()));
    let migrating = start()
        .env("DATABASE_URL", by_kvd.url())
        .flag("--migrate")
        .start()
        .await;
    let waiting = start().env("DATABASE_URL", by_kvctl.url()).start().await;
    tokio::join!(assert_unavailable(&migrating), assert_unavailable(&waiting));
    env.server().start().await;
    assert_back(&migrating, Duration::from_secs(5)).await;

    let text = async || waiting.get("/readyz").await.expect(503).text().to_owned();
    let noticed = until("it says what is missing", async || {
        text().await.contains("migrat")
    });
    let noticed = noticed.await;
    assert!(
        noticed < stretched(Duration::from_secs(4)),
        "noticed after {noticed:?}"
    );
    let refused = waiting.post("a", "b").await;
    refused.problem(503, "database-unavailable");
    let _migrated = env.kvctl_on(&by_kvctl, ["migrate"]).await.expect(0);
    assert_back(&waiting, AT_ONCE * 2).await;
}

async fn the_log_says_once_that_it_is_lost_and_once_that_it_is_back(env: Env) {
    let start = kvd(&env)
        .without_env("RUST_LOG")
        .env("REQUEST_TIMEOUT", setting(request_timeout() / 2));
    let kvd = start.start().await;
    let _item = kvd.create("a", "b").await;
    let said = |kvd: &Kvd, what: &str| kvd.log().matches(what).count();
    for times in 1..=2 {
        env.server().shut_down().await;
        for _ in 0..4 {
            let asked = together(50, |n| match n % 2 {
                0 => kvd.get("/items/a").into_future(),
                _ => kvd.put("/items/a", "c").into_future(),
            });
            for answer in asked.await {
                assert!(matches!(answer.status, 503 | 504), "{answer:?}");
            }
        }
        assert_eq!(said(&kvd, "the database is lost"), times, "{}", kvd.log());
        assert_eq!(gauge(&kvd, "kvd_database_up").await, 0.0);
        env.server().start().await;
        assert_back(&kvd, Duration::from_secs(2)).await;
        assert_eq!(said(&kvd, "the database is back"), times, "{}", kvd.log());
        assert_eq!(gauge(&kvd, "kvd_database_up").await, 1.0);
    }
    // Of writes whose outcome is not known each has a line, up to a bound.
    let lines = kvd.log().lines().count();
    assert!(lines < 60, "{lines} lines: {}", kvd.log());
}
