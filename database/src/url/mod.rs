//! The URL of a database: which engine it means, and how not to tell its password.

mod file_url;
mod invalid;
mod mysql;
mod postgres;
mod server_url;
mod user;

use std::{env, fmt, path::PathBuf, str::FromStr, time::Duration};

use sea_orm::sqlx::{
    self, mysql::MySqlConnectOptions, postgres::PgConnectOptions, sqlite::SqliteConnectOptions,
};
use url::Url;

pub use self::invalid::InvalidDatabaseUrl;
use self::{
    file_url::file_options,
    mysql::MySqlUrl,
    postgres::driver_url,
    server_url::{ServerUrl, first},
};

/// A `connect_timeout` of 0, which means none.
const NO_LIMIT: Duration = Duration::from_hours(24);

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
#[derive(Clone)]
pub struct DatabaseUrl {
    /// The text without password.
    shown: String,
    target: Target,
    password: Option<String>,
    pools_transactions: bool,
    connect_timeout: Option<Duration>,
}

/// What the URL means to the driver of its engine.
#[derive(Clone)]
enum Target {
    Postgres(Url),
    MySql(MySqlUrl),
    Sqlite(Box<SqliteConnectOptions>),
}

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidDatabaseUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidDatabaseUrl::Scheme)?;
        match scheme {
            "postgres" | "postgresql" => Self::of_server("postgres", rest, |url| {
                driver_url(url, |name| env::var(name).ok()).map(Target::Postgres)
            }),
            "mysql" | "mariadb" => {
                Self::of_server("mysql", rest, |url| MySqlUrl::new(url).map(Target::MySql))
            }
            "sqlite" => Self::of_file(rest),
            _ => Err(InvalidDatabaseUrl::Scheme),
        }
    }
}

/// Takes the mode of the pooler out.
fn pools_transactions(url: &mut ServerUrl) -> Result<bool, InvalidDatabaseUrl> {
    match url.take("pool_mode").as_deref() {
        Some("transaction") => Ok(true),
        Some("session") | None => Ok(false),
        Some(_) => Err(InvalidDatabaseUrl::PoolMode),
    }
}

/// Reads a number of seconds, of which none and fewer mean no limit.
fn connect_timeout(text: &str) -> Result<Duration, InvalidDatabaseUrl> {
    let why = "is a number of whole seconds, or 0 for no limit";
    let seconds: i64 = text
        .parse()
        .map_err(|_| InvalidDatabaseUrl::Value("connect_timeout", why))?;
    Ok(match u64::try_from(seconds) {
        Ok(seconds @ 1..) => Duration::from_secs(seconds).min(NO_LIMIT),
        _ => NO_LIMIT,
    })
}

impl DatabaseUrl {
    fn of_server(
        scheme: &str,
        rest: &str,
        target: impl FnOnce(ServerUrl) -> Result<Target, InvalidDatabaseUrl>,
    ) -> Result<Self, InvalidDatabaseUrl> {
        let mut url = ServerUrl::read(scheme, rest)?;
        let by_variable = env::var("PGCONNECT_TIMEOUT").ok();
        let by_variable = by_variable.filter(|_| scheme == "postgres");
        let seconds = first([url.take("connect_timeout"), by_variable]);
        Ok(Self {
            shown: url.shown.clone(),
            password: url.password.take(),
            pools_transactions: scheme == "postgres" && pools_transactions(&mut url)?,
            connect_timeout: seconds.as_deref().map(connect_timeout).transpose()?,
            target: target(url)?,
        })
    }

    fn of_file(rest: &str) -> Result<Self, InvalidDatabaseUrl> {
        Ok(Self {
            shown: format!("sqlite://{rest}"),
            target: Target::Sqlite(Box::new(file_options(rest)?)),
            password: None,
            pools_transactions: false,
            connect_timeout: None,
        })
    }

    /// Whether a pooler gives out a session for one transaction at a time (`pool_mode=transaction`, as
    /// PgBouncer calls it).
    pub fn pools_transactions(&self) -> bool {
        self.pools_transactions
    }

    /// The most time to connect (`connect_timeout`), if the URL gives one.
    pub fn connect_timeout(&self) -> Option<Duration> {
        self.connect_timeout
    }

    pub fn engine(&self) -> Engine {
        match self.target {
            Target::Postgres(_) => Engine::Postgres,
            Target::MySql(_) => Engine::MySql,
            Target::Sqlite(_) => Engine::Sqlite,
        }
    }

    /// Where the database is: host and port, the path of a socket or of its directory, or a file.
    pub fn place(&self) -> String {
        let of_server = |socket: Option<&PathBuf>, host: &str, port| match socket {
            Some(path) => path.display().to_string(),
            None if host.contains(':') => format!("[{host}]:{port}"),
            None => format!("{host}:{port}"),
        };
        match self.options() {
            Ok(DriverOptions::Postgres(o)) => of_server(o.get_socket(), o.get_host(), o.get_port()),
            Ok(DriverOptions::MySql(o)) => of_server(o.get_socket(), o.get_host(), o.get_port()),
            Ok(DriverOptions::Sqlite(o)) => o.get_filename().display().to_string(),
            // They were made once already.
            Err(_) => String::new(),
        }
    }

    /// The options of the engine's driver, with the password.
    pub(crate) fn options(&self) -> sqlx::Result<DriverOptions> {
        let password = self.password.as_deref();
        Ok(match &self.target {
            Target::Postgres(url) => {
                let options: PgConnectOptions = url.as_str().parse()?;
                DriverOptions::Postgres(match password {
                    Some(password) => options.password(password),
                    None => options,
                })
            }
            Target::MySql(url) => {
                let options = url.options()?;
                DriverOptions::MySql(match password {
                    Some(password) => options.password(password),
                    None => options,
                })
            }
            Target::Sqlite(options) => DriverOptions::Sqlite((**options).clone()),
        })
    }
}

/// A URL in the words of its engine's driver.
pub(crate) enum DriverOptions {
    Postgres(PgConnectOptions),
    MySql(MySqlConnectOptions),
    Sqlite(SqliteConnectOptions),
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
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
