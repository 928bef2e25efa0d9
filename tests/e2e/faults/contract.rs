//! What the fault tests share: a kvd that is quick to give up, and what the failure contract says of every request.

use std::{collections::BTreeMap, time::Duration};

use tests::{
    Client, Engine, Env, Kvd, item,
    kvd::{Start, setting},
    load::{Told, together, told, until},
    pace::{Stopwatch, stretched},
};

/// `--request-timeout` of [`kvd`].
pub(crate) fn request_timeout() -> Duration {
    stretched(Duration::from_secs(2))
}

/// By then every request must have been answered.
pub(crate) fn in_time() -> Duration {
    request_timeout() + stretched(Duration::from_secs(1))
}

/// Where nothing has to be waited for, and the machine may be slow.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(1);

/// A kvd that gives up after [`request_timeout`].
pub(crate) fn kvd(env: &Env) -> Start {
    env.kvd()
        .arg("--request-timeout", setting(request_timeout()))
}

/// The column of the keys, in the words of the engine.
pub(crate) fn key_column(env: &Env) -> &'static str {
    match env.engine() {
        Engine::Mysql => "`key`",
        Engine::Postgres | Engine::Sqlite => "\"key\"",
    }
}

/// The database cannot be used: each request is told so, in time.
pub(crate) async fn assert_unavailable(kvd: &Client) {
    let asked = together(6, |n| match n {
        0 => told(kvd.get("/items/a")),
        1 => told(kvd.get("/items/")),
        2 => told(kvd.post("new", "x")),
        3 => told(kvd.put("/items/a", "x")),
        4 => told(kvd.delete("/items/a")),
        _ => told(kvd.get("/readyz")),
    });
    let (asked, live) = tokio::join!(asked, told(kvd.get("/livez")));
    for told in asked {
        told.expect_or_503(&[], in_time());
        let problem = told
            .answer
            .expect("an answer")
            .problem(503, "database-unavailable");
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
    }
    assert_eq!(live.status(), 200, "/livez");
    assert!(live.taken < AT_ONCE, "/livez: {:?}", live.taken);
}

/// Sooner or later; until then each is told so, in time.
pub(crate) async fn assert_reads_succeed(kvd: &Client) {
    until("reads succeed", async || {
        let told = told(kvd.get("/items/")).await;
        told.expect_or_503(&[200], in_time());
        told.is_done()
    })
    .await;
}

/// The database is back: reads and writes succeed again in this time, and until then are honest.
pub(crate) async fn assert_back(kvd: &Client, within: Duration) {
    let within = stretched(within);
    let watch = Stopwatch::start();
    assert_reads_succeed(kvd).await;
    until("writes succeed", async || {
        let told = told(kvd.put("/items/back?upsert=true", "x")).await;
        told.expect_or_503(&[200, 201, 504], in_time());
        told.is_done()
    })
    .await;
    let taken = watch.elapsed();
    assert!(taken < within, "back only after {taken:?}");
    let ready = until("it is ready", async || {
        kvd.get("/readyz").await.status == 200
    })
    .await;
    assert!(ready < within, "ready only after {ready:?}");
}

/// No connection is lost: as many as there are can be used at once, all are given back, and none is in a transaction.
pub(crate) async fn assert_pool_whole(env: &Env, kvd: &Kvd, connections: u32) {
    let all = together(10 * connections as usize, |n| {
        let (kvd, path) = (Client::clone(kvd), item(&format!("whole-{n}")));
        async move {
            let _created = kvd
                .put(&format!("{path}?upsert=true"), "x")
                .await
                .expect(201);
            let _read = kvd.get(&path).await.expect(200);
            let _deleted = kvd.delete(&path).await.expect(204);
        }
    });
    all.await;
    until("all connections are given back", async || {
        let open = kvd.metric("kvd_database_connections").await;
        assert!(open <= f64::from(connections), "{open} connections");
        kvd.metric("kvd_database_connections_idle").await >= open
    })
    .await;
    until("no session is in a transaction", async || {
        sessions_in_a_transaction(env).await == 0
    })
    .await;
}

/// Sessions of kvd's that sit inside a transaction.
async fn sessions_in_a_transaction(env: &Env) -> i64 {
    let sql = match env.engine() {
        Engine::Postgres => {
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND state LIKE 'idle in transaction%'"
        }
        Engine::Mysql | Engine::Sqlite => {
            "SELECT count(*) FROM information_schema.innodb_trx t \
             JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id \
             WHERE p.db = DATABASE() AND p.command = 'Sleep'"
        }
    };
    env.database().value(sql).await
}

/// Waits until no session of kvd's is at work any more: what it may still have written is written.
pub(crate) async fn settled(env: &Env) {
    let sql = match env.engine() {
        Engine::Postgres => {
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND application_name = 'kvd' AND state <> 'idle'"
        }
        Engine::Mysql => {
            "SELECT count(*) FROM information_schema.processlist \
             WHERE db = DATABASE() AND id <> CONNECTION_ID() AND command <> 'Sleep'"
        }
        // The end of kvd is the end of its sessions.
        Engine::Sqlite => return,
    };
    until("kvd's sessions are at rest", async || {
        env.database().value::<i64>(sql).await == 0
    })
    .await;
}

/// A write of one client, with a value that no other write has.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) told: Told,
}

/// Each key was written by one client, one write after the other, from version `first` on: what the database holds is
/// what that client was told. Of a write of unknown outcome (504, or no answer) it holds either of the two.
pub(crate) async fn assert_as_told(env: &Env, first: i64, writes: &[Written]) {
    settled(env).await;
    let rows = rows(env).await;
    let mut keys: BTreeMap<&str, Vec<&Written>> = BTreeMap::new();
    for write in writes {
        keys.entry(&write.key).or_default().push(write);
    }
    for (key, writes) in keys {
        let done = writes.iter().filter(|w| w.told.is_done()).count();
        let unknown = writes.iter().filter(|w| is_unknown(w)).count();
        let told: Vec<u16> = writes.iter().map(|w| w.told.status()).collect();
        let (version, value) = match rows.get(key) {
            Some((version, value)) => (*version, value.as_str()),
            None => (0, ""),
        };
        let applied = usize::try_from(version - first).unwrap_or(usize::MAX);
        assert!(
            (done..=done + unknown).contains(&applied),
            "{key} was written {applied} times, and its client was told {told:?}"
        );
        if applied > 0 {
            let last_done = writes.iter().rposition(|w| w.told.is_done()).unwrap_or(0);
            let possible = writes[last_done..]
                .iter()
                .any(|w| w.value == value && (w.told.is_done() || is_unknown(w)));
            assert!(possible, "{key} holds '{value}': {told:?}");
        }
    }
}

fn is_unknown(write: &Written) -> bool {
    matches!(write.told.status(), 0 | 504)
}

/// Version and value of each key.
async fn rows(env: &Env) -> BTreeMap<String, (i64, String)> {
    let (database, key) = (env.database(), key_column(env));
    let keys: Vec<String> = database
        .column(&format!("SELECT {key} FROM items ORDER BY {key}"))
        .await;
    let versions: Vec<i64> = database
        .column(&format!("SELECT version FROM items ORDER BY {key}"))
        .await;
    let values: Vec<String> = database
        .column(&format!("SELECT value FROM items ORDER BY {key}"))
        .await;
    let rows = versions.into_iter().zip(values);
    keys.into_iter().zip(rows).collect()
}

/// Waits a little for something that cannot be seen from outside; too short only makes a test easier.
pub(crate) async fn moment() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}
