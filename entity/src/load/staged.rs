//! Staged lines, and what all that merges them asks of them.

use database::Session;
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement, Value, sea_query::SelectStatement};

use crate::load::{dialect::Dialect, line::OnConflict, queries};

/// Lines merged by one statement. MariaDB locks its counter of ids for a whole statement, so other
/// writers wait as long as one takes.
pub(super) const CHUNK_LINES: u64 = 5_000;

/// All lines, staged.
pub struct Staged {
    pub(super) session: Session,
    pub(super) dialect: &'static Dialect,
    pub(super) on_conflict: OnConflict,
    pub(super) lines: u64,
    /// Whether a line has an end.
    pub(super) ends: bool,
}

/// Lines that follow each other in the order of their keys.
pub(super) struct Chunk {
    pub(super) last_key: String,
    pub(super) lines: u64,
}

impl Staged {
    pub fn lines(&self) -> u64 {
        self.lines
    }

    pub(super) async fn chunk_above(&self, above: &str, most: u64) -> Result<Option<Chunk>, DbErr> {
        let row = self.query_one(&queries::chunk(above, most)).await?;
        let Some(last_key) = row.try_get("", "last_key")? else {
            return Ok(None);
        };
        Ok(Some(Chunk {
            last_key,
            lines: number(&row, "staged")?,
        }))
    }

    /// Begins what [`Self::undo`] takes back.
    pub(super) async fn begin(&self) -> Result<(), DbErr> {
        self.execute(self.dialect.begin).await
    }

    pub(super) async fn undo(&self) -> Result<(), DbErr> {
        self.execute(self.dialect.undo).await
    }

    /// Begins what [`Self::undo_chunk`] takes back.
    pub(super) async fn begin_chunk(&self) -> Result<(), DbErr> {
        self.execute("SAVEPOINT chunk").await
    }

    /// Fails if the transaction, and the savepoint with it, is no more.
    pub(super) async fn undo_chunk(&self) -> Result<(), DbErr> {
        self.execute("ROLLBACK TO SAVEPOINT chunk").await
    }

    async fn execute(&self, sql: &str) -> Result<(), DbErr> {
        self.session.execute_unprepared(sql).await.map(drop)
    }

    pub(super) fn statement(&self, sql: &str, values: Vec<Value>) -> Statement {
        Statement::from_sql_and_values(self.session.get_database_backend(), sql, values)
    }

    pub(super) async fn query_one(&self, select: &SelectStatement) -> Result<QueryResult, DbErr> {
        let row = self.session.query_one(select).await?;
        row.ok_or_else(|| DbErr::RecordNotFound("a row of an aggregate".to_owned()))
    }
}

pub(super) fn number(row: &QueryResult, column: &str) -> Result<u64, DbErr> {
    Ok(row.try_get::<i64>("", column)?.unsigned_abs())
}
