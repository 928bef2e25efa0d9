//! One connection of a pool, held.
//!
//! SeaORM lends a connection for one statement at a time. A write must know that it has a
//! connection before it is sent: from then on its outcome may be unknown.

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr,
    Statement,
    sqlx::{self, AssertSqlSafe, Executor, Postgres, Sqlite, pool::PoolConnection},
};
use sea_query_sqlx::SqlxValues;
use tokio::sync::Mutex;

/// A connection to PostgreSQL or SQLite, the engines on which every write is one statement.
pub struct Held(Connection);

enum Connection {
    Postgres(Mutex<PoolConnection<Postgres>>),
    Sqlite(Mutex<PoolConnection<Sqlite>>),
}

impl Held {
    /// `None` on MySQL and MariaDB, where a transaction holds the connection.
    ///
    /// # Errors
    /// No connection could be had in the time the pool allows.
    pub async fn acquire(pool: &DatabaseConnection) -> Result<Option<Self>, DbErr> {
        let connection = match pool.get_database_backend() {
            DbBackend::Postgres => {
                let lent = pool.get_postgres_connection_pool().acquire().await;
                Connection::Postgres(Mutex::new(lent.map_err(acquire_error)?))
            }
            DbBackend::Sqlite => {
                let lent = pool.get_sqlite_connection_pool().acquire().await;
                Connection::Sqlite(Mutex::new(lent.map_err(acquire_error)?))
            }
            _ => return Ok(None),
        };
        Ok(Some(Self(connection)))
    }
}

fn acquire_error(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(error.into()))
}

fn statement_error(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
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
impl ConnectionTrait for Held {
    fn get_database_backend(&self) -> DbBackend {
        match self.0 {
            Connection::Postgres(_) => DbBackend::Postgres,
            Connection::Sqlite(_) => DbBackend::Sqlite,
        }
    }

    async fn execute_raw(&self, mut statement: Statement) -> Result<ExecResult, DbErr> {
        let values = arguments(&mut statement);
        let query = AssertSqlSafe(statement.sql);
        match &self.0 {
            Connection::Postgres(c) => sqlx::query_with(query, values)
                .execute(&mut **c.lock().await)
                .await
                .map(Into::into),
            Connection::Sqlite(c) => sqlx::query_with(query, values)
                .execute(&mut **c.lock().await)
                .await
                .map(Into::into),
        }
        .map_err(statement_error)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let query = AssertSqlSafe(sql.to_owned());
        match &self.0 {
            Connection::Postgres(c) => c.lock().await.execute(query).await.map(Into::into),
            Connection::Sqlite(c) => c.lock().await.execute(query).await.map(Into::into),
        }
        .map_err(statement_error)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        // Not the driver's `fetch_optional`: on SQLite it stops at the first row, before the
        // statement is over and, with that, before it is committed.
        Ok(self.query_all_raw(statement).await?.into_iter().next())
    }

    async fn query_all_raw(&self, mut statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let values = arguments(&mut statement);
        let query = AssertSqlSafe(statement.sql);
        match &self.0 {
            Connection::Postgres(c) => sqlx::query_with(query, values)
                .fetch_all(&mut **c.lock().await)
                .await
                .map(|rows| rows.into_iter().map(Into::into).collect()),
            Connection::Sqlite(c) => sqlx::query_with(query, values)
                .fetch_all(&mut **c.lock().await)
                .await
                .map(|rows| rows.into_iter().map(Into::into).collect()),
        }
        .map_err(statement_error)
    }
}
