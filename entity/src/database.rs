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

/// The URL of a database. The password is kept apart from it, so that nothing that prints the URL,
/// in this program or in a library, can print the password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    engine: Engine,
    url: Url,
    password: Option<String>,
}

/// Why a text is no [`DatabaseUrl`]. Never contains the text, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDatabaseUrl {
    #[error("the database URL must begin with postgres://, mysql:// or sqlite://")]
    Scheme,
    #[error("the database URL cannot be read: {0}")]
    Malformed(String),
    #[error("the database URL has an unescaped /, ? or # in its password (%2F, %3F, %23)")]
    Unescaped,
    #[error("the database URL has the unknown parameter {0:?}")]
    Parameter(String),
    #[error("the file of the database URL's parameter {0} cannot be read: {1}")]
    File(String, String),
    #[error("an in-memory SQLite database is lost with each connection; name a file")]
    InMemory,
}

/// The parameters that the drivers know, so that a mistyped one does not silently mean no TLS.
const POSTGRES_PARAMETERS: [&str; 17] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "application_name",
    "options",
];
const MYSQL_PARAMETERS: [&str; 14] = [
    "sslmode",
    "ssl-mode",
    "sslca",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "charset",
    "collation",
    "statement-cache-capacity",
    "socket",
    "timezone",
    "time-zone",
];
/// Those that name a file.
const FILES: [&str; 8] = [
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
];

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
        let in_memory =
            rest.is_empty() || rest.contains(":memory:") || rest.contains("mode=memory");
        if engine == Engine::Sqlite && in_memory {
            return Err(InvalidDatabaseUrl::InMemory);
        }
        let malformed = |error: &dyn fmt::Display| InvalidDatabaseUrl::Malformed(error.to_string());
        let text = format!("{scheme}://{rest}");
        let parsed: Url = text.parse().map_err(|e: url::ParseError| malformed(&e))?;
        let (url, password) = match engine {
            Engine::Postgres => {
                text.parse::<PgConnectOptions>()
                    .map_err(|e| malformed(&e))?;
                without_password(parsed, &POSTGRES_PARAMETERS)?
            }
            Engine::MySql => {
                text.parse::<MySqlConnectOptions>()
                    .map_err(|e| malformed(&e))?;
                without_password(parsed, &MYSQL_PARAMETERS)?
            }
            Engine::Sqlite => {
                text.parse::<SqliteConnectOptions>()
                    .map_err(|e| malformed(&e))?;
                (parsed, None)
            }
        };
        Ok(Self {
            engine,
            url,
            password,
        })
    }
}

/// The URL of a server without its password, and the password.
fn without_password(
    mut url: Url,
    known: &[&str],
) -> Result<(Url, Option<String>), InvalidDatabaseUrl> {
    let elsewhere = [Some(url.path()), url.query(), url.fragment()];
    if url.fragment().is_some()
        || elsewhere
            .into_iter()
            .flatten()
            .any(|part| part.contains('@'))
    {
        return Err(InvalidDatabaseUrl::Unescaped);
    }
    let mut password = url.password().map(|text| {
        let decoded = percent_encoding::percent_decode_str(text);
        decoded.decode_utf8_lossy().into_owned()
    });
    // Fails only for a URL that cannot have a password.
    let _ = url.set_password(None);
    let mut kept = Vec::new();
    for (name, value) in url.query_pairs() {
        if name == "password" {
            password = Some(value.into_owned());
            continue;
        }
        if !known.contains(&&*name) {
            return Err(InvalidDatabaseUrl::Parameter(name.into_owned()));
        }
        if FILES.contains(&&*name) {
            std::fs::File::open(&*value).map_err(|error| {
                InvalidDatabaseUrl::File(name.clone().into_owned(), error.to_string())
            })?;
        }
        kept.push((name.into_owned(), value.into_owned()));
    }
    url.set_query(None);
    if !kept.is_empty() {
        url.query_pairs_mut().extend_pairs(kept);
    }
    Ok((url, password))
}

impl DatabaseUrl {
    pub fn engine(&self) -> Engine {
        self.engine
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.url)
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
        Engine::Postgres => postgres(&mut options, url, settings),
        Engine::MySql => mysql(&mut options, url, settings),
        Engine::Sqlite => sqlite(&mut options, settings),
    }
    Database::connect(options).await
}

fn postgres(options: &mut ConnectOptions, url: &DatabaseUrl, settings: &ConnectSettings) {
    let milliseconds = |duration: Duration| duration.as_millis().max(1).to_string();
    let mut session = vec![
        // The compare-and-set relies on a waiting update seeing the row it waited for.
        ("default_transaction_isolation", "read committed".into()),
        ("lock_timeout", milliseconds(settings.lock_timeout)),
    ];
    if let Some(timeout) = settings.statement_timeout {
        session.push(("statement_timeout", milliseconds(timeout)));
    }
    let password = url.password.clone();
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
    let password = url.password.clone();
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
            "postgres://user@localhost/db?p%61ssword=s3cret",
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
            ("sqlite://x?mode=memory", "in-memory"),
            ("postgres://u:12#s3cret@h/db", "unescaped"),
            ("postgres://u:1234/s3cret@h/db", "unescaped"),
            ("postgres://u:s3cret@h/db?sslmod=verify-full", "\"sslmod\""),
            ("mysql://u:s3cret@h/db?ssl-mod=required", "\"ssl-mod\""),
            (
                "postgres://u:s3cret@h/db?sslrootcert=/no/file",
                "sslrootcert",
            ),
        ] {
            let error = url.parse::<DatabaseUrl>().unwrap_err().to_string();
            assert!(error.contains(expected), "{url}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
