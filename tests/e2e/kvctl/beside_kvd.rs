//! A long import does not stop the service.

use std::{future::IntoFuture, time::Duration};

use sea_orm::{
    ConnectionTrait, DatabaseTransaction, IsolationLevel, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use tests::{
    Engine, Env, item,
    pace::{PATIENCE, timeout},
};
use tokio::{task::JoinSet, time::sleep};

tests::list! {
    EveryEngine =>
        while_an_import_reads_nobody_waits,
        two_imports_of_the_same_keys_both_end,
        puts_deletes_and_imports_at_once_lose_nothing,
        imports_and_deletes_of_the_same_keys_all_end,
        who_locks_an_item_by_its_id_does_not_wait_in_a_circle,
        what_others_just_write_is_awaited_and_counts,
        what_others_create_while_an_import_skips_counts_as_skipped;
    Only(Engine::Postgres) => half_way_only_writers_of_keys_already_stored_wait;
    Only(Engine::Mysql) => half_way_only_writers_of_keys_already_stored_wait
}

fn lines(numbers: impl Iterator<Item = usize>, value: &str) -> String {
    let lines = numbers.map(|n| format!("{{\"key\":\"k{n:05}\",\"value\":\"{value}\"}}\n"));
    lines.collect()
}

/// The column, as this engine lets one say it.
fn column(env: &Env) -> &'static str {
    match env.engine() {
        Engine::Mysql => "`key`",
        Engine::Postgres | Engine::Sqlite => "key",
    }
}

/// A transaction of the test; on SQLite no other session may write then.
async fn begin(env: &Env) -> DatabaseTransaction {
    let options = match env.engine() {
        Engine::Sqlite => TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        },
        // Otherwise MariaDB locks the gap below a row as well.
        Engine::Mysql | Engine::Postgres => TransactionOptions {
            isolation_level: Some(IsolationLevel::ReadCommitted),
            ..Default::default()
        },
    };
    let connection = env.database().connection().await;
    connection.begin_with_options(options).await.expect("BEGIN")
}

async fn while_an_import_reads_nobody_waits(env: Env) {
    // Nothing waits, so the default time is enough.
    let kvd = env.start().await;
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

/// Each import raises every version by one.
async fn import_again_and_again(env: &Env, keys: usize) {
    for round in 0..3 {
        let text = lines((0..keys).rev(), &format!("import {round}"));
        let import = env.kvctl(["import", "-", "--on-conflict", "overwrite"]);
        let _done = import.stdin(text).await.expect(0);
    }
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
                0 => import_again_and_again(&env, KEYS).await,
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

async fn imports_and_deletes_of_the_same_keys_all_end(env: Env) {
    const KEYS: usize = 300;
    let import = || {
        let import = env.kvctl(["import", "-", "--on-conflict", "overwrite"]);
        import.stdin(lines(0..KEYS, "whole")).into_future()
    };
    let delete = |reverse: bool| {
        let mut keys: Vec<_> = (0..KEYS).map(|n| format!("k{n:05}")).collect();
        if reverse {
            keys.reverse();
        }
        let delete = env.kvctl(["delete", "--ignore-missing"]);
        delete.args(keys).into_future()
    };
    for _ in 0..3 {
        let (a, b, c, d) = tokio::join!(import(), delete(false), delete(true), import());
        let [_, _, _, _] = [a, b, c, d].map(|output| output.expect(0));
        // Each is all or nothing.
        let left: i64 = env.database().value("SELECT count(*) FROM items").await;
        assert!(left == 0 || left == KEYS as i64, "{left} items are left");
    }
}

async fn who_locks_an_item_by_its_id_does_not_wait_in_a_circle(env: Env) {
    let _one = env.kvctl(["put", "k00001", "old"]).await.expect(0);
    let theirs = begin(&env).await;
    // MySQL locks the row, but not yet the entry of its key, which an import locks first.
    let update = "UPDATE items SET value = 'theirs', version = version + 1 WHERE id = 1";
    theirs.execute_unprepared(update).await.expect("UPDATE");
    let mut import = env
        .kvctl(["import", "-", "--on-conflict", "overwrite"])
        .spawn();
    import.send(lines(0..3, "imported").as_bytes()).await;
    import.close();
    // For the import to come to the locked key. If it did not, neither of the two would wait.
    sleep(Duration::from_millis(500)).await;
    let delete = theirs.execute_unprepared("DELETE FROM items WHERE id = 1");
    // The server may choose this transaction to break the circle.
    let deleted = timeout(Duration::from_secs(20), delete).await;
    let ended = match deleted.expect("nobody waits in a circle") {
        Ok(_) => theirs.commit().await,
        Err(_) => theirs.rollback().await,
    };
    ended.expect("the transaction ends");
    let done = import.ended().await.expect(0);
    assert!(done.text().ends_with(", skipped 0\n"), "{}", done.text());
}

/// Waits until another session has this row locked.
async fn locked(env: &Env, key: &str) {
    let column = column(env);
    let row = format!("SELECT id FROM items WHERE {column} = '{key}' FOR UPDATE NOWAIT");
    let connection = env.database().connection().await;
    let locked = async {
        while connection.execute_unprepared(&row).await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, locked).await.expect("the row is locked");
}

// Long: it is one story, whose steps depend on each other.
async fn half_way_only_writers_of_keys_already_stored_wait(env: Env) {
    // Before, at and far behind the key that the test has locked; and not in the file.
    let (stored, awaited, later, other) = ("k00002", "k06000", "k11000", "k00002-other");
    // The default time is short against the minute that an import waits.
    let kvd = env.start().await;
    kvd.create_all([stored, awaited, later, other]).await;
    let theirs = begin(&env).await;
    let column = column(&env);
    let row = format!("SELECT id FROM items WHERE {column} = '{awaited}' FOR UPDATE");
    theirs.execute_unprepared(&row).await.expect("a lock");
    let mut import = env
        .kvctl(["import", "-", "--on-conflict", "overwrite"])
        .spawn();
    import.send(lines(0..12_000, "imported").as_bytes()).await;
    import.close();
    locked(&env, stored).await;
    for n in 0..20 {
        // New keys: between those already stored, around the locked one, and beyond.
        for near in ["k00002", "k00003", "k06000", "k11000", "z"] {
            let _created = kvd.create(&format!("{near}-{n}"), "kvd").await;
        }
        for key in [later, other] {
            let _updated = kvd.put(&item(key), "kvd").await.expect(200);
        }
        for key in [stored, awaited] {
            assert_eq!(kvd.get(&item(key)).await.expect(200).member("value"), "");
        }
        kvd.get("/items/k00003")
            .await
            .problem(404, "item-not-found");
        assert_eq!(kvd.get("/items/?prefix=k0600").await.json()["total"], n + 2);
        let _gone = kvd.delete(&item(&format!("k00003-{n}"))).await.expect(204);
    }
    // It waits for the import, unless that makes room for others, as it may.
    let late = kvd.put(&item(stored), "kvd").await;
    assert!(matches!(late.status, 200 | 503), "{}", late.status);
    let late = i64::from(late.status == 200);
    theirs.rollback().await.expect("ROLLBACK");
    let done = import.ended().await.expect(0);
    assert_eq!(done.text(), "created 11997, updated 3, skipped 0\n");
    for (key, value, version) in [
        (stored, "imported", 2 + late),
        (awaited, "imported", 2),
        (later, "imported", 22),
        (other, "kvd", 21),
    ] {
        let read = kvd.get(&item(key)).await.expect(200);
        assert_eq!(
            (
                read.member("value").as_str(),
                read.json()["version"].as_i64()
            ),
            (value, Some(version)),
            "{key}"
        );
    }
}

async fn what_others_just_write_is_awaited_and_counts(env: Env) {
    let column = column(&env);
    let create = format!("INSERT INTO items ({column}, value) VALUES ('k00001', 'theirs')");
    let delete = "DELETE FROM items".to_owned();
    for (flag, theirs, code, done) in [
        ("error", &create, 1, ""),
        ("error", &delete, 0, "created 3, updated 0, skipped 0\n"),
        ("skip", &create, 0, "created 2, updated 0, skipped 1\n"),
        ("skip", &delete, 0, "created 3, updated 0, skipped 0\n"),
        ("overwrite", &create, 0, "created 2, updated 1, skipped 0\n"),
        ("overwrite", &delete, 0, "created 3, updated 0, skipped 0\n"),
    ] {
        env.database().execute(&delete).await;
        if theirs == &delete {
            env.database().execute(&create).await;
        }
        let transaction = begin(&env).await;
        transaction
            .execute_unprepared(theirs)
            .await
            .expect("a statement");
        let mut import = env.kvctl(["import", "-", "--on-conflict", flag]).spawn();
        import.send(lines(0..3, "imported").as_bytes()).await;
        import.close();
        // Most likely it waits now. Did it not, the same would come of it.
        sleep(Duration::from_millis(200)).await;
        transaction.commit().await.expect("COMMIT");
        let ended = import.ended().await.expect(code);
        assert_eq!(ended.text(), done, "{flag}, {theirs}");
        assert!(
            code == 0 || ended.stderr.contains("line 2"),
            "{}",
            ended.stderr
        );
    }
}

async fn what_others_create_while_an_import_skips_counts_as_skipped(env: Env) {
    const KEYS: usize = 6_000;
    let kvd = env.kvd().arg("--request-timeout", "50s").start().await;
    for _ in 0..2 {
        env.database().execute("DELETE FROM items").await;
        let mut creators = JoinSet::new();
        for creator in 0..4 {
            let kvd = (*kvd).clone();
            creators.spawn(async move {
                let mut created = 0;
                for n in (creator * 7..KEYS).step_by(43) {
                    let answer = kvd.post(&format!("k{n:05}"), "by kvd").await;
                    assert!(matches!(answer.status, 201 | 409), "{}", answer.status);
                    created += u64::from(answer.status == 201);
                }
                created
            });
        }
        let import = env.kvctl(["import", "-", "--on-conflict", "skip"]);
        let done = import.stdin(lines(0..KEYS, "imported")).await.expect(0);
        let by_kvd: u64 = creators.join_all().await.into_iter().sum();
        let (created, skipped) = (KEYS as u64 - by_kvd, by_kvd);
        let said = format!("created {created}, updated 0, skipped {skipped}\n");
        assert_eq!(done.text(), said);
    }
}
