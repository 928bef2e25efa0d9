//! Connections that are slow, idle, many, or given up.

use std::time::Duration;

use sea_orm::{ConnectionTrait, TransactionTrait};
use tests::{
    Client, Engine, Env, Kvd, Wire,
    pace::{PATIENCE, Stopwatch},
};
use tokio::{task::JoinSet, time::sleep};

tests::list! {
    EveryEngine => clients_that_hang_up_mid_request_leave_the_pool_whole;
    Once =>
        a_half_sent_head_is_cut_after_10_seconds_while_others_are_served,
        an_idle_connection_is_kept_for_longer_than_that,
        beyond_max_connections_others_wait_until_there_is_room
}

/// After what time a connection was cut, by the clock and at the machine's pace.
#[derive(Debug)]
struct CutAfter {
    wall: Duration,
    taken: Duration,
}

impl CutAfter {
    fn at(watch: Stopwatch) -> Self {
        Self {
            wall: watch.wall(),
            taken: watch.elapsed(),
        }
    }
}

async fn served(kvd: &Client) {
    let _served = kvd.get("/items/").await.expect(200);
}

/// Waits until kvd closes this connection, which it does without an answer or with one from 400 to 499.
async fn cut(mut wire: Wire) -> CutAfter {
    let watch = Stopwatch::start();
    let said = wire.rest().await;
    let silent = said.is_empty() || said.starts_with(b"HTTP/1.1 4");
    assert!(silent, "{}", String::from_utf8_lossy(&said));
    CutAfter::at(watch)
}

/// A byte now and then does not buy time: the head must be complete, not alive.
async fn drip(mut wire: Wire) -> CutAfter {
    let watch = Stopwatch::start();
    wire.send("GET /items/ HTTP/1.1\r\nX-Drip: ").await;
    while wire.try_send("x").await.is_ok() {
        sleep(Duration::from_millis(500)).await;
        assert!(watch.elapsed() < PATIENCE, "a dripping head is never cut");
    }
    CutAfter::at(watch)
}

async fn a_half_sent_head_is_cut_after_10_seconds_while_others_are_served(env: Env) {
    let kvd = env.start().await;
    let silent = kvd.wire().await;
    let mut half = kvd.wire().await;
    half.send("GET /items/ HTTP/1.1\r\nHost:").await;
    let mut second = kvd.wire().await;
    let _first = second.ask("GET", "/items/", "").await.expect(200);
    second.send("GET /items/ HTT").await;
    let dripping = kvd.wire().await;
    let others = async {
        for _ in 0..20 {
            served(&kvd).await;
            sleep(Duration::from_millis(400)).await;
        }
    };
    let (silent, half, second, dripping, ()) =
        tokio::join!(cut(silent), cut(half), cut(second), drip(dripping), others);
    for (name, after) in [
        ("silent", silent),
        ("half", half),
        ("second", second),
        ("dripping", dripping),
    ] {
        // Measured from a little after kvd began to count.
        let expected =
            after.wall >= Duration::from_secs(9) && after.taken < Duration::from_secs(25);
        assert!(expected, "{name}: cut after {after:?}");
    }
    served(&kvd).await;
}

async fn an_idle_connection_is_kept_for_longer_than_that(env: Env) {
    let kvd = env.start().await;
    let mut after_an_answer = kvd.wire().await;
    let _first = after_an_answer.ask("GET", "/items/", "").await.expect(200);
    let mut after_a_write = kvd.wire().await;
    let head = "PUT /items/a?upsert=true HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\
                Content-Type: application/json\r\n\r\n{\"value\":\"a\"}";
    let _written = after_a_write.send(head).await.answer().await.expect(201);
    let mut after_a_refusal = kvd.wire().await;
    let _refused = after_a_refusal
        .ask("PATCH", "/items/a", "")
        .await
        .expect(405);
    // The contract's own time: longer than a head may take.
    sleep(Duration::from_secs(13)).await;
    for mut wire in [after_an_answer, after_a_write, after_a_refusal] {
        let _second = wire.ask("GET", "/items/", "").await.expect(200);
    }
}

/// A connection with a request under way, so that it cannot be given up for another one: its write waits for
/// the lock of the database.
async fn busy(kvd: &Kvd) -> Wire {
    let mut wire = kvd.wire().await;
    let head = "PUT /items/a?upsert=true HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\
                Content-Type: application/json\r\nContent-Length: 13\r\n\r\n";
    wire.send(head).await;
    let _under_way = wire.answer().await.expect(100);
    wire.send("{\"value\":\"b\"}").await;
    wire
}

async fn beyond_max_connections_others_wait_until_there_is_room(env: Env) {
    let start = env.kvd().arg("--max-connections", "3");
    let kvd = start.arg("--request-timeout", "50s").start().await;
    let begun = env.database().connection().await.begin().await;
    let lock = begun.expect("a transaction");
    let write = lock.execute_unprepared("DELETE FROM items").await;
    write.expect("the lock");
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(busy(&kvd).await);
    }
    let mut waiting = JoinSet::new();
    for _ in 0..10 {
        let mut wire = kvd.wire().await;
        wire.send("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await;
        waiting.spawn(async move { wire.answer().await });
    }
    sleep(Duration::from_millis(300)).await;
    assert!(waiting.try_join_next().is_none(), "served beyond the limit");
    // One leaves by hanging up, the others when their writes are done.
    open.pop().expect("three").reset();
    for answer in waiting.join_all().await {
        let _served = answer.expect(200);
    }
    lock.rollback().await.expect("the lock goes");
    for mut wire in open {
        let written = wire.answer().await;
        assert!(matches!(written.status, 200 | 201), "{}", written.status);
    }
    served(&kvd).await;
}

/// Sends a request and is gone before, while or after it is worked on.
async fn hang_up(kvd: &Client, n: u32) {
    let mut wire = Wire::connect(kvd.address()).await;
    let body = format!("{{\"value\":\"{n}\"}}");
    let key = n % 7;
    let length = body.len();
    let (line, body) = match n % 4 {
        0 => (format!("GET /items/{key} HTTP/1.1"), String::new()),
        1 => (
            "GET /items/?page_size=100 HTTP/1.1".to_owned(),
            String::new(),
        ),
        2 => (format!("DELETE /items/{key} HTTP/1.1"), String::new()),
        _ => (format!("PUT /items/{key}?upsert=true HTTP/1.1"), body),
    };
    let length = if body.is_empty() { 0 } else { length };
    let head = format!(
        "{line}\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    // kvd may have closed the connection already, which is as good.
    let _sent = wire.try_send(head + body.as_str()).await;
    sleep(Duration::from_micros(u64::from(n % 11) * 300)).await;
}

/// Sessions that sit inside a transaction, where the server can tell.
async fn left_in_a_transaction(env: &Env) -> i64 {
    let sql = match env.engine() {
        Engine::Postgres => {
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND state LIKE 'idle in transaction%'"
        }
        Engine::Mysql => {
            "SELECT count(*) FROM information_schema.innodb_trx t \
             JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id \
             WHERE p.db = DATABASE() AND p.command = 'Sleep'"
        }
        // A transaction left open would keep all others from writing.
        Engine::Sqlite => {
            let database = env.database().connection().await;
            let written = database.execute_unprepared("DELETE FROM items WHERE key = 'x'");
            return i64::from(written.await.is_err());
        }
    };
    env.database().value(sql).await
}

async fn clients_that_hang_up_mid_request_leave_the_pool_whole(env: Env) {
    let start = env.kvd().arg("--database-max-connections", "4");
    let kvd = start.arg("--request-timeout", "30s").start().await;
    for round in 0..20 {
        let mut clients = JoinSet::new();
        for n in 0..100 {
            let kvd = Client::clone(&kvd);
            clients.spawn(async move { hang_up(&kvd, round * 100 + n).await });
        }
        clients.join_all().await;
    }
    nobody_is_left_in_a_transaction(&env).await;
    // More at once than the pool has, so that every connection of it gets its turn.
    let mut others = JoinSet::new();
    for n in 0..40 {
        let kvd = Client::clone(&kvd);
        others.spawn(async move {
            let key = format!("/items/other-{n}");
            let _created = kvd
                .put(&format!("{key}?upsert=true"), "x")
                .await
                .expect(201);
            let _read = kvd.get(&key).await.expect(200);
            let _deleted = kvd.delete(&key).await.expect(204);
        });
    }
    others.join_all().await;
    nobody_is_left_in_a_transaction(&env).await;
}

/// Waits for it, since MariaDB shows its transactions as they were a moment ago.
async fn nobody_is_left_in_a_transaction(env: &Env) {
    let watch = Stopwatch::start();
    while left_in_a_transaction(env).await > 0 {
        assert!(
            watch.elapsed() < PATIENCE,
            "a session is left in a transaction"
        );
        sleep(Duration::from_millis(200)).await;
    }
}
