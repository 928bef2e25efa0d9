//! One connection of a pool, held.
//!
//! SeaORM lends a connection for one statement at a time. A write must know that it has a
//! connection before it is sent: from then on its outcome may be unknown.

use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr,
    Statement,
    sqlx::{self, AssertSqlSafe, Executor, MySql, Postgres, Sqlite, pool::PoolConnection},
};
use sea_query_sqlx::SqlxValues;
use tokio::{sync::Mutex, time::timeout};

/// How long a connection may take to answer the pool's ping when it is given back.
const PING_TIME: Duration = Duration::from_secs(1);

/// A connection that nobody else gets meanwhile.
pub struct Held {
    connection: Connection,
    for_one_use: bool,
}

enum Connection {
    Postgres(Mutex<PoolConnection<Postgres>>),
    MySql(Mutex<PoolConnection<MySql>>),
    Sqlite(Mutex<PoolConnection<Sqlite>>),
}

/// Runs the same on the connection of each engine.
macro_rules! on {
    ($held:expr, $connection:ident => $run:expr) => {
        match &$held.connection {
            Connection::Postgres(c) => {
                let $connection = &mut **c.lock().await;
                $run
            }
            Connection::MySql(c) => {
                let $connection = &mut **c.lock().await;
                $run
            }
            Connection::Sqlite(c) => {
                let $connection = &mut **c.lock().await;
                $run
            }
        }
    };
}

impl Held {
    /// # Errors
    /// No connection could be had in the time the pool allows.
    pub async fn acquire(pool: &DatabaseConnection) -> Result<Self, DbErr> {
        let connection = match pool.get_database_backend() {
            DbBackend::Postgres => {
                let lent = pool.get_postgres_connection_pool().acquire().await;
                Connection::Postgres(Mutex::new(lent.map_err(acquire_error)?))
            }
            DbBackend::MySql => {
                let lent = pool.get_mysql_connection_pool().acquire().await;
                Connection::MySql(Mutex::new(lent.map_err(acquire_error)?))
            }
            _ => {
                let lent = pool.get_sqlite_connection_pool().acquire().await;
                Connection::Sqlite(Mutex::new(lent.map_err(acquire_error)?))
            }
        };
        Ok(Self {
            connection,
            for_one_use: false,
        })
    }

    /// The connection ends with this: nothing of the session is left to the next borrower.
    #[must_use]
    pub fn for_one_use(mut self) -> Self {
        self.for_one_use = true;
        self
    }

    /// Sends the data of a `COPY … FROM STDIN`, which only PostgreSQL knows.
    ///
    /// # Errors
    /// What the server said.
    pub(crate) async fn copy_in(&self, sql: &str, data: Vec<u8>) -> Result<(), DbErr> {
        let Connection::Postgres(connection) = &self.connection else {
            return Err(DbErr::BackendNotSupported {
                db: self.get_database_backend().as_str(),
                ctx: "COPY",
            });
        };
        let mut connection = connection.lock().await;
        let mut copy = connection.copy_in_raw(sql).await.map_err(statement_error)?;
        copy.send(data).await.map_err(statement_error)?;
        copy.finish().await.map(drop).map_err(statement_error)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let for_one_use = self.for_one_use;
        match &mut self.connection {
            Connection::Postgres(c) => give_back(c.get_mut(), for_one_use),
            Connection::MySql(c) => give_back(c.get_mut(), for_one_use),
            Connection::Sqlite(c) => give_back(c.get_mut(), for_one_use),
        }
    }
}

/// The pool pings each connection it gets back, and would wait for the answer without end: when
/// the network is gone the place in the pool would never be free again.
fn give_back<DB: sqlx::Database>(connection: &mut PoolConnection<DB>, for_one_use: bool) {
    if for_one_use {
        connection.close_on_drop();
    } else {
        tokio::spawn(timeout(PING_TIME, connection.return_to_pool()));
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
        match self.connection {
            Connection::Postgres(_) => DbBackend::Postgres,
            Connection::MySql(_) => DbBackend::MySql,
            Connection::Sqlite(_) => DbBackend::Sqlite,
        }
    }

    async fn execute_raw(&self, mut statement: Statement) -> Result<ExecResult, DbErr> {
        let values = arguments(&mut statement);
        let query = AssertSqlSafe(statement.sql);
        on!(self, connection => {
            let done = sqlx::query_with(query, values).execute(connection).await;
            done.map(Into::into).map_err(statement_error)
        })
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let query = AssertSqlSafe(sql.to_owned());
        on!(self, connection => {
            let done = connection.execute(query).await;
            done.map(Into::into).map_err(statement_error)
        })
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        // Not the driver's `fetch_optional`: on SQLite it stops at the first row, before the
        // statement is over and, with that, before it is committed.
        Ok(self.query_all_raw(statement).await?.into_iter().next())
    }

    async fn query_all_raw(&self, mut statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let values = arguments(&mut statement);
        let query = AssertSqlSafe(statement.sql);
        on!(self, connection => {
            let rows = sqlx::query_with(query, values).fetch_all(connection).await;
            rows.map(|rows| rows.into_iter().map(Into::into).collect())
                .map_err(statement_error)
        })
    }
}
