//! The URL of a database: which engine it means, and how not to tell its password.

use std::{fmt, fs::File, path::PathBuf, str::FromStr};

use sea_orm::sqlx::{
    mysql::MySqlConnectOptions, postgres::PgConnectOptions, sqlite::SqliteConnectOptions,
};
use url::Url;

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
    pools_transactions: bool,
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
    #[error("the database URL's parameter pool_mode is neither session nor transaction")]
    PoolMode,
    #[error("the file of the database URL's parameter {0} cannot be read: {1}")]
    File(String, String),
    #[error("the database URL names no database: mysql://user@host/database")]
    NoDatabase,
    #[error("the URL of an SQLite database is sqlite://FILE, without user and password")]
    User,
    #[error("an in-memory SQLite database is lost with each connection; name a file")]
    InMemory,
}

/// The parameters that the drivers know, so that a mistyped one does not silently mean no TLS.
const POSTGRES_PARAMETERS: [&str; 18] = [
    "pool_mode",
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
/// The parameters that name a file.
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
        if engine == Engine::Sqlite {
            check_sqlite(rest)?;
        }
        let text = format!("{scheme}://{rest}");
        let url: Url = parsed(&text)?;
        match engine {
            Engine::Postgres => {
                parsed::<PgConnectOptions>(&text)?;
                Self::of_server(engine, url, &POSTGRES_PARAMETERS)
            }
            Engine::MySql => {
                parsed::<MySqlConnectOptions>(&text)?;
                if matches!(url.path(), "" | "/") {
                    return Err(InvalidDatabaseUrl::NoDatabase);
                }
                Self::of_server(engine, url, &MYSQL_PARAMETERS)
            }
            Engine::Sqlite => {
                parsed::<SqliteConnectOptions>(&text)?;
                Ok(Self {
                    engine,
                    url,
                    password: None,
                    pools_transactions: false,
                })
            }
        }
    }
}

/// Refuses what SQLite's driver would take for a file, or for no file at all.
fn check_sqlite(rest: &str) -> Result<(), InvalidDatabaseUrl> {
    if rest.is_empty() || rest.contains(":memory:") || rest.contains("mode=memory") {
        return Err(InvalidDatabaseUrl::InMemory);
    }
    // A file with such a name is sqlite://./u:p@file.
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') && authority.contains(':') {
        return Err(InvalidDatabaseUrl::User);
    }
    Ok(())
}

fn parsed<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, InvalidDatabaseUrl> {
    let malformed = |error: T::Err| InvalidDatabaseUrl::Malformed(error.to_string());
    text.parse().map_err(malformed)
}

impl DatabaseUrl {
    /// Takes out what the driver need not know: the password and the mode of the pooler.
    fn of_server(engine: Engine, mut url: Url, known: &[&str]) -> Result<Self, InvalidDatabaseUrl> {
        if url.fragment().is_some() || url.path().contains('@') {
            return Err(InvalidDatabaseUrl::Unescaped);
        }
        let mut password = url.password().map(|text| {
            let decoded = percent_encoding::percent_decode_str(text);
            decoded.decode_utf8_lossy().into_owned()
        });
        // Fails only for a URL that cannot have a password.
        let _ = url.set_password(None);
        let (mut kept, mut pools_transactions) = (Vec::new(), false);
        for (name, value) in url.query_pairs() {
            if name == "password" {
                password = Some(value.into_owned());
                continue;
            }
            check_parameter(&name, &value, known)?;
            if name == "pool_mode" {
                pools_transactions = match &*value {
                    "transaction" => true,
                    "session" => false,
                    _ => return Err(InvalidDatabaseUrl::PoolMode),
                };
                continue;
            }
            kept.push((name.into_owned(), value.into_owned()));
        }
        url.set_query(None);
        if !kept.is_empty() {
            url.query_pairs_mut().extend_pairs(kept);
        }
        Ok(Self {
            engine,
            url,
            password,
            pools_transactions,
        })
    }

    /// Whether a pooler gives out a session for one transaction at a time (`pool_mode=transaction`, as
    /// PgBouncer calls it).
    pub fn pools_transactions(&self) -> bool {
        self.pools_transactions
    }

    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Where the database is: host and port, the directory of a socket, or a file.
    pub fn place(&self) -> String {
        let url = self.url.as_str();
        let of_server = |socket: Option<&PathBuf>, host: &str, port| match socket {
            Some(path) => path.display().to_string(),
            None => format!("{host}:{port}"),
        };
        // The text was parsed once already, so it parses again.
        let place = match self.engine {
            Engine::Postgres => url
                .parse::<PgConnectOptions>()
                .map(|o| of_server(o.get_socket(), o.get_host(), o.get_port())),
            Engine::MySql => url
                .parse::<MySqlConnectOptions>()
                .map(|o| of_server(o.get_socket(), o.get_host(), o.get_port())),
            Engine::Sqlite => url
                .parse::<SqliteConnectOptions>()
                .map(|o| o.get_filename().display().to_string()),
        };
        place.unwrap_or_default()
    }

    pub(crate) fn without_password(&self) -> &str {
        self.url.as_str()
    }

    pub(crate) fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }
}

/// Refuses a parameter that the driver does not know, and one whose file cannot be read.
fn check_parameter(name: &str, value: &str, known: &[&str]) -> Result<(), InvalidDatabaseUrl> {
    if !known.contains(&name) {
        return Err(InvalidDatabaseUrl::Parameter(name.to_owned()));
    }
    if FILES.contains(&name)
        && let Err(error) = File::open(value)
    {
        return Err(InvalidDatabaseUrl::File(name.to_owned(), error.to_string()));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_makes_it_panic_or_tell_the_password(
            scheme in "postgres|mysql|sqlite|mariadb|http|",
            password in "s3cret[a-z0-9@:/?#%&=]{0,6}",
            rest in "[a-z0-9.:/?#&=%@-]{0,20}",
        ) {
            let text = format!("{scheme}://user:{password}@{rest}");
            let said = match text.parse::<DatabaseUrl>() {
                // The path of a file is no secret.
                Ok(url) if url.engine() == Engine::Sqlite => String::new(),
                Ok(url) => format!("{url} {url:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            prop_assert!(!said.contains("s3cret"), "{} says {}", text, said);
        }
    }

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
    fn a_pooler_is_told_by_its_mode() {
        for (mode, pools) in [("transaction", true), ("session", false)] {
            let url = format!("postgres://u@h/db?pool_mode={mode}&sslmode=require");
            let url: DatabaseUrl = url.parse().unwrap();
            assert_eq!(url.pools_transactions(), pools, "{mode}");
            assert_eq!(url.to_string(), "postgres://u@h/db?sslmode=require");
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
            ("sqlite://u:s3cret@h/db", "without user"),
            ("postgres://u:12#s3cret@h/db", "unescaped"),
            ("postgres://u:1234/s3cret@h/db", "unescaped"),
            ("postgres://u:s3cret@h/db?sslmod=verify-full", "\"sslmod\""),
            ("mysql://u:s3cret@h/db?ssl-mod=required", "\"ssl-mod\""),
            ("mysql://u:s3cret@h/db?pool_mode=session", "\"pool_mode\""),
            ("postgres://u:s3cret@h/db?pool_mode=s3cret", "pool_mode"),
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
