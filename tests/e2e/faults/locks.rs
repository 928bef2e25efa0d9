//! Keys that a transaction of other software has locked.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseTransaction, IsolationLevel, TransactionTrait};
use tests::{
    Client, Engine, Env, Kvd, item,
    kvd::REQUEST_TIMEOUT,
    load::{Load, together, told},
    pace::{Stopwatch, stretched},
};
use tokio::{task::JoinSet, time::sleep};

use crate::faults::contract::{
    self as faults, Written, assert_pool_whole, key_column, moment, request_timeout, settled,
};

tests::list! {
    Faults =>
        only_who_writes_a_locked_key_waits,
        only_who_writes_a_key_being_inserted_waits,
        fifty_locked_keys_keep_nobody_else_waiting,
        keys_being_inserted_keep_nobody_else_waiting,
        who_waits_for_one_key_keeps_no_writer_of_another_waiting,
        all_who_came_at_once_for_a_locked_key_are_told_in_time_and_nothing_follows;
    Only(Engine::Postgres) => reads_wait_for_a_table_that_is_locked
}

const WAITING: usize = 200;
/// How much slower others may get; and what is no matter anyway.
const FACTOR: u32 = 10;
const NO_MATTER: Duration = Duration::from_millis(150);

/// The default `--request-timeout`, and a second.
fn in_time() -> Duration {
    stretched(REQUEST_TIMEOUT + Duration::from_secs(1))
}

/// The longest wait of all other requests: two turns of those that try the locked key.
fn longest() -> Duration {
    stretched(Duration::from_secs(2))
}

async fn only_who_writes_a_locked_key_waits(env: Env) {
    let kvd = env.start().await;
    let _created = kvd.create("locked-0", "first").await;
    others_keep_their_speed(&env, &kvd, 1, lock(&env, 1).await, 1).await;
}

async fn only_who_writes_a_key_being_inserted_waits(env: Env) {
    let kvd = env.start().await;
    let transaction = begin(&env).await;
    let key = key_column(&env);
    let insert = format!("INSERT INTO items ({key}, value) VALUES ('locked-0', 'first')");
    run(&transaction, &insert).await;
    others_keep_their_speed(&env, &kvd, 1, transaction, 1).await;
}

async fn fifty_locked_keys_keep_nobody_else_waiting(env: Env) {
    let kvd = env.start().await;
    kvd.create_all((0..50).map(|n| format!("locked-{n}"))).await;
    others_keep_their_speed(&env, &kvd, 50, lock(&env, 50).await, 1).await;
}

async fn keys_being_inserted_keep_nobody_else_waiting(env: Env) {
    let kvd = env.start().await;
    let transaction = begin(&env).await;
    let key = key_column(&env);
    for n in 0..WAITING {
        let insert = format!("INSERT INTO items ({key}, value) VALUES ('locked-{n}', 'first')");
        run(&transaction, &insert).await;
    }
    let usual = median(&others(&kvd, "before").await);
    let waiting = Client::clone(&kvd);
    let waiting = tokio::spawn(together(WAITING, move |n| {
        told(waiting.post(&format!("locked-{n}"), "x"))
    }));
    moment().await;
    assert_speed(usual, &others(&kvd, "meanwhile").await);
    transaction.commit().await.expect("the lock goes");
    for told in waiting.await.expect("all") {
        told.expect_or_503(&[409], in_time());
    }
    assert_pool_whole(&env, &kvd, 16).await;
}

/// Several write the other key, so that now and then one of them finds it locked by another.
async fn who_waits_for_one_key_keeps_no_writer_of_another_waiting(env: Env) {
    let kvd = env.start().await;
    kvd.create_all(["locked-0", "free"]).await;
    let lock = lock(&env, 1).await;
    let mut waiting = JoinSet::new();
    for n in 0..WAITING {
        waiting.spawn(write(Client::clone(&kvd), 0, n));
    }
    moment().await;
    let client = Client::clone(&kvd);
    let load = Load::start(4, move |_, _| told(client.put("/items/free", "x")));
    load.go_on(100).await;
    for told in load.stop().await {
        assert_eq!(told.status(), 200, "{told:?}");
        assert!(told.taken < longest(), "{told:?}");
    }
    lock.commit().await.expect("the lock goes");
    for write in waiting.join_all().await {
        write.told.expect_or_503(&[200], in_time());
    }
    assert_pool_whole(&env, &kvd, 16).await;
}

/// They come at once: before any of them could find the key locked.
async fn all_who_came_at_once_for_a_locked_key_are_told_in_time_and_nothing_follows(env: Env) {
    let kvd = faults::kvd(&env).start().await;
    let _created = kvd.create("locked-0", "first").await;
    let lock = lock(&env, 1).await;
    let client = Client::clone(&kvd);
    let writes = together(WAITING, |n| write(client.clone(), 0, n)).await;
    lock.commit().await.expect("the lock goes");
    for write in &writes {
        write.told.expect_or_503(&[], request_timeout());
        let problem = write.told.answer.as_ref().expect("an answer").json();
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("lock"), "{problem}");
    }
    // As long as one that is tried again would wait for the lock.
    sleep(request_timeout()).await;
    assert_counted(&env, 1, 1, &writes).await;
    assert_pool_whole(&env, &kvd, 16).await;
}

/// As by a change of the table, or by `VACUUM` at its end.
async fn reads_wait_for_a_table_that_is_locked(env: Env) {
    let kvd = env.start().await;
    let _created = kvd.create("a", "b").await;
    let lock = begin(&env).await;
    run(&lock, "LOCK TABLE items IN ACCESS EXCLUSIVE MODE").await;
    let client = Client::clone(&kvd);
    let reads = tokio::spawn(together(40, move |n| {
        told(client.get(if n % 2 == 0 { "/items/a" } else { "/items/" }))
    }));
    sleep(Duration::from_millis(400)).await;
    lock.commit().await.expect("the lock goes");
    for told in reads.await.expect("all") {
        assert_eq!(told.status(), 200, "{told:?}");
    }
}

/// At the level of kvd and kvctl. At its default one MariaDB would lock the gap before the key as well, and with it
/// any new key that belongs there.
async fn begin(env: &Env) -> DatabaseTransaction {
    let connection = env.database().connection().await;
    let begun = connection.begin_with_config(Some(IsolationLevel::ReadCommitted), None);
    begun.await.expect("a transaction")
}

async fn run(transaction: &DatabaseTransaction, sql: &str) {
    let done = transaction.execute_unprepared(sql).await;
    done.unwrap_or_else(|e| panic!("{sql}: {e}"));
}

/// One by one, since a list might make MariaDB read, and lock, the whole table.
async fn lock(env: &Env, keys: usize) -> DatabaseTransaction {
    let transaction = begin(env).await;
    let key = key_column(env);
    for n in 0..keys {
        let lock = format!("SELECT id FROM items WHERE {key} = 'locked-{n}' FOR UPDATE");
        run(&transaction, &lock).await;
    }
    transaction
}

/// Many write the locked keys, of this version when the lock is gone; others work meanwhile, and then the lock goes.
async fn others_keep_their_speed(
    env: &Env,
    kvd: &Kvd,
    keys: usize,
    lock: DatabaseTransaction,
    version: i64,
) {
    let usual = median(&others(kvd, "before").await);
    let mut waiting = JoinSet::new();
    for n in 0..WAITING {
        waiting.spawn(write(Client::clone(kvd), n % keys, n));
    }
    moment().await;
    assert_speed(usual, &others(kvd, "meanwhile").await);

    // A client that has just begun to wait when the lock goes is not told that the key was locked.
    let last = tokio::spawn(write(Client::clone(kvd), 0, WAITING));
    moment().await;
    lock.commit().await.expect("the lock goes");
    let last = last.await.expect("the last");
    assert_eq!(last.told.status(), 200, "the last: {:?}", last.told);
    let mut writes = waiting.join_all().await;
    for write in &writes {
        write.told.expect_or_503(&[200], in_time());
    }
    writes.push(last);
    assert_counted(env, keys, version, &writes).await;
    assert_pool_whole(env, kvd, 16).await;
}

fn assert_speed(usual: Duration, times: &[Duration]) {
    let (slower, slowest) = (median(times), times[times.len() - 1]);
    assert!(
        slower < NO_MATTER.max(usual * FACTOR),
        "others took {slower:?} instead of {usual:?}, the longest {slowest:?}"
    );
    assert!(
        slowest < longest(),
        "one took {slowest:?}, half of them {slower:?} at most"
    );
}

async fn write(kvd: Client, key: usize, n: usize) -> Written {
    let (key, value) = (format!("locked-{key}"), n.to_string());
    let path = format!("{}?upsert=true", item(&key));
    let told = told(kvd.put(&path, &value)).await;
    Written { key, value, told }
}

/// Many write one key at once, so what counts is how often; the order is not known.
async fn assert_counted(env: &Env, keys: usize, version: i64, writes: &[Written]) {
    settled(env).await;
    for n in 0..keys {
        let key = format!("locked-{n}");
        let of_key = writes.iter().filter(|write| write.key == key);
        let done = of_key.filter(|write| write.told.is_done()).count();
        let sql = format!(
            "SELECT version FROM items WHERE {} = '{key}'",
            key_column(env)
        );
        let found: i64 = env.database().value(&sql).await;
        assert_eq!(found - version, i64::try_from(done).unwrap_or(-1), "{key}");
    }
}

/// Creates, updates, reads and deletes keys that are not locked, and reads one that is; how long each request took,
/// the shortest first.
async fn others(kvd: &Kvd, name: &'static str) -> Vec<Duration> {
    let client = Client::clone(kvd);
    let load = Load::start(8, move |n, round| {
        let kvd = client.clone();
        async move { work(&kvd, &format!("{name}-{n}-{round}")).await }
    });
    load.go_on(10).await;
    let mut times = load.stop().await.concat();
    times.sort();
    times
}

async fn work(kvd: &Client, key: &str) -> Vec<Duration> {
    let path = item(key);
    let calls = [
        (kvd.post(key, "x"), vec![201]),
        (kvd.put(&path, "y"), vec![200]),
        (kvd.get(&path), vec![200]),
        (kvd.get("/items/locked-0"), vec![200, 404]),
        (kvd.delete(&path), vec![204]),
    ];
    let mut times = Vec::new();
    for (call, expected) in calls {
        let watch = Stopwatch::start();
        let answer = call.await;
        assert!(
            expected.contains(&answer.status),
            "{}: {}",
            answer.asked,
            answer.status
        );
        times.push(watch.elapsed());
    }
    times
}

fn median(times: &[Duration]) -> Duration {
    times[times.len() / 2]
}
