//! A database that takes its time, for some of what it is asked.

use std::time::Duration;

use tests::{
    Client, Engine, Env,
    client::Call,
    item,
    kvd::setting,
    load::{together, told, until},
    pace::stretched,
};
use tokio::task::JoinSet;

tests::list! {
    FaultsOnly(Engine::Postgres) =>
        what_takes_its_time_keeps_nothing_else_waiting,
        a_count_that_never_ends_keeps_no_other_waiting
}

/// Also after there was as much of it as may be at once.
async fn what_takes_its_time_keeps_nothing_else_waiting(env: Env) {
    let url = env
        .server()
        .url_of_ordinary_user(env.database().name())
        .await;
    let kvd = env.kvd().arg("--database-max-connections", "8");
    let kvd = kvd.env("DATABASE_URL", url).start().await;
    kvd.create_all(["fast", "slow-0", "slow-1", "slow-2", "slow-3"])
        .await;
    all_but_one_take_their_time(&env).await;
    let read: fn(&Client, &str) -> Call = |kvd, key| kvd.get(&item(key));
    let write: fn(&Client, &str) -> Call = |kvd, key| kvd.put(&item(key), "new");
    // Half of the sessions are for reads, a quarter for writes.
    for (most, call) in [(4, read), (2, write)] {
        let mut slow = JoinSet::new();
        for n in 0..most {
            slow.spawn(told(call(&kvd, &format!("slow-{n}"))));
            asleep(&env, n + 1).await;
        }
        // There is no place beside them, so it goes when the first has ended.
        let fast = told(call(&kvd, "fast")).await;
        assert_eq!(fast.status(), 200);
        for slow in slow.join_all().await {
            assert_eq!(slow.status(), 200);
            assert!(slow.waited < 4 * fast.waited, "{fast:?} {slow:?}");
        }
        let slow = tokio::spawn(told(call(&kvd, "slow-0")));
        asleep(&env, 1).await;
        let fast = told(call(&kvd, "fast")).await;
        let slow = slow.await.expect("an answer");
        assert_eq!((fast.status(), slow.status()), (200, 200));
        assert!(2 * fast.waited < slow.waited, "{fast:?} {slow:?}");
    }
}

/// The first count takes all the time there is, and those after it do not.
async fn a_count_that_never_ends_keeps_no_other_waiting(env: Env) {
    let url = env
        .server()
        .url_of_ordinary_user(env.database().name())
        .await;
    let kvd = env.kvd().arg("--database-max-connections", "4");
    let time = setting(stretched(Duration::from_secs(10)));
    let kvd = kvd.arg("--request-timeout", time);
    let kvd = kvd.env("DATABASE_URL", url).start().await;
    let _created = kvd.create("a", "b").await;
    for sql in [
        "CREATE SEQUENCE counts",
        "CREATE POLICY slow ON items USING (current_query() NOT LIKE '%count(*)%' \
         OR nextval('counts') > 1 OR pg_sleep(600) IS NULL)",
        "GRANT USAGE ON SEQUENCE counts TO PUBLIC",
        "ALTER TABLE items ENABLE ROW LEVEL SECURITY",
    ] {
        let _done = env.database().execute(sql).await;
    }
    let first = tokio::spawn(told(kvd.get("/items/")));
    asleep(&env, 1).await;
    for answer in together(20, |_| told(kvd.get("/items/"))).await {
        assert_eq!(answer.status(), 200, "{answer:?}");
    }
    assert!(!first.is_finished(), "they waited for it");
    first.await.expect("an answer").expect_503();
}

/// A policy of the table lets every key but one wait.
async fn all_but_one_take_their_time(env: &Env) {
    let slow = format!(
        "CREATE POLICY slow ON items \
         USING (key = 'fast' OR (SELECT pg_sleep({})) IS NOT NULL)",
        stretched(Duration::from_secs(1)).as_secs()
    );
    for sql in [&slow, "ALTER TABLE items ENABLE ROW LEVEL SECURITY"] {
        let _done = env.database().execute(sql).await;
    }
}

/// Waits until this number of sessions takes its time.
async fn asleep(env: &Env, sessions: i64) {
    let sql = "SELECT count(*) FROM pg_stat_activity \
               WHERE datname = current_database() AND wait_event = 'PgSleep'";
    until("it takes its time", async || {
        env.database().value::<i64>(sql).await == sessions
    })
    .await;
}
