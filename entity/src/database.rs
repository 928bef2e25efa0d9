//! How to connect to a database.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DbBackend, DbErr, RuntimeErr,
    sqlx::{
        self, ConnectOptions as _, Connection, Executor,
        sqlite::{SqliteJournalMode, SqliteSynchronous},
    },
};
use tokio::time::timeout;

use crate::{DatabaseUrl, Engine};

/// Connections idle for longer are pinged before they are used again: in that time a server, a
/// proxy or a firewall may have dropped them.
const PING_AFTER_IDLE: Duration = Duration::from_secs(10);

/// When a connection of a pool last broke or fell silent. What has been idle since before is not
/// used again: a restart, a failover or a lost network breaks all connections at once.
#[derive(Clone, Debug, Default)]
pub struct Breaks(Arc<Mutex<Option<Instant>>>);

impl Breaks {
    /// It happened now.
    pub fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn none_within(&self, time: Duration) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_none_or(|last| last.elapsed() > time)
    }
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct ConnectSettings {
    pub max_connections: u32,
    /// How long to wait for a connection of the pool, a new one included.
    pub acquire_timeout: Duration,
    /// Server-side bound on a statement; none if `None`, whatever the server's default. MySQL bounds
    /// only reads.
    pub statement_timeout: Option<Duration>,
    /// Server-side bound on waiting for a lock.
    pub lock_timeout: Duration,
    /// Told of connections that break.
    pub breaks: Breaks,
    /// Create the file of an SQLite database that does not exist.
    pub create_file: bool,
    /// Shown by PostgreSQL in `pg_stat_activity`.
    pub application_name: &'static str,
}

/// A pool of connections, opened as they are needed: this succeeds also while the database is down.
///
/// # Errors
/// The URL asks for something the driver does not know.
pub async fn connect(
    url: &DatabaseUrl,
    settings: &ConnectSettings,
) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url.without_password());
    options
        .connect_lazy(true)
        .max_connections(settings.max_connections)
        .acquire_timeout(settings.acquire_timeout)
        .test_before_acquire_if_idle_for(PING_AFTER_IDLE)
        .sqlx_logging(false)
        .set_application_name(settings.application_name);
    match url.engine() {
        Engine::Postgres => postgres(&mut options, url, settings),
        Engine::MySql => mysql(&mut options, url, settings),
        Engine::Sqlite => sqlite(&mut options, settings),
    }
    Database::connect(options).await
}

/// Makes a connection once and ends it. A pool tries again and again until the time is up, and then
/// knows only that it is; this fails at once, with the reason.
///
/// # Errors
/// There is no connection to be had, or none in this time.
pub async fn probe(pool: &DatabaseConnection, time: Duration) -> Result<(), DbErr> {
    let probed = timeout(time, async {
        match pool.get_database_backend() {
            DbBackend::Postgres => {
                let options = pool.get_postgres_connection_pool().connect_options();
                options.connect().await?.close().await
            }
            DbBackend::MySql => {
                let options = pool.get_mysql_connection_pool().connect_options();
                options.connect().await?.close().await
            }
            _ => {
                let options = pool.get_sqlite_connection_pool().connect_options();
                options.connect().await?.close().await
            }
        }
    });
    let probed = probed.await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
    probed.map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(error.into())))
}

fn postgres(options: &mut ConnectOptions, url: &DatabaseUrl, settings: &ConnectSettings) {
    let milliseconds = |duration: Duration| duration.as_millis().max(1).to_string();
    let mut session = vec![
        // The compare-and-set relies on a waiting update seeing the row it waited for.
        ("default_transaction_isolation", "read committed".into()),
        ("lock_timeout", milliseconds(settings.lock_timeout)),
    ];
    let statement_timeout = settings.statement_timeout.map(milliseconds);
    session.push((
        "statement_timeout",
        statement_timeout.unwrap_or_else(|| "0".to_owned()),
    ));
    let breaks = settings.breaks.clone();
    options.map_sqlx_postgres_before_acquire(move |_, idle| {
        let usable = breaks.none_within(idle.idle_for);
        Box::pin(async move { Ok(usable) })
    });
    let password = url.password().map(str::to_owned);
    options.map_sqlx_postgres_opts(move |o| {
        let o = o.options(session.clone());
        match &password {
            Some(password) => o.password(password),
            None => o,
        }
    });
}

fn mysql(options: &mut ConnectOptions, url: &DatabaseUrl, settings: &ConnectSettings) {
    // READ COMMITTED: looking for a key that does not exist must not lock the gap around it.
    let mut session = format!(
        "SET SESSION transaction_isolation = 'READ-COMMITTED', \
         SESSION innodb_lock_wait_timeout = {seconds}, SESSION lock_wait_timeout = {seconds}",
        seconds = settings.lock_timeout.as_secs().max(1)
    );
    match settings.statement_timeout {
        // The first comment is code to MariaDB only, the second to MySQL 8 and later only.
        Some(timeout) => {
            session += &format!(
                " /*M! , SESSION max_statement_time = {} */ /*!80000 , SESSION max_execution_time = {} */",
                timeout.as_secs_f64(),
                timeout.as_millis().max(1)
            );
        }
        // Nor is it bounded how slowly an answer may be read: a day.
        None => {
            session += " /*M! , SESSION max_statement_time = 0 */ \
                        /*!80000 , SESSION max_execution_time = 0 */ \
                        , SESSION net_write_timeout = 86400";
        }
    }
    let breaks = settings.breaks.clone();
    options.map_sqlx_mysql_before_acquire(move |_, idle| {
        let usable = breaks.none_within(idle.idle_for);
        Box::pin(async move { Ok(usable) })
    });
    let password = url.password().map(str::to_owned);
    options.map_sqlx_mysql_opts(move |o| match &password {
        Some(password) => o.password(password),
        None => o,
    });
    // MariaDB knows the variable under this name only since 11.1.
    let older = session.replace("transaction_isolation", "tx_isolation");
    options.map_sqlx_mysql_pool_opts(move |o| {
        let (session, older) = (session.clone(), older.clone());
        o.after_connect(move |connection, _| {
            let (session, older) = (session.clone(), older.clone());
            Box::pin(async move {
                match connection.execute(sqlx::AssertSqlSafe(session)).await {
                    Err(sqlx::Error::Database(error))
                        if error.message().contains("transaction_isolation") =>
                    {
                        connection
                            .execute(sqlx::AssertSqlSafe(older))
                            .await
                            .map(drop)
                    }
                    done => done.map(drop),
                }
            })
        })
    });
}

fn sqlite(options: &mut ConnectOptions, settings: &ConnectSettings) {
    let (create, busy) = (settings.create_file, settings.lock_timeout);
    options.map_sqlx_sqlite_opts(move |o| {
        let o = o
            .journal_mode(SqliteJournalMode::Wal)
            // In WAL mode anything less can lose a committed write when the power fails.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(busy);
        if create { o.create_if_missing(true) } else { o }
    });
}
