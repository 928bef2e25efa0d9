//! A session with PostgreSQL: its own, or one that a pooler gives out for a transaction at a time.
//!
//! The driver prepares a statement in one exchange and runs it in the next. For the next, PgBouncer in
//! transaction mode may give out another connection, where the statement is not prepared, or where its
//! name is another client's. So behind a pooler each statement is a transaction, prepared without a name,
//! under the settings that a session of its own would have. Only the commit of such a transaction can
//! have an unknown outcome.

use std::sync::Arc;

use sea_orm::{
    DbErr,
    sqlx::{
        self, AssertSqlSafe, Executor, IntoArguments, PgConnection,
        postgres::{PgQueryResult, PgRow},
        query::Query,
    },
};

use crate::failure::{Failure, connection_error, statement_error};

/// See [`Session::postgres`](crate::Session::postgres).
pub struct Postgres {
    pub(crate) connection: PgConnection,
    /// Begins each transaction, where a pooler gives out the connection.
    begin: Option<Arc<str>>,
    /// Whether one has begun.
    begun: bool,
    /// Whether it goes on after its first statement, until it is committed or rolled back.
    lasts: bool,
    plans_once: bool,
}

impl Postgres {
    pub(crate) fn new(connection: PgConnection, begin: Option<Arc<str>>) -> Self {
        Self {
            connection,
            begin,
            begun: false,
            lasts: false,
            plans_once: false,
        }
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    pub(crate) fn plans_once(&self) -> bool {
        self.plans_once
    }

    pub(crate) async fn ping(&mut self) -> Result<(), DbErr> {
        match self.begin {
            Some(_) => self.begin_pooled().await,
            None => self.execute_unprepared("DISCARD PLANS").await.map(drop),
        }
    }

    /// Has the server plan each statement once, for whatever values it is sent with, or as it would by itself.
    ///
    /// For a few keys PostgreSQL would plan a statement each time, which takes longer than to run it. But a page of
    /// which it does not know the limit it plans as if it were a tenth of the table. Through a pooler statements have
    /// no name, and are planned each time anyway.
    ///
    /// # Errors
    /// What the database said.
    pub async fn plan_once(&mut self, once: bool) -> Result<(), DbErr> {
        if self.begin.is_some() || self.plans_once == once {
            return Ok(());
        }
        let sql = match once {
            true => "SET plan_cache_mode = force_generic_plan",
            false => "RESET plan_cache_mode",
        };
        self.execute_unprepared(sql).await?;
        self.plans_once = once;
        Ok(())
    }

    /// Begins the transaction of the next statement, if there is a pooler and none has begun.
    pub(crate) async fn begin_pooled(&mut self) -> Result<(), DbErr> {
        if let Some(begin) = &self.begin
            && !self.begun
        {
            let begin = AssertSqlSafe(begin.to_string());
            let begun = self.connection.execute(begin).await;
            begun.map_err(connection_error)?;
            self.begun = true;
        }
        Ok(())
    }

    /// Begins a transaction of several statements, which is ended by [`Self::end_transaction`].
    pub(crate) async fn begin_transaction(&mut self) -> Result<(), DbErr> {
        match self.begin {
            Some(_) => {
                self.begin_pooled().await?;
                self.lasts = true;
                Ok(())
            }
            None => self.execute_unprepared("BEGIN").await.map(|_| ()),
        }
    }

    /// Sends `COMMIT` or `ROLLBACK`.
    pub(crate) async fn end_transaction(&mut self, end: &'static str) -> Result<(), DbErr> {
        let ended = self.connection.execute(end).await;
        self.begun = self.begun && ended.is_err();
        self.lasts = false;
        ended.map(drop).map_err(statement_error)
    }

    /// Runs the query and reads all its rows.
    ///
    /// # Errors
    /// What the database said.
    pub async fn fetch_all<'q, A>(
        &mut self,
        query: Query<'q, sqlx::Postgres, A>,
    ) -> Result<Vec<PgRow>, DbErr>
    where
        A: 'q + Send + IntoArguments<sqlx::Postgres>,
    {
        self.begin_pooled().await?;
        let query = query.persistent(self.begin.is_none());
        let done = query.fetch_all(&mut self.connection).await;
        self.end(done).await
    }

    pub(crate) async fn execute<'q, A>(
        &mut self,
        query: Query<'q, sqlx::Postgres, A>,
    ) -> Result<PgQueryResult, DbErr>
    where
        A: 'q + Send + IntoArguments<sqlx::Postgres>,
    {
        self.begin_pooled().await?;
        let query = query.persistent(self.begin.is_none());
        let done = query.execute(&mut self.connection).await;
        self.end(done).await
    }

    pub(crate) async fn execute_unprepared(&mut self, sql: &str) -> Result<PgQueryResult, DbErr> {
        self.begin_pooled().await?;
        let done = self.connection.execute(AssertSqlSafe(sql.to_owned())).await;
        self.end(done).await
    }

    async fn end<T>(&mut self, done: sqlx::Result<T>) -> Result<T, DbErr> {
        if self.begin.is_none() || self.lasts {
            return done.map_err(statement_error);
        }
        let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = self.connection.execute(end).await;
        self.begun = ended.is_err();
        match (done, ended) {
            (Ok(_), Err(error)) => Err(statement_error(error)),
            // No commit was sent, so nothing was written.
            (Err(_), Err(error)) => Err(connection_error(error)),
            (Err(error), Ok(_)) if Failure::of_cause(&error) == Failure::Unknown => {
                Err(connection_error(error))
            }
            (done, Ok(_)) => done.map_err(statement_error),
        }
    }
}
