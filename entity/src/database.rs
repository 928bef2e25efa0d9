//! The URL of a database and how to connect to it.

use std::{fmt, str::FromStr, time::Duration};

use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DbErr,
    sqlx::{
        Executor,
        mysql::MySqlConnectOptions,
        postgres::PgConnectOptions,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    },
};
use url::Url;

/// Connections idle for longer are pinged before they are used again: in that time a server, a
/// proxy or a firewall may have dropped them.
const PING_AFTER_IDLE: Duration = Duration::from_secs(10);

/// A kind of database server, by the scheme of its URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Postgres,
    /// MySQL or MariaDB; which of them, only the server can say.
    MySql,
    Sqlite,
}

/// The URL of a database. Neither `Debug` nor `Display` shows the password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    engine: Engine,
    url: Url,
}

/// Why a text is no [`DatabaseUrl`]. Never contains the text, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDatabaseUrl {
    #[error("the database URL must begin with postgres://, mysql:// or sqlite://")]
    Scheme,
    #[error("the database URL cannot be read: {0}")]
    Malformed(String),
    #[error("an in-memory SQLite database is lost with each connection; name a file")]
    InMemory,
}

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidDatabaseUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidDatabaseUrl::Scheme)?;
        let (engine, scheme) = match scheme {
            "postgres" | "postgresql" => (Engine::Postgres, "postgres"),
            "mysql" | "mariadb" => (Engine::MySql, "mysql"),
            "sqlite" => (Engine::Sqlite, "sqlite"),
            _ => return Err(InvalidDatabaseUrl::Scheme),
        };
        let malformed = |error: &dyn fmt::Display| InvalidDatabaseUrl::Malformed(error.to_string());
        let text = format!("{scheme}://{rest}");
        match engine {
            Engine::Postgres => drop(
                text.parse::<PgConnectOptions>()
                    .map_err(|e| malformed(&e))?,
            ),
            Engine::MySql => drop(
                text.parse::<MySqlConnectOptions>()
                    .map_err(|e| malformed(&e))?,
            ),
            Engine::Sqlite if rest.is_empty() || rest.contains(":memory:") => {
                return Err(InvalidDatabaseUrl::InMemory);
            }
            Engine::Sqlite => drop(
                text.parse::<SqliteConnectOptions>()
                    .map_err(|e| malformed(&e))?,
            ),
        }
        let url = text.parse().map_err(|e: url::ParseError| malformed(&e))?;
        Ok(Self { engine, url })
    }
}

impl DatabaseUrl {
    pub fn engine(&self) -> Engine {
        self.engine
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.url.clone();
        if shown.password().is_some() {
            // Fails only for a URL that cannot have a password, and this one has.
            let _ = shown.set_password(Some("***"));
        }
        let in_query = |(name, value): (_, _)| match name {
            std::borrow::Cow::Borrowed("password") => (name, "***".into()),
            _ => (name, value),
        };
        if shown.query().is_some() {
            let pairs: Vec<_> = self.url.query_pairs().map(in_query).collect();
            shown.query_pairs_mut().clear().extend_pairs(pairs);
        }
        write!(f, "{shown}")
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

/// How to connect; the default suits an admin tool.
#[derive(Clone, Debug)]
pub struct ConnectSettings {
    pub max_connections: u32,
    /// How long to wait for a connection of the pool, a new one included.
    pub acquire_timeout: Duration,
    /// Server-side bound on a statement; none if `None`. MySQL bounds only reads.
    pub statement_timeout: Option<Duration>,
    /// Server-side bound on waiting for a lock.
    pub lock_timeout: Duration,
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
    let mut options = ConnectOptions::new(url.url.as_str());
    options
        .connect_lazy(true)
        .max_connections(settings.max_connections)
        .acquire_timeout(settings.acquire_timeout)
        .test_before_acquire_if_idle_for(PING_AFTER_IDLE)
        .sqlx_logging(false)
        .set_application_name(settings.application_name);
    match url.engine {
        Engine::Postgres => postgres(&mut options, settings),
        Engine::MySql => mysql(&mut options, settings),
        Engine::Sqlite => sqlite(&mut options, settings),
    }
    Database::connect(options).await
}

fn postgres(options: &mut ConnectOptions, settings: &ConnectSettings) {
    let milliseconds = |duration: Duration| duration.as_millis().max(1).to_string();
    let mut session = vec![
        // The compare-and-set relies on a waiting update seeing the row it waited for.
        ("default_transaction_isolation", "read committed".into()),
        ("lock_timeout", milliseconds(settings.lock_timeout)),
    ];
    if let Some(timeout) = settings.statement_timeout {
        session.push(("statement_timeout", milliseconds(timeout)));
    }
    options.map_sqlx_postgres_opts(move |o| o.options(session.clone()));
}

fn mysql(options: &mut ConnectOptions, settings: &ConnectSettings) {
    // READ COMMITTED: looking for a key that does not exist must not lock the gap around it.
    let mut session = format!(
        "SET SESSION transaction_isolation = 'READ-COMMITTED', \
         SESSION innodb_lock_wait_timeout = {}",
        settings.lock_timeout.as_secs().max(1)
    );
    if let Some(timeout) = settings.statement_timeout {
        // The first comment is code to MariaDB only, the second to MySQL 8 and later only.
        session += &format!(
            " /*M! , SESSION max_statement_time = {} */ /*!80000 , SESSION max_execution_time = {} */",
            timeout.as_secs_f64(),
            timeout.as_millis().max(1)
        );
    }
    // MariaDB knows the variable under this name only since 11.1.
    let older = session.replace("transaction_isolation", "tx_isolation");
    options.map_sqlx_mysql_pool_opts(move |o| {
        let (session, older) = (session.clone(), older.clone());
        o.after_connect(move |connection, _| {
            let (session, older) = (session.clone(), older.clone());
            Box::pin(async move {
                match connection
                    .execute(sea_orm::sqlx::AssertSqlSafe(session))
                    .await
                {
                    Err(sea_orm::sqlx::Error::Database(error))
                        if error.message().contains("transaction_isolation") =>
                    {
                        connection
                            .execute(sea_orm::sqlx::AssertSqlSafe(older))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for url in [
            "postgres://user:s3cret@localhost/db",
            "mysql://user:s3cret@localhost:3306/db?ssl-mode=disabled",
            "postgres://user@localhost/db?password=s3cret&sslmode=disable",
            "postgres://user:s3cret%40x@localhost/db",
        ] {
            let url: DatabaseUrl = url.parse().unwrap();
            let shown = format!("{url} {url:?}");
            assert!(!shown.contains("s3cret"), "{shown}");
            assert!(shown.contains("localhost"), "{shown}");
        }
    }

    #[test]
    fn a_mistake_in_a_url_is_named_without_the_url() {
        for (url, expected) in [
            ("", "must begin with"),
            ("s3cret", "must begin with"),
            ("http://u:s3cret@h/", "must begin with"),
            ("postgres://u:s3cret@h:99999/db", "cannot be read"),
            ("mysql://u:s3cret@h:port/db", "cannot be read"),
            ("sqlite://:memory:", "in-memory"),
            ("sqlite://", "in-memory"),
        ] {
            let error = url.parse::<DatabaseUrl>().unwrap_err().to_string();
            assert!(error.contains(expected), "{url}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
