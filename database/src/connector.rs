//! How to connect to a database.

use std::{fs, sync::Arc, time::Duration};

use sea_orm::{
    DatabaseConnection, DbErr, SqlxMySqlConnector, SqlxPostgresConnector, SqlxSqliteConnector,
    sqlx::{
        self, AssertSqlSafe, ConnectOptions, Executor, MySqlConnection, PgConnection,
        mysql::{MySqlConnectOptions, MySqlPoolOptions},
        postgres::{PgConnectOptions, PgPoolOptions},
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
    },
};
use tokio::time::timeout;

use crate::{
    failure::connection_error,
    postgres::Postgres,
    session::Session,
    url::{DatabaseUrl, Engine},
};

/// How a session is set up.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// Server-side bound on a statement; none if `None`, whatever the server's default. MySQL bounds
    /// only reads.
    pub statement_timeout: Option<Duration>,
    /// Server-side bound on waiting for a lock.
    pub lock_timeout: Duration,
    /// Create the file of an SQLite database that does not exist.
    pub create_file: bool,
    /// Shown by PostgreSQL in `pg_stat_activity`.
    pub application_name: &'static str,
}

/// Knows how to reach a database, in the words of its driver.
#[derive(Clone)]
pub struct Connector(Options);

#[derive(Clone)]
enum Options {
    Postgres(PgConnectOptions, PgSettings),
    MySql(MySqlConnectOptions, MySqlSettings),
    Sqlite(SqliteConnectOptions),
}

impl Connector {
    /// # Errors
    /// The URL asks for something the driver does not know.
    pub fn new(url: &DatabaseUrl, settings: &SessionSettings) -> Result<Self, DbErr> {
        let options = match url.engine() {
            Engine::Postgres => postgres(url, settings),
            Engine::MySql => mysql(url).map(|o| Options::MySql(o, MySqlSettings::of(settings))),
            Engine::Sqlite => sqlite(url, settings).map(Options::Sqlite),
        };
        options.map(Self).map_err(connection_error)
    }

    /// One session, or the reason why there is none, without another try.
    ///
    /// # Errors
    /// No session could be had, or none in this time.
    pub async fn open(&self, time: Duration) -> Result<Session, DbErr> {
        let open = async {
            Ok(match &self.0 {
                Options::Postgres(options, settings) => {
                    let mut connection = options.connect().await?;
                    settings.apply(&mut connection).await?;
                    Postgres::new(connection, settings.begin.clone()).into()
                }
                Options::MySql(options, settings) => {
                    let mut connection = options.connect().await?;
                    settings.apply(&mut connection).await?;
                    connection.into()
                }
                Options::Sqlite(options) => options.connect().await?.into(),
            })
        };
        let opened = timeout(time, open).await;
        opened
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
            .map_err(connection_error)
    }

    /// Whether the sessions are those of a pooler, which gives out connections of the server for one
    /// transaction at a time.
    pub(crate) fn pools_transactions(&self) -> bool {
        matches!(&self.0, Options::Postgres(_, settings) if settings.begin.is_some())
    }

    /// SeaORM's connection to the database, opened when it is needed, so this succeeds also while the
    /// database is down. A statement waits for `time` until it has the connection. Unfit for a pooler
    /// that gives out connections for one transaction at a time.
    pub fn connection(&self, time: Duration) -> DatabaseConnection {
        match &self.0 {
            Options::Postgres(options, settings) => {
                let pool = PgPoolOptions::new()
                    .max_connections(1)
                    .acquire_timeout(time);
                let settings = settings.clone();
                let pool = pool.after_connect(move |connection, _| {
                    let settings = settings.clone();
                    Box::pin(async move { settings.apply(connection).await })
                });
                let pool = pool.connect_lazy_with(options.clone());
                SqlxPostgresConnector::from_sqlx_postgres_pool(pool)
            }
            Options::MySql(options, settings) => {
                let pool = MySqlPoolOptions::new()
                    .max_connections(1)
                    .acquire_timeout(time);
                let settings = settings.clone();
                let pool = pool.after_connect(move |connection, _| {
                    let settings = settings.clone();
                    Box::pin(async move { settings.apply(connection).await })
                });
                SqlxMySqlConnector::from_sqlx_mysql_pool(pool.connect_lazy_with(options.clone()))
            }
            Options::Sqlite(options) => {
                let pool = SqlitePoolOptions::new()
                    .max_connections(1)
                    .acquire_timeout(time);
                let pool = pool.connect_lazy_with(options.clone());
                SqlxSqliteConnector::from_sqlx_sqlite_pool(pool)
            }
        }
    }
}

fn postgres(url: &DatabaseUrl, settings: &SessionSettings) -> sqlx::Result<Options> {
    let milliseconds = |duration: Duration| duration.as_millis().max(1).to_string();
    let lock_timeout = milliseconds(settings.lock_timeout);
    let statement_timeout = settings.statement_timeout.map(milliseconds);
    let unlimited = statement_timeout.is_none();
    let statement_timeout = statement_timeout.unwrap_or_else(|| "0".to_owned());
    let options: PgConnectOptions = url.without_password().parse()?;
    let options = options
        .disable_statement_logging()
        .application_name(settings.application_name);
    let options = match url.password() {
        Some(password) => options.password(password),
        None => options,
    };
    // The compare-and-set relies on a waiting update seeing the row it waited for.
    Ok(if url.pools_transactions() {
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = {lock_timeout}; \
             SET LOCAL statement_timeout = {statement_timeout}"
        );
        // PgBouncer refuses options that set a session up.
        let begin = Some(begin.into());
        let settings = PgSettings { unlimited, begin };
        Options::Postgres(options.extra_float_digits(None), settings)
    } else {
        let options = options.options([
            ("default_transaction_isolation", "read committed"),
            ("lock_timeout", &lock_timeout),
            ("statement_timeout", &statement_timeout),
        ]);
        let begin = None;
        Options::Postgres(options, PgSettings { unlimited, begin })
    })
}

/// What cannot be an option of the connection.
#[derive(Clone)]
struct PgSettings {
    unlimited: bool,
    /// Begins each transaction, where a pooler gives out connections for one.
    begin: Option<Arc<str>>,
}

impl PgSettings {
    async fn apply(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        if self.unlimited {
            // Only PostgreSQL 17 and later know it. As an option, earlier servers would refuse it.
            let sql = "SELECT set_config(name, '0', false) FROM pg_settings \
                       WHERE name = 'transaction_timeout'";
            connection.execute(sql).await?;
        }
        Ok(())
    }
}

fn mysql(url: &DatabaseUrl) -> sqlx::Result<MySqlConnectOptions> {
    let options: MySqlConnectOptions = url.without_password().parse()?;
    let options = options.disable_statement_logging();
    Ok(match url.password() {
        Some(password) => options.password(password),
        None => options,
    })
}

/// The statement that sets a session up, which the connection protocol cannot do.
#[derive(Clone)]
struct MySqlSettings(String);

impl MySqlSettings {
    fn of(settings: &SessionSettings) -> Self {
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
            // Without a bound on statements, answers may be read and lines may come slowly: for a day.
            None => {
                session += " /*M! , SESSION max_statement_time = 0 */ \
                            /*!80000 , SESSION max_execution_time = 0 */ \
                            , SESSION net_write_timeout = 86400, SESSION wait_timeout = 86400";
            }
        }
        Self(session)
    }

    async fn apply(&self, connection: &mut MySqlConnection) -> sqlx::Result<()> {
        let done = connection.execute(AssertSqlSafe(self.0.clone())).await;
        let done = match done {
            // MariaDB knows the variable under this name only since 11.1.
            Err(sqlx::Error::Database(error))
                if error.message().contains("transaction_isolation") =>
            {
                let older = self.0.replace("transaction_isolation", "tx_isolation");
                connection.execute(AssertSqlSafe(older)).await
            }
            done => done,
        };
        done.map(drop)
    }
}

fn sqlite(url: &DatabaseUrl, settings: &SessionSettings) -> sqlx::Result<SqliteConnectOptions> {
    let options: SqliteConnectOptions = url.without_password().parse()?;
    let options = options
        .disable_statement_logging()
        // In WAL mode anything less can lose a committed write when the power fails.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(settings.lock_timeout);
    let bytes = fs::metadata(options.get_filename()).map_or(0, |file| file.len());
    let options = match bytes {
        // In WAL mode a writer does not keep readers waiting. The file remembers the mode, and an
        // existing file may belong to other software.
        0 => options.journal_mode(SqliteJournalMode::Wal),
        _ => options,
    };
    Ok(if settings.create_file {
        options.create_if_missing(true)
    } else {
        options
    })
}
