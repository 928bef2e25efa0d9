//! A long import does not stop the service.

use std::{future::IntoFuture, time::Duration};

use sea_orm::{ConnectionTrait, TransactionTrait};
use tests::{Engine, Env, item};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

tests::list! {
    EveryEngine =>
        while_an_import_reads_nobody_waits,
        two_imports_of_the_same_keys_both_end,
        puts_deletes_and_imports_at_once_lose_nothing;
    Only(Engine::Postgres) => while_an_import_waits_for_one_key_kvd_goes_on;
    Only(Engine::Mysql) => while_an_import_waits_for_one_key_kvd_goes_on
}

fn lines(numbers: impl Iterator<Item = usize>, value: &str) -> String {
    let lines = numbers.map(|n| format!("{{\"key\":\"k{n:05}\",\"value\":\"{value}\"}}\n"));
    lines.collect()
}

async fn while_an_import_reads_nobody_waits(env: Env) {
    // Nothing waits: so short a time is enough, also for a slow machine.
    let kvd = env.kvd().arg("--request-timeout", "5s").start().await;
    let mut import = env
        .kvctl(["import", "-", "--on-conflict", "overwrite"])
        .spawn();
    import.send(lines(0..20_000, "imported").as_bytes()).await;
    sleep(Duration::from_millis(500)).await;
    for n in 0..50 {
        let key = format!("k{:05}", n * 400);
        let _created = kvd.create(&key, "by kvd").await;
        let _updated = kvd.put(&item(&key), "by kvd").await.expect(200);
        let _read = kvd.get(&item(&key)).await.expect(200);
        if n % 2 == 0 {
            let _gone = kvd.delete(&item(&key)).await.expect(204);
        }
    }
    let done = import.end().await.expect(0);
    assert_eq!(done.text(), "created 19975, updated 25, skipped 0\n");
    let read = kvd.get(&item("k00400")).await.expect(200);
    assert_eq!(
        (
            read.member("value").as_str(),
            read.json()["version"].as_u64()
        ),
        ("imported", Some(3))
    );
}

async fn while_an_import_waits_for_one_key_kvd_goes_on(env: Env) {
    let kvd = env.kvd().arg("--request-timeout", "5s").start().await;
    let _created = kvd.create("k20000", "old").await;
    let _created = kvd.create("other", "old").await;
    let connection = env.database().connection().await;
    let lock = connection.begin().await.expect("BEGIN");
    let column = if env.engine() == Engine::Mysql {
        "`key`"
    } else {
        "key"
    };
    let row = format!("SELECT id FROM items WHERE {column} = 'k20000' FOR UPDATE");
    lock.execute_unprepared(&row).await.expect("a lock");
    let mut import = env
        .kvctl(["import", "-", "--on-conflict", "overwrite"])
        .spawn();
    import.send(lines(0..25_000, "imported").as_bytes()).await;
    import.close();
    // It is seen at work by the lock that it has on its first key.
    let stored = async {
        loop {
            let begun = Instant::now();
            let put = kvd
                .put(&format!("{}?upsert=true", item("k00000")), "x")
                .await;
            match put.status {
                503 => return,
                _ => assert!(begun.elapsed() < Duration::from_secs(4), "{}", put.status),
            }
            let _gone = kvd.delete(&item("k00000")).await;
        }
    };
    timeout(Duration::from_secs(60), stored)
        .await
        .expect("the import comes to wait");
    // Meanwhile: new keys, other keys, and reading all of them.
    for n in 0..30 {
        let begun = Instant::now();
        let _created = kvd.create(&format!("new{n}"), "x").await;
        let _updated = kvd.put("/items/other", "x").await.expect(200);
        let _old = kvd.get(&item("k20000")).await.expect(200);
        kvd.get(&item("k00001"))
            .await
            .problem(404, "item-not-found");
        let _page = kvd.get("/items/?prefix=k").await.expect(200);
        assert!(begun.elapsed() < Duration::from_secs(2), "kvd waits");
    }
    lock.rollback().await.expect("ROLLBACK");
    let done = import.ended().await.expect(0);
    assert!(done.text().contains("skipped 0"), "{}", done.text());
    let read = kvd.get(&item("k20000")).await.expect(200);
    assert_eq!(
        (
            read.member("value").as_str(),
            read.json()["version"].as_u64()
        ),
        ("imported", Some(2))
    );
}

async fn two_imports_of_the_same_keys_both_end(env: Env) {
    const ITEMS: usize = 12_000;
    for _ in 0..2 {
        let mut imports = JoinSet::new();
        for (name, reverse) in [("one", false), ("two", true)] {
            let text = match reverse {
                false => lines(0..ITEMS, name),
                true => lines((0..ITEMS).rev(), name),
            };
            let import = env.kvctl(["import", "-", "--on-conflict", "overwrite"]);
            imports.spawn(import.stdin(text).into_future());
        }
        for output in imports.join_all().await {
            let _done = output.expect(0);
        }
        // Whoever came last wrote all of it.
        let values: Vec<String> = env
            .database()
            .column("SELECT DISTINCT value FROM items")
            .await;
        assert_eq!(values.len(), 1, "{values:?}");
    }
    let versions: Vec<i64> = env
        .database()
        .column("SELECT DISTINCT version FROM items")
        .await;
    assert_eq!(versions, [4]);
}

async fn puts_deletes_and_imports_at_once_lose_nothing(env: Env) {
    const KEYS: usize = 200;
    let kvd = env.kvd().arg("--request-timeout", "50s").start().await;
    let _all = env
        .kvctl(["import", "-"])
        .stdin(lines(0..KEYS, "0"))
        .await
        .expect(0);
    let mut tasks = JoinSet::new();
    for writer in 0..3 {
        let (env, kvd) = (env.clone(), (*kvd).clone());
        tasks.spawn(async move {
            match writer {
                // Each raises every version by one.
                0 => {
                    for round in 0..3 {
                        let text = lines((0..KEYS).rev(), &format!("import {round}"));
                        let import = env.kvctl(["import", "-", "--on-conflict", "overwrite"]);
                        let _done = import.stdin(text).await.expect(0);
                    }
                }
                1 => {
                    for n in (0..KEYS).rev() {
                        let _put = kvd.put(&item(&format!("k{n:05}")), "kvd").await.expect(200);
                    }
                }
                _ => {
                    for n in 0..20 {
                        let key = format!("k{:05}", n * 10);
                        let _put = env.kvctl(["put", &key, "kvctl"]).await.expect(0);
                    }
                }
            }
        });
    }
    tasks.join_all().await;
    let versions: Vec<i64> = env
        .database()
        .column("SELECT version FROM items ORDER BY id")
        .await;
    let expected: Vec<i64> = (0..KEYS).map(|n| if n % 10 == 0 { 6 } else { 5 }).collect();
    assert_eq!(versions, expected);
}
