//! A load that is interrupted, killed or refused leaves no item, no session and no lock.

use std::{fs, time::Duration};

use nix::sys::signal::Signal;
use sea_orm::{
    ConnectOptions, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend,
    IsolationLevel, QueryResult, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait,
};
use tests::{
    Engine, Env,
    kvctl::RunningKvctl,
    pace::{PATIENCE, Stopwatch, timeout},
};
use tokio::time::sleep;

use crate::kvctl::said::assert_failed;

tests::list! {
    EveryEngine =>
        interrupted_while_it_reads_it_leaves_nothing,
        killed_while_it_reads_it_leaves_nothing,
        interrupted_while_it_stores_it_leaves_nothing,
        killed_while_it_stores_it_leaves_nothing,
        interrupted_while_it_waits_for_an_item_it_leaves_it_as_it_was,
        interrupted_while_it_waits_put_says_that_it_may_still_be_applied,
        interrupted_it_leaves_no_session_and_the_same_then_works,
        after_the_lock_is_gone_it_goes_on;
    Only(Engine::Postgres) => time_limits_of_the_database_do_not_end_a_slow_import;
    Once =>
        interrupted_before_the_first_line_it_ends_as_well,
        a_seed_is_interrupted_as_an_import_is
}

pub(crate) fn lines(count: usize) -> Vec<u8> {
    let lines = (0..count).map(|n| format!("{{\"key\":\"k{n:06}\",\"value\":\"v\"}}\n"));
    lines.collect::<String>().into_bytes()
}

/// An import that has read some lines and waits for more.
pub(crate) async fn reading(env: &Env) -> RunningKvctl {
    let mut import = env.kvctl(["import", "-"]).spawn();
    import.send(&lines(30_000)).await;
    import
}

/// What keeps an import from storing the last of its keys: on SQLite any.
async fn lock(env: &Env) -> DatabaseTransaction {
    let transaction = begin(env).await;
    let key = if env.engine() == Engine::Mysql {
        "`key`"
    } else {
        "key"
    };
    let insert = format!("INSERT INTO items ({key}, value) VALUES ('k029999', 'theirs')");
    transaction
        .execute_unprepared(&insert)
        .await
        .expect("INSERT");
    transaction
}

/// A transaction that may write; on SQLite no other may then. Elsewhere at the level of kvctl: at its default one
/// MariaDB would lock the gap before a key as well, and so nearly all of the import.
async fn begin(env: &Env) -> DatabaseTransaction {
    let level = (env.engine() != Engine::Sqlite).then_some(IsolationLevel::ReadCommitted);
    let options = TransactionOptions {
        isolation_level: level,
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..Default::default()
    };
    let connection = env.database().connection().await;
    connection.begin_with_options(options).await.expect("BEGIN")
}

/// An import that waits for [`lock`]. Nothing outside shows when it does, so its progress is awaited
/// in what the engines tell of sessions; on SQLite, which tells nothing, for a while.
async fn storing(env: &Env, flags: &[&str]) -> RunningKvctl {
    let mut import = env.kvctl(["import", "-"]).args(flags).spawn();
    import.send(&lines(30_000)).await;
    import.close();
    if env.engine() == Engine::Sqlite {
        sleep(Duration::from_millis(1500)).await;
        return import;
    }
    let watcher = watcher(env).await;
    let all = async {
        while !waits(&watcher).await {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, all)
        .await
        .expect("the import comes to wait");
    import
}

/// One session beside those of [`Database::connection`](tests::database::Database::connection): the connection of the
/// lock cannot be used to look, and a pool that may open another one would count what it opens.
async fn watcher(env: &Env) -> DatabaseConnection {
    let mut options = ConnectOptions::new(env.database().url());
    options.max_connections(1).sqlx_logging(false);
    sea_orm::Database::connect(options)
        .await
        .expect("a connection")
}

/// Whether a session of this database waits for a lock; on MySQL and MariaDB, where an import does not wait but tries
/// the last of its chunks again, whether it has stored the others.
async fn waits(watcher: &DatabaseConnection) -> bool {
    if watcher.get_database_backend() == DbBackend::Postgres {
        let sql = "SELECT 1 FROM pg_stat_activity \
                   WHERE wait_event_type = 'Lock' AND datname = current_database()";
        return !rows(watcher, sql).await.is_empty();
    }
    let ours = sessions_of(watcher).await;
    // Unlike the tables of the schema, it is not as of a moment ago.
    let status = rows(watcher, "SHOW ENGINE INNODB STATUS").await;
    let text: String = status[0].try_get_by_index(2).expect("the status");
    let number_after = |text: &str, words: &str| -> Option<i64> {
        let (_, rest) = text.split_once(words)?;
        rest.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    };
    text.split("---TRANSACTION").any(|transaction| {
        number_after(transaction, "thread id ").is_some_and(|id| ours.contains(&id))
            && number_after(transaction, "undo log entries ").is_some_and(|n| n > 20_000)
    })
}

pub(crate) async fn count(env: &Env) -> String {
    env.kvctl(["count"])
        .await
        .expect(0)
        .text()
        .trim()
        .to_owned()
}

async fn interrupted_while_it_reads_it_leaves_nothing(env: Env) {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let import = reading(&env).await;
        // Whatever it has done so far, and even before it listens to signals, it ends.
        sleep(Duration::from_millis(300)).await;
        import.signal(signal);
        let watch = Stopwatch::start();
        assert_failed(import.ended().await, 2, "nothing was written");
        assert!(watch.elapsed() < Duration::from_secs(20), "{signal}");
        assert_eq!(count(&env).await, "0", "{signal}");
    }
}

async fn killed_while_it_reads_it_leaves_nothing(env: Env) {
    let import = reading(&env).await;
    sleep(Duration::from_millis(300)).await;
    import.signal(Signal::SIGKILL);
    let _killed = import.ended().await.expect(-9);
    assert_eq!(count(&env).await, "0");
    let again = env.kvctl(["import", "-"]).stdin(lines(30_000)).await;
    assert_eq!(
        again.expect(0).text(),
        "created 30000, updated 0, skipped 0\n"
    );
}

async fn interrupted_while_it_stores_it_leaves_nothing(env: Env) {
    let lock = lock(&env).await;
    let import = storing(&env, &[]).await;
    import.signal(Signal::SIGINT);
    let watch = Stopwatch::start();
    assert_failed(import.ended().await, 2, "nothing was written");
    assert!(
        watch.elapsed() < Duration::from_secs(20),
        "it waited for the lock"
    );
    lock.rollback().await.expect("ROLLBACK");
    assert_eq!(count(&env).await, "0");
}

async fn killed_while_it_stores_it_leaves_nothing(env: Env) {
    let lock = lock(&env).await;
    let import = storing(&env, &[]).await;
    import.signal(Signal::SIGKILL);
    let _killed = import.ended().await.expect(-9);
    lock.rollback().await.expect("ROLLBACK");
    // The server may notice only now, and until then holds what the import had.
    let all = async {
        loop {
            let import = env.kvctl(["import", "-"]).stdin(lines(30_000)).await;
            match import.code {
                0 => return import,
                _ => assert_eq!(count(&env).await, "0"),
            }
        }
    };
    let again = timeout(PATIENCE, all).await.expect("the locks go");
    assert_eq!(again.text(), "created 30000, updated 0, skipped 0\n");
}

async fn after_the_lock_is_gone_it_goes_on(env: Env) {
    let lock = lock(&env).await;
    let import = storing(&env, &[]).await;
    lock.rollback().await.expect("ROLLBACK");
    let done = import.ended().await.expect(0);
    assert_eq!(done.text(), "created 30000, updated 0, skipped 0\n");
}

/// The sessions of the test's database, that of the test included; SQLite has none.
async fn sessions(watcher: &DatabaseConnection) -> Vec<i64> {
    match watcher.get_database_backend() {
        DbBackend::Postgres => {
            let sql = "SELECT pid::bigint FROM pg_stat_activity \
                       WHERE datname = current_database() AND backend_type = 'client backend'";
            let sessions = rows(watcher, sql).await;
            let pid = |row: &QueryResult| row.try_get_by_index(0).expect("a number");
            sessions.iter().map(pid).collect()
        }
        DbBackend::MySql => sessions_of(watcher).await,
        _ => Vec::new(),
    }
}

/// The same of MySQL and MariaDB. MySQL cannot always show in a `SELECT` what they do.
async fn sessions_of(database: &DatabaseConnection) -> Vec<i64> {
    let name: String = rows(database, "SELECT DATABASE()").await[0]
        .try_get_by_index(0)
        .expect("a name");
    let sessions = rows(database, "SHOW PROCESSLIST").await;
    sessions
        .iter()
        .filter(|row| row.try_get_by_index(3).is_ok_and(|db: String| db == name))
        .map(|row| row.try_get_by_index(0).expect("a number"))
        .collect()
}

async fn rows(database: &DatabaseConnection, sql: &str) -> Vec<QueryResult> {
    let statement = Statement::from_string(database.get_database_backend(), sql);
    database.query_all_raw(statement).await.expect(sql)
}

/// Waits until a program of this process id listens to `SIGINT`.
async fn listens(pid: u32) {
    const SIGINT: u64 = 1 << (Signal::SIGINT as u64 - 1);
    let caught = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let caught = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))?;
        u64::from_str_radix(caught.trim(), 16).ok()
    };
    let listens = async {
        while caught().is_none_or(|caught| caught & SIGINT == 0) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, listens)
        .await
        .expect("it listens to SIGINT");
}

async fn interrupted_while_it_waits_for_an_item_it_leaves_it_as_it_was(env: Env) {
    for key in ["k000000", "k029999"] {
        let _put = env.kvctl(["put", key, "old"]).await.expect(0);
    }
    let theirs = begin(&env).await;
    let delete = match env.engine() {
        Engine::Mysql => "DELETE FROM items WHERE `key` = 'k029999'",
        Engine::Postgres | Engine::Sqlite => "DELETE FROM items WHERE key = 'k029999'",
    };
    theirs.execute_unprepared(delete).await.expect("DELETE");
    let import = storing(&env, &["--on-conflict", "overwrite"]).await;
    import.signal(Signal::SIGTERM);
    assert_failed(import.ended().await, 2, "nothing was written");
    theirs.rollback().await.expect("ROLLBACK");
    let export = env.kvctl(["export"]).await.expect(0);
    let unchanged = |line: &str| line.contains("\"value\":\"old\",\"version\":1,");
    assert!(export.text().lines().all(unchanged), "{}", export.text());
    assert_eq!(count(&env).await, "2");
}

async fn interrupted_while_it_waits_put_says_that_it_may_still_be_applied(env: Env) {
    let _put = env.kvctl(["put", "k029999", "old"]).await.expect(0);
    let theirs = begin(&env).await;
    let lock = "UPDATE items SET version = 2 WHERE id = 1";
    theirs.execute_unprepared(lock).await.expect("UPDATE");
    for words in [&["put", "k029999", "new"][..], &["delete", "k029999"]] {
        let change = env.kvctl([]).args(words).spawn();
        listens(change.pid()).await;
        change.signal(Signal::SIGINT);
        assert_failed(change.ended().await, 2, "may still be applied");
    }
    theirs.rollback().await.expect("ROLLBACK");
}

async fn interrupted_it_leaves_no_session_and_the_same_then_works(env: Env) {
    let theirs = lock(&env).await;
    let watcher = watcher(&env).await;
    let before = sessions(&watcher).await;
    for phase in ["reading", "storing"] {
        let import = match phase {
            "reading" => reading(&env).await,
            _ => storing(&env, &[]).await,
        };
        import.signal(Signal::SIGINT);
        assert_failed(import.ended().await, 2, "nothing was written");
    }
    // While the lock is still there: a load that was given up keeps no other session waiting.
    let gone = async {
        while sessions(&watcher)
            .await
            .iter()
            .any(|id| !before.contains(id))
        {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE / 3, gone).await.expect("its sessions end");
    theirs.rollback().await.expect("ROLLBACK");
    let again = env.kvctl(["import", "-"]).stdin(lines(30_000)).await;
    assert_eq!(
        again.expect(0).text(),
        "created 30000, updated 0, skipped 0\n"
    );
}

async fn time_limits_of_the_database_do_not_end_a_slow_import(env: Env) {
    let limits = "SELECT name FROM pg_settings WHERE name IN \
         ('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')";
    for limit in env.database().column::<String>(limits).await {
        let sql = format!(
            "ALTER DATABASE {} SET {limit} = '200ms'",
            env.database().name()
        );
        env.database().execute(&sql).await;
    }
    let mut import = reading(&env).await;
    sleep(Duration::from_secs(1)).await;
    import.send(b"{\"key\":\"last\",\"value\":\"\"}").await;
    let done = import.end().await.expect(0);
    assert_eq!(done.text(), "created 30001, updated 0, skipped 0\n");
}

async fn interrupted_before_the_first_line_it_ends_as_well(env: Env) {
    for words in [
        &["import", "-"][..],
        &["import", "-", "--dry-run"],
        &["seed", "--file", "-"],
    ] {
        let import = env.kvctl([]).args(words).spawn();
        listens(import.pid()).await;
        import.signal(Signal::SIGINT);
        let ended = import.ended().await.expect(2);
        assert!(
            ended.stderr.contains("nothing was written"),
            "{words:?}: {}",
            ended.stderr
        );
        assert_eq!(ended.text(), "");
    }
}

async fn a_seed_is_interrupted_as_an_import_is(env: Env) {
    // More items than it can have made when the signal comes.
    let mut seed = env
        .kvctl(["seed", "--count", "4000000000", "--value-bytes", "0"])
        .spawn();
    seed.close();
    listens(seed.pid()).await;
    sleep(Duration::from_millis(300)).await;
    seed.signal(Signal::SIGINT);
    assert_failed(seed.ended().await, 2, "nothing was written");
    assert_eq!(count(&env).await, "0");
}
