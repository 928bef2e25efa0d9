//! What a batch is held to beside its operations: tokens, the limiter, locks of others, and how it is committed.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseTransaction, IsolationLevel, TransactionTrait};
use serde_json::{Value, json};
use tests::{Client, Engine, Env, Kvd, item, kvd::setting, load::until, pace::stretched};

use crate::{
    http::{
        access,
        batch::{atomic, batch, expire, get, post, put, results, statuses},
    },
    operating::metrics::gauge,
};

tests::list! {
    EveryEngine =>
        each_key_of_a_batch_must_be_allowed,
        a_hundred_puts_are_one_batch;
    Only(Engine::Postgres) =>
        a_hundred_puts_are_one_commit,
        a_locked_key_keeps_only_its_own_operation_waiting,
        an_atomic_batch_waits_for_a_locked_key_and_keeps_nobody_else_waiting,
        what_is_locked_to_the_end_is_503;
    Only(Engine::Mysql) =>
        a_locked_key_keeps_only_its_own_operation_waiting,
        an_atomic_batch_waits_for_a_locked_key_and_keeps_nobody_else_waiting,
        what_is_locked_to_the_end_is_503;
    Only(Engine::Sqlite) =>
        a_batch_waits_for_the_lock_of_all_keys;
    Once =>
        a_batch_is_one_request_to_the_limiter
}

// Long: one table of what is refused.
async fn each_key_of_a_batch_must_be_allowed(env: Env) {
    let (kvd, all) = access::started(&env).await;
    let _item = all.create("a/r", "v").await;
    let _item = all.create("b", "v").await;
    let words = ["app", "--read", "a/", "--write", "a/w/", "--write", "c/"];
    let app = kvd.with_token(&env.token(words).await);
    let before = gauge(&all, "kvd_database_batch_size_count{kind=\"read\"}").await;
    let first = batch(&app, &[get("a/r"), get("b")]).await;
    let first = first.problem(403, "forbidden");
    for operations in [
        vec![get("b")],
        vec![get("missing")],
        vec![put("a/w/x", "v"), get("b"), put("c/x", "v")],
        vec![put("a/w/x", "v"), put("a/r", "w")],
        vec![put("a/w/x", "v"), json!({"op": "delete", "key": "a/r"})],
        vec![
            put("a/w/x", "v"),
            json!({"op": "create", "key": "missing", "value": ""}),
        ],
        vec![
            put("a/w/x", "v"),
            json!({"op": "put", "key": "b", "value": "", "if_match": "9-9"}),
        ],
    ] {
        for atomic in [false, true] {
            let body = json!({"atomic": atomic, "operations": operations});
            let refused = post(&app, &body).await;
            assert_eq!(refused.problem(403, "forbidden"), first, "{operations:?}");
        }
    }
    let after = gauge(&all, "kvd_database_batch_size_count{kind=\"read\"}").await;
    assert_eq!(before, after, "no key was looked up");
    // What is wrong is told first, wherever its key is.
    let wrong = batch(&app, &[get("b"), get("")]).await;
    wrong.problem(400, "invalid-key");
    let page = all.get("/items/").await.expect(200).json();
    assert_eq!(page["total"], 2, "nothing was done");
    let reads = [get("a/r"), get("a/w/x"), get("c/x")];
    assert_eq!(statuses(&batch(&app, &reads).await), [200, 404, 404]);
    let writes = [put("a/w/x", "v"), put("c/x", "v"), get("a/r")];
    assert_eq!(statuses(&batch(&app, &writes).await), [201, 201, 200]);
    assert_eq!(statuses(&atomic(&app, &writes).await), [200, 200, 200]);
    let reader = kvd.with_token(&env.token(["reader", "--read", ""]).await);
    assert_eq!(
        statuses(&batch(&reader, &[get("b"), get("a/r")]).await),
        [200, 200]
    );
    assert_eq!(
        statuses(&atomic(&reader, &[get("b"), get("a/r")]).await),
        [200, 200]
    );
    batch(&reader, &[put("b", "")])
        .await
        .problem(403, "forbidden");
    for unknown in [kvd.with_token("kvd_x"), Client::clone(&kvd)] {
        access::assert_unauthenticated(&batch(&unknown, &[get("b")]).await);
        access::assert_unauthenticated(&batch(&unknown, &[get("")]).await);
    }
}

async fn a_batch_is_one_request_to_the_limiter(env: Env) {
    let kvd = env.kvd().env("RATE_LIMIT", "5").start().await;
    let many: Vec<Value> = (0..100).map(|n| put(&format!("k-{n}"), "v")).collect();
    let bodies = [
        json!({"operations": many}),
        json!({"atomic": true, "operations": many}),
        json!({"operations": [get("")]}),
        json!({"operations": [get("k-1"), get("none")]}),
    ];
    for (left, body) in (1..5).rev().zip(&bodies) {
        let answer = post(&kvd, body).await;
        let limit = answer.header("ratelimit").expect("what is left");
        assert!(limit.contains(&format!("r={left};")), "{limit}");
    }
    let answer = kvd.get("/batch").await;
    assert_eq!(answer.status, 405);
    assert!(
        answer
            .header("ratelimit")
            .is_some_and(|left| left.contains("r=0;"))
    );
    let refused = batch(&kvd, &[put("after", "v")]).await;
    refused.problem(429, "rate-limited");
    assert!(refused.header("retry-after").is_some());
    let rows: i64 = env.database().value("SELECT count(*) FROM items").await;
    assert_eq!(rows, 100);
}

/// Some exist, some do not and some have expired; with and without an end.
async fn hundred(env: &Env, kvd: &Kvd, name: &str, end: Option<u64>) -> Vec<Value> {
    let keys: Vec<String> = (0..100).map(|n| format!("{name}-{n:02}")).collect();
    for (n, key) in keys.iter().enumerate() {
        match n % 3 {
            0 => drop(kvd.create(key, "there").await),
            1 => drop(kvd.create(key, "expired").await),
            _ => {}
        }
    }
    expire(env, "expired").await;
    let put =
        |key: &String| json!({"op": "put", "key": key, "value": name, "upsert": true, "ttl": end});
    keys.iter().map(put).collect()
}

async fn a_hundred_puts_are_one_batch(env: Env) {
    let kvd = env.kvd().arg("--request-timeout", "50s").start().await;
    for (name, end) in [("never", None), ("ending", Some(3600))] {
        let operations = hundred(&env, &kvd, name, end).await;
        let (count, sum) = (
            "kvd_database_batch_size_count{kind=\"write\"}",
            "kvd_database_batch_size_sum{kind=\"write\"}",
        );
        let before = (gauge(&kvd, count).await, gauge(&kvd, sum).await);
        let answer = batch(&kvd, &operations).await.expect(200);
        let after = (gauge(&kvd, count).await, gauge(&kvd, sum).await);
        assert_eq!(
            (after.0 - before.0, after.1 - before.1),
            (1.0, 100.0),
            "{name}"
        );
        for (n, result) in results(&answer).iter().enumerate() {
            let expected = if n % 3 == 0 { (200, 2) } else { (201, 1) };
            assert_eq!(result["status"], expected.0, "{name}-{n}: {result}");
            assert_eq!(result["item"]["version"], expected.1, "{name}-{n}");
            let read = kvd.get(&item(&format!("{name}-{n:02}"))).await.expect(200);
            assert_eq!(result["item"], read.json());
        }
    }
}

/// Rows of one transaction have its number.
async fn a_hundred_puts_are_one_commit(env: Env) {
    let kvd = env.kvd().arg("--request-timeout", "50s").start().await;
    for (name, end) in [
        ("never", None),
        ("ending", Some(3600)),
        ("atomic", Some(60)),
    ] {
        let operations = hundred(&env, &kvd, name, end).await;
        let answer = match name {
            "atomic" => atomic(&kvd, &operations).await,
            _ => batch(&kvd, &operations).await,
        };
        let _done = answer.expect(200);
        let sql = format!("SELECT count(DISTINCT xmin::text) FROM items WHERE value = '{name}'");
        assert_eq!(env.database().value::<i64>(&sql).await, 1, "{name}");
        let sql = format!("SELECT count(*) FROM items WHERE value = '{name}'");
        assert_eq!(env.database().value::<i64>(&sql).await, 100, "{name}");
    }
}

/// Locks the key `locked`, or all there are on SQLite.
async fn lock(env: &Env) -> DatabaseTransaction {
    let level = (env.engine() != Engine::Sqlite).then_some(IsolationLevel::ReadCommitted);
    let connection = env.database().connection().await;
    let begun = connection.begin_with_config(level, None).await;
    let transaction = begun.expect("a transaction");
    let lock = match env.engine() {
        Engine::Mysql => "SELECT id FROM items WHERE `key` = 'locked' FOR UPDATE",
        Engine::Postgres => "SELECT id FROM items WHERE key = 'locked' FOR UPDATE",
        Engine::Sqlite => "UPDATE items SET value = value",
    };
    let locked = transaction.execute_unprepared(lock).await;
    locked.expect("the lock");
    transaction
}

async fn started(env: &Env, time: Duration) -> Kvd {
    let kvd = env.kvd().arg("--request-timeout", setting(time));
    let kvd = kvd.start().await;
    kvd.create_all(["locked"]).await;
    kvd
}

fn around_the_lock() -> Vec<Value> {
    let mut operations: Vec<Value> = (0..50).map(|n| put(&format!("k-{n:02}"), "v")).collect();
    operations.insert(20, put("locked", "v"));
    operations.insert(30, json!({"op": "get", "key": "other"}));
    operations
}

async fn a_locked_key_keeps_only_its_own_operation_waiting(env: Env) {
    let kvd = started(&env, Duration::from_secs(50)).await;
    kvd.create_all(["other"]).await;
    let lock = lock(&env).await;
    let client = Client::clone(&kvd);
    let waiting = tokio::spawn(async move { batch(&client, &around_the_lock()).await });
    for n in 0..50 {
        until("the others are done", async || {
            kvd.get(&item(&format!("k-{n:02}"))).await.status == 200
        })
        .await;
    }
    for n in 0..20 {
        let _others = batch(&kvd, &[put(&format!("k-{n:02}"), "w"), get("locked")])
            .await
            .expect(200);
        let _others = atomic(&kvd, &[put(&format!("new-{n}"), "w"), get("other")])
            .await
            .expect(200);
        let _single = kvd.put("/items/other", "w").await.expect(200);
    }
    assert!(!waiting.is_finished(), "the key is locked");
    lock.commit().await.expect("released");
    let answer = waiting.await.expect("an answer").expect(200);
    assert_eq!(results(&answer)[20]["item"]["version"], 2);
}

// Long: one story from the lock to its release.
async fn an_atomic_batch_waits_for_a_locked_key_and_keeps_nobody_else_waiting(env: Env) {
    let kvd = started(&env, Duration::from_secs(50)).await;
    kvd.create_all(["other"]).await;
    let lock = lock(&env).await;
    let mut waiting = Vec::new();
    for n in 0..30 {
        let client = Client::clone(&kvd);
        waiting.push(tokio::spawn(async move {
            let locked = match n % 2 {
                0 => put("locked", "v"),
                _ => get("locked"),
            };
            atomic(&client, &[put(&format!("w-{n}"), "v"), locked]).await
        }));
    }
    until("they wait", async || {
        kvd.metric("kvd_database_locked_writes").await == 30.0
    })
    .await;
    for n in 0..20 {
        let _others = atomic(&kvd, &[put(&format!("new-{n}"), "w"), get("other")])
            .await
            .expect(200);
        let _others = batch(&kvd, &[put(&format!("o-{n}"), "w"), get("locked")])
            .await
            .expect(200);
        let _single = kvd.put("/items/other", "w").await.expect(200);
    }
    for n in 0..30 {
        kvd.get(&item(&format!("w-{n}")))
            .await
            .problem(404, "item-not-found");
    }
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    lock.commit().await.expect("released");
    for waiting in waiting {
        let _done = waiting.await.expect("an answer").expect(200);
    }
    let read = kvd.get("/items/locked").await.expect(200);
    assert_eq!(read.json()["version"], 16);
}

// Long: a single write, a batch and an atomic one are told the same.
async fn what_is_locked_to_the_end_is_503(env: Env) {
    let kvd = started(&env, stretched(Duration::from_secs(2))).await;
    kvd.create_all(["other"]).await;
    let lock = lock(&env).await;
    let answer = batch(&kvd, &around_the_lock()).await.expect(207);
    for (place, result) in results(&answer).iter().enumerate() {
        if place == 20 {
            assert_eq!(result["status"], 503, "{result}");
            assert_eq!(result["retry_after"], 1);
            assert!(
                result["detail"]
                    .as_str()
                    .is_some_and(|text| text.contains("lock")),
                "{result}"
            );
        } else {
            assert!(
                matches!(result["status"].as_u64(), Some(200 | 201)),
                "{result}"
            );
        }
    }
    let single = kvd.put("/items/locked", "v").await;
    let told = &results(&answer)[20];
    let problem = single.problem(503, told["code"].as_str().expect("a code"));
    assert_eq!(problem["detail"], told["detail"]);
    let all = [put("a", "v"), put("locked", "v"), get("other")];
    let refused = atomic(&kvd, &all).await;
    assert_eq!(
        refused.problem(503, told["code"].as_str().expect("a code"))["detail"],
        told["detail"]
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    // What writes nothing needs no lock.
    let reads = atomic(&kvd, &[get("locked"), get("other")]).await;
    let _read = reads.expect(200);
    lock.commit().await.expect("released");
    kvd.get("/items/a").await.problem(404, "item-not-found");
    let read = kvd.get("/items/locked").await.expect(200);
    assert_eq!(read.json()["version"], 1, "and nothing follows");
}

async fn a_batch_waits_for_the_lock_of_all_keys(env: Env) {
    let kvd = started(&env, Duration::from_secs(50)).await;
    let held = lock(&env).await;
    let operations: Vec<Value> = (0..20).map(|n| put(&format!("k-{n}"), "v")).collect();
    let waiting = [false, true].map(|atomic| {
        let (client, operations) = (Client::clone(&kvd), operations.clone());
        tokio::spawn(async move {
            post(
                &client,
                &json!({"atomic": atomic, "operations": operations}),
            )
            .await
        })
    });
    until("they wait", async || {
        kvd.metric("kvd_database_locked_writes").await == 21.0
    })
    .await;
    let reads = batch(&kvd, &[get("locked"), get("k-0")]).await.expect(207);
    assert_eq!(statuses(&reads), [200, 404], "reads go on");
    held.commit().await.expect("released");
    for waiting in waiting {
        let _done = waiting.await.expect("an answer").expect(200);
    }
    let kvd = started_again(&env).await;
    let held = lock(&env).await;
    let operations = [put("k-1", "x"), put("late", "x")];
    let answer = batch(&kvd, &operations).await.expect(207);
    assert_eq!(statuses(&answer), [503, 503]);
    let _refused = atomic(&kvd, &operations).await.expect(503);
    held.commit().await.expect("released");
    kvd.get("/items/late").await.problem(404, "item-not-found");
}

async fn started_again(env: &Env) -> Kvd {
    let time = setting(stretched(Duration::from_secs(2)));
    env.kvd().arg("--request-timeout", time).start().await
}
