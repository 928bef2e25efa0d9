//! A load that is interrupted, killed or refused leaves nothing, and what nobody else uses alone.

use std::time::Duration;

use nix::sys::signal::Signal;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};
use tests::{Engine, Env, kvctl::Running, process::PATIENCE};
use tokio::time::{Instant, sleep, timeout};

use crate::kvctl::assert_failed;

tests::list! {
    EveryEngine =>
        interrupted_while_it_reads_it_leaves_nothing,
        killed_while_it_reads_it_leaves_nothing,
        interrupted_while_it_stores_it_leaves_nothing,
        killed_while_it_stores_it_leaves_nothing,
        after_the_lock_is_gone_it_goes_on
}

fn lines(count: usize) -> Vec<u8> {
    let lines = (0..count).map(|n| format!("{{\"key\":\"k{n:06}\",\"value\":\"v\"}}\n"));
    lines.collect::<String>().into_bytes()
}

/// An import that has read some lines and waits for more.
async fn reading(env: &Env) -> Running {
    let mut import = env.kvctl(["import", "-"]).spawn();
    import.send(&lines(30_000)).await;
    import
}

/// What keeps an import from storing the last of its keys: on SQLite any.
async fn lock(env: &Env) -> DatabaseTransaction {
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..Default::default()
    };
    let connection = env.database().connection().await;
    let transaction = connection.begin_with_options(options).await.expect("BEGIN");
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

/// An import that waits for [`lock`]. Nothing outside shows when it does, so its progress is awaited
/// in what the engines tell of sessions; on SQLite, which tells nothing, for a while.
async fn storing(env: &Env) -> Running {
    let mut import = env.kvctl(["import", "-"]).spawn();
    import.send(&lines(30_000)).await;
    import.close();
    let waiting = match env.engine() {
        Engine::Postgres => {
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        }
        Engine::Mysql => {
            // It does not wait, but tries again what is the last of its chunks.
            "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_rows_modified > 20000"
        }
        Engine::Sqlite => {
            sleep(Duration::from_millis(1500)).await;
            return import;
        }
    };
    // The connection of the lock cannot be used for this.
    let watcher = tests::server::connect(&env.database().url())
        .await
        .expect("a connection");
    let all = async {
        loop {
            let statement =
                sea_orm::Statement::from_string(watcher.get_database_backend(), waiting);
            let row = watcher
                .query_one_raw(statement)
                .await
                .expect("the sessions")
                .expect("a row");
            if row.try_get_by_index::<i64>(0).expect("a number") > 0 {
                return;
            }
            // MariaDB renews what it tells only if it was not asked for a tenth of a second.
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(PATIENCE, all)
        .await
        .expect("the import comes to wait");
    import
}

async fn count(env: &Env) -> String {
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
        let begun = Instant::now();
        assert_failed(import.ended().await, 2, "nothing was written");
        assert!(begun.elapsed() < Duration::from_secs(20), "{signal}");
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
    let import = storing(&env).await;
    import.signal(Signal::SIGINT);
    let begun = Instant::now();
    assert_failed(import.ended().await, 2, "nothing was written");
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "it waited for the lock"
    );
    lock.rollback().await.expect("ROLLBACK");
    assert_eq!(count(&env).await, "0");
}

async fn killed_while_it_stores_it_leaves_nothing(env: Env) {
    let lock = lock(&env).await;
    let import = storing(&env).await;
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
    let import = storing(&env).await;
    lock.rollback().await.expect("ROLLBACK");
    let done = import.ended().await.expect(0);
    assert_eq!(done.text(), "created 30000, updated 0, skipped 0\n");
}
