//! One session with a database.
//!
//! SeaORM gives out a connection for one statement at a time. A write must know that it has a
//! connection before it is sent: from then on its outcome may be unknown.

use sea_orm::{
    ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement,
    sqlx::{self, AssertSqlSafe, Connection, Executor, MySqlConnection, SqliteConnection},
};
use sea_query_sqlx::SqlxValues;
use tokio::sync::{Mutex, MutexGuard};

use crate::{failure::statement_error, postgres::Postgres, server};

/// One session. Dropping it closes the connection without telling the server; see [`Session::close`].
pub struct Session {
    driver: Driver,
    is_mariadb: bool,
}

enum Driver {
    Postgres(Mutex<Postgres>),
    MySql(Mutex<MySqlConnection>),
    Sqlite(Mutex<SqliteConnection>),
}

/// Runs the first expression on a session with PostgreSQL, the second on a connection to another engine.
macro_rules! on {
    ($session:expr, $postgres:ident => $on_postgres:expr, $connection:ident => $run:expr) => {
        match &$session.driver {
            Driver::Postgres(p) => {
                let $postgres = &mut *p.lock().await;
                $on_postgres
            }
            Driver::MySql(c) => {
                let $connection = &mut *c.lock().await;
                $run
            }
            Driver::Sqlite(c) => {
                let $connection = &mut *c.lock().await;
                $run
            }
        }
    };
}

impl From<Postgres> for Session {
    fn from(connection: Postgres) -> Self {
        Self::new(Driver::Postgres(Mutex::new(connection)))
    }
}

impl From<SqliteConnection> for Session {
    fn from(connection: SqliteConnection) -> Self {
        Self::new(Driver::Sqlite(Mutex::new(connection)))
    }
}

impl Session {
    fn new(driver: Driver) -> Self {
        Self {
            driver,
            is_mariadb: false,
        }
    }

    /// A session with a server that calls itself by this version.
    pub(crate) fn mysql(connection: MySqlConnection, version: &str) -> Self {
        Self {
            driver: Driver::MySql(Mutex::new(connection)),
            is_mariadb: server::is_mariadb(version),
        }
    }

    /// Whether the server is MariaDB, which knows statements that MySQL does not.
    pub fn is_mariadb(&self) -> bool {
        self.is_mariadb
    }

    /// The session, if it is one with PostgreSQL. Its driver binds arrays and reads columns by place.
    pub async fn postgres(&self) -> Option<MutexGuard<'_, Postgres>> {
        match &self.driver {
            Driver::Postgres(connection) => Some(connection.lock().await),
            Driver::MySql(_) | Driver::Sqlite(_) => None,
        }
    }

    /// Has PostgreSQL plan statements for the values that they are sent with; see [`Postgres::plan_once`].
    ///
    /// # Errors
    /// What the database said.
    pub async fn plan_for_values(&self) -> Result<(), DbErr> {
        match self.postgres().await {
            Some(mut postgres) => postgres.plan_once(false).await,
            None => Ok(()),
        }
    }

    /// Begins the transaction of the next statement, for which a pooler gives out a connection of the
    /// server. Without a pooler there is nothing to do.
    ///
    /// # Errors
    /// The pooler has no connection. Nothing was written.
    pub async fn begin_pooled(&self) -> Result<(), DbErr> {
        match self.postgres().await {
            Some(mut postgres) => postgres.begin_pooled().await,
            None => Ok(()),
        }
    }

    /// Begins a transaction of several statements. On SQLite it takes the lock for writing at once.
    ///
    /// # Errors
    /// Nothing has begun.
    pub async fn begin(&self) -> Result<(), DbErr> {
        match self.postgres().await {
            Some(mut postgres) => postgres.begin_transaction().await,
            None => {
                let begin = match self.get_database_backend() {
                    DbBackend::MySql => "START TRANSACTION",
                    _ => "BEGIN IMMEDIATE",
                };
                self.execute_unprepared(begin).await.map(drop)
            }
        }
    }

    /// Commits the transaction that [`Self::begin`] has begun.
    ///
    /// # Errors
    /// What the database said; it may have committed all the same.
    pub async fn commit(&self) -> Result<(), DbErr> {
        self.end("COMMIT").await
    }

    /// Rolls back the transaction that [`Self::begin`] has begun.
    ///
    /// # Errors
    /// What the database said. Nothing was committed.
    pub async fn roll_back(&self) -> Result<(), DbErr> {
        self.end("ROLLBACK").await
    }

    async fn end(&self, end: &'static str) -> Result<(), DbErr> {
        match self.postgres().await {
            Some(mut postgres) => postgres.end_transaction(end).await,
            None => self.execute_unprepared(end).await.map(drop),
        }
    }

    /// Whether it plans its statements once; an engine other than PostgreSQL is never asked to.
    pub(crate) fn plans_once(&mut self) -> bool {
        match &mut self.driver {
            Driver::Postgres(postgres) => postgres.get_mut().plans_once(),
            Driver::MySql(_) | Driver::Sqlite(_) => false,
        }
    }

    /// Whether a transaction of a pooler has begun whose statement was not sent.
    pub(crate) fn has_begun_pooled(&mut self) -> bool {
        match &mut self.driver {
            Driver::Postgres(postgres) => postgres.get_mut().has_begun(),
            Driver::MySql(_) | Driver::Sqlite(_) => false,
        }
    }

    /// Asks for a sign of life. A pooler needs a connection of the server to give one, so there this
    /// begins the next transaction, as [`Self::begin_pooled`] does.
    ///
    /// PostgreSQL then plans each statement anew: of a table that has grown, the plan that was made when it was small
    /// may read the whole.
    ///
    /// # Errors
    /// The database gave no sign.
    pub async fn ping(&self) -> Result<(), DbErr> {
        on!(
            self,
            postgres => postgres.ping().await,
            connection => connection.ping().await.map_err(statement_error)
        )
    }

    /// Tells the server that the session ends.
    ///
    /// # Errors
    /// The server could not be told.
    pub async fn close(self) -> Result<(), DbErr> {
        let closed = match self.driver {
            Driver::Postgres(postgres) => postgres.into_inner().connection.close().await,
            Driver::MySql(connection) => connection.into_inner().close().await,
            Driver::Sqlite(connection) => connection.into_inner().close().await,
        };
        closed.map_err(statement_error)
    }

    /// Has the driver prepare its statements anew, where one that was prepared before the schema changed may go on to
    /// fail. On SQLite it would even end the driver's thread. A compound statement of MariaDB keeps to the tables
    /// of the triggers that it found when it was prepared.
    pub async fn forget_statements(&self) {
        // It fails only where the next statement does, too.
        let _ = match &self.driver {
            Driver::Postgres(_) => Ok(()),
            Driver::MySql(connection) => connection.lock().await.clear_cached_statements().await,
            Driver::Sqlite(connection) => connection.lock().await.clear_cached_statements().await,
        };
    }

    /// Sends the data of a `COPY … FROM STDIN`, which only PostgreSQL knows.
    ///
    /// # Errors
    /// What the server said.
    pub async fn copy_in(&self, sql: &str, data: Vec<u8>) -> Result<(), DbErr> {
        let Some(mut postgres) = self.postgres().await else {
            return Err(DbErr::BackendNotSupported {
                db: self.get_database_backend().as_str(),
                ctx: "COPY",
            });
        };
        let copy = postgres.connection.copy_in_raw(sql).await;
        let mut copy = copy.map_err(statement_error)?;
        copy.send(data).await.map_err(statement_error)?;
        copy.finish().await.map(drop).map_err(statement_error)
    }
}

fn arguments(statement: &mut Statement) -> SqlxValues {
    SqlxValues(
        statement
            .values
            .take()
            .unwrap_or(sea_orm::sea_query::Values(Vec::new())),
    )
}

#[async_trait::async_trait]
impl ConnectionTrait for Session {
    fn get_database_backend(&self) -> DbBackend {
        match self.driver {
            Driver::Postgres(_) => DbBackend::Postgres,
            Driver::MySql(_) => DbBackend::MySql,
            Driver::Sqlite(_) => DbBackend::Sqlite,
        }
    }

    async fn execute_raw(&self, mut statement: Statement) -> Result<ExecResult, DbErr> {
        let values = arguments(&mut statement);
        let query = AssertSqlSafe(statement.sql);
        on!(
            self,
            postgres => postgres.execute(sqlx::query_with(query, values)).await.map(Into::into),
            connection => {
                let done = sqlx::query_with(query, values).execute(connection).await;
                done.map(Into::into).map_err(statement_error)
            }
        )
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        on!(
            self,
            postgres => postgres.execute_unprepared(sql).await.map(Into::into),
            connection => {
                let done = connection.execute(AssertSqlSafe(sql.to_owned())).await;
                done.map(Into::into).map_err(statement_error)
            }
        )
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        // Not the driver's `fetch_optional`: on SQLite it stops at the first row, before the
        // statement is over and, with that, before it is committed.
        Ok(self.query_all_raw(statement).await?.into_iter().next())
    }

    async fn query_all_raw(&self, mut statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let values = arguments(&mut statement);
        let query = AssertSqlSafe(statement.sql);
        on!(
            self,
            postgres => {
                let rows = postgres.fetch_all(sqlx::query_with(query, values)).await?;
                Ok(rows.into_iter().map(Into::into).collect())
            },
            connection => {
                let rows = sqlx::query_with(query, values).fetch_all(connection).await;
                rows.map(|rows| rows.into_iter().map(Into::into).collect())
                    .map_err(statement_error)
            }
        )
    }
}
