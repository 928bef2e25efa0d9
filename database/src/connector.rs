//! How to connect to a database.

use std::time::Duration;

use sea_orm::{
    DatabaseConnection, DbErr, SqlxMySqlConnector, SqlxPostgresConnector, SqlxSqliteConnector,
    sqlx::{
        self, ConnectOptions,
        mysql::{MySqlConnectOptions, MySqlPoolOptions},
        postgres::{PgConnectOptions, PgPoolOptions},
        sqlite::{SqliteConnectOptions, SqlitePoolOptions},
    },
};
use tokio::time::timeout;

use crate::{
    failure::connection_error,
    postgres::Postgres,
    session::Session,
    session_setup::{MySqlSetup, PostgresSetup, SessionSettings},
    sqlite::{self, SqliteSetup},
    url::{DatabaseUrl, DriverOptions},
};

/// Knows how to reach a database, in the words of its driver.
#[derive(Clone)]
pub struct Connector {
    options: Options,
    /// The most time to connect, if the URL gives one.
    connect_timeout: Option<Duration>,
}

#[derive(Clone)]
enum Options {
    Postgres(PgConnectOptions, PostgresSetup),
    MySql(MySqlConnectOptions, MySqlSetup),
    Sqlite(SqliteConnectOptions, SqliteSetup),
}

impl Connector {
    /// # Errors
    /// The URL asks for something the driver does not know.
    pub fn new(url: &DatabaseUrl, settings: &SessionSettings) -> Result<Self, DbErr> {
        let options = url.options().map_err(connection_error)?;
        let options = match options {
            DriverOptions::Postgres(options) => {
                let setup = PostgresSetup::new(settings, url.pools_transactions());
                Options::Postgres(setup.options(options), setup)
            }
            DriverOptions::MySql(options) => {
                let setup = MySqlSetup::new(settings);
                Options::MySql(setup.options(options), setup)
            }
            DriverOptions::Sqlite(options) => {
                let setup = SqliteSetup::new(&options, settings);
                Options::Sqlite(sqlite::options(options, settings), setup)
            }
        };
        Ok(Self {
            options,
            connect_timeout: url.connect_timeout(),
        })
    }

    /// The time that an attempt to connect may take, where this is asked for.
    fn connect_time(&self, time: Duration) -> Duration {
        match &self.options {
            Options::Sqlite(_, setup) => setup.time(time),
            Options::Postgres(..) | Options::MySql(..) => {
                self.connect_timeout.map_or(time, |most| most.min(time))
            }
        }
    }

    /// One session, or the reason why there is none, without another try. A new file of SQLite that others are
    /// setting up is waited for as long as its session waits for locks.
    ///
    /// # Errors
    /// No session could be had, or none in this time.
    pub async fn open(&self, time: Duration) -> Result<Session, DbErr> {
        let open = async {
            Ok(match &self.options {
                Options::Postgres(options, setup) => {
                    let mut connection = options.connect().await?;
                    setup.apply(&mut connection).await?;
                    Postgres::new(connection, setup.begin()).into()
                }
                Options::MySql(options, setup) => {
                    let mut connection = options.connect().await?;
                    setup.apply(&mut connection).await?;
                    let version = sqlx::query_scalar("SELECT version()");
                    let version: String = version.fetch_one(&mut connection).await?;
                    Session::mysql(connection, &version)
                }
                Options::Sqlite(options, setup) => {
                    let mut connection = options.connect().await?;
                    setup.apply(&mut connection).await?;
                    connection.into()
                }
            })
        };
        let opened = timeout(self.connect_time(time), open).await;
        let opened = opened.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        opened.map_err(|error| match &self.options {
            Options::Sqlite(options, _) => sqlite::not_opened(options, error),
            Options::Postgres(..) | Options::MySql(..) => connection_error(error),
        })
    }

    /// Whether the sessions are those of a pooler, which gives out connections of the server for one
    /// transaction at a time.
    pub(crate) fn pools_transactions(&self) -> bool {
        matches!(&self.options, Options::Postgres(_, setup) if setup.begin().is_some())
    }

    /// SeaORM's connection to the database, opened when it is needed, so this succeeds also while the
    /// database is down. A statement waits for `time` until it has the connection. Unfit for a pooler
    /// that gives out connections for one transaction at a time. PostgreSQL's has no end, since a migration
    /// holds a lock of its session.
    pub fn connection(&self, time: Duration) -> DatabaseConnection {
        let time = self.connect_time(time);
        match &self.options {
            Options::Postgres(options, setup) => {
                let pool = PgPoolOptions::new()
                    .max_connections(1)
                    .max_lifetime(None)
                    .acquire_timeout(time);
                let setup = setup.clone();
                let pool = pool.after_connect(move |connection, _| {
                    let setup = setup.clone();
                    Box::pin(async move { setup.apply(connection).await })
                });
                let pool = pool.connect_lazy_with(options.clone());
                SqlxPostgresConnector::from_sqlx_postgres_pool(pool)
            }
            Options::MySql(options, setup) => {
                let pool = MySqlPoolOptions::new()
                    .max_connections(1)
                    .acquire_timeout(time);
                let setup = setup.clone();
                let pool = pool.after_connect(move |connection, _| {
                    let setup = setup.clone();
                    Box::pin(async move { setup.apply(connection).await })
                });
                SqlxMySqlConnector::from_sqlx_mysql_pool(pool.connect_lazy_with(options.clone()))
            }
            Options::Sqlite(options, setup) => {
                let pool = SqlitePoolOptions::new()
                    .max_connections(1)
                    .acquire_timeout(time);
                let setup = setup.clone();
                let pool = pool.after_connect(move |connection, _| {
                    let setup = setup.clone();
                    Box::pin(async move { setup.apply(connection).await })
                });
                SqlxSqliteConnector::from_sqlx_sqlite_pool(pool.connect_lazy_with(options.clone()))
            }
        }
    }
}
