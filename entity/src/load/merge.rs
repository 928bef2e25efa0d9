//! How staged lines get into the table `items`.

use std::time::{Duration, Instant};

use database::{Failure, Session};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement, Value, sea_query::SelectStatement};
use tokio::time::sleep;

use crate::{
    load::{
        dialect::Dialect,
        line::OnConflict,
        outcome::{LoadError, Loaded},
        queries,
        unstored::{create_absent, first_ignored, first_refused},
    },
    write::change::WriteError,
};

/// Lines merged by one statement. MariaDB locks its counter of ids for a whole statement, so other
/// writers wait as long as one takes.
const CHUNK_LINES: u64 = 5_000;
/// How often a merge is run again after it lost against other writers.
const MAX_RERUNS: u32 = 10;
/// How long a merge that meets locked keys is tried again, where the session does not wait for locks.
const LOCK_TIME: Duration = Duration::from_mins(1);
/// How long one chunk of a merge is tried again. Then the whole merge is undone: the transaction with
/// the lock may itself be waiting for what was merged before.
const CHUNK_LOCK_TIME: Duration = Duration::from_secs(1);
/// How long other writers have the table to themselves between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// All lines, staged.
pub struct Staged {
    pub(super) session: Session,
    pub(super) dialect: &'static Dialect,
    pub(super) on_conflict: OnConflict,
    pub(super) lines: u64,
}

impl Staged {
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// What [`merge`](Self::merge) would do, were it done now. Only reads.
    ///
    /// # Errors
    /// [`LoadError::Exists`], or what the database said.
    pub async fn preview(&self) -> Result<Loaded, LoadError> {
        let row = self.query_one(&queries::existing()).await?;
        let staged = number(&row, "staged")?;
        let existing = number(&row, "existing")?;
        let (created, updated) = match self.on_conflict {
            OnConflict::Error if existing > 0 => {
                let line = row.try_get::<i64>("", "first_line")?;
                let key = self.query_one(&queries::key_of_line(line)).await?;
                return Err(LoadError::Exists {
                    key: key.try_get("", "key")?,
                    line: line.unsigned_abs(),
                    lines: existing,
                });
            }
            OnConflict::Error | OnConflict::Skip => (staged - existing, 0),
            OnConflict::Overwrite => (staged - existing, existing),
        };
        Ok(Loaded {
            created,
            updated,
            skipped: self.lines - created - updated,
        })
    }

    /// Merges chunk by chunk, telling `progress` the lines of each. Begins anew if another
    /// transaction was in the way.
    ///
    /// # Errors
    /// [`LoadError::Exists`], or what the database said.
    pub async fn merge(self, mut progress: impl FnMut(Progress)) -> Result<Merged, LoadError> {
        let deadline = Instant::now() + LOCK_TIME;
        let mut reruns = 0;
        while reruns < MAX_RERUNS {
            progress(Progress::Begun);
            let error = match self.merge_once(&mut progress).await {
                Ok(loaded) => {
                    return Ok(Merged {
                        session: self.session,
                        loaded,
                    });
                }
                Err(LoadError::Write(WriteError::NotWritten(error))) => error,
                Err(error) => return Err(error),
            };
            match Failure::of(&error) {
                Failure::RolledBack => {
                    self.undo().await?;
                    reruns += 1;
                }
                Failure::Locked if !self.dialect.waits && Instant::now() < deadline => {
                    self.undo().await?;
                    sleep(LOCK_PAUSE).await;
                }
                Failure::Duplicate => {
                    self.undo().await?;
                    reruns += 1;
                    // Names the line. If the key was deleted meanwhile, the next run succeeds.
                    self.preview().await?;
                    if reruns == MAX_RERUNS {
                        return Err(error.into());
                    }
                }
                _ => return Err(error.into()),
            }
        }
        Err(WriteError::Contended.into())
    }

    async fn undo(&self) -> Result<(), DbErr> {
        let undone = self.session.execute_unprepared(self.dialect.undo).await;
        undone.map(drop)
    }

    async fn merge_once(&self, progress: &mut impl FnMut(Progress)) -> Result<Loaded, LoadError> {
        self.session.execute_unprepared(self.dialect.begin).await?;
        let mut loaded = Loaded::default();
        // No key is empty, so all are above this.
        let mut above = String::new();
        while let Some(chunk) = self.chunk_above(&above, CHUNK_LINES).await? {
            let (created, updated) = self.merge_when_unlocked(&above, &chunk).await?;
            loaded.created += created;
            loaded.updated += updated;
            progress(Progress::Merged(chunk.lines));
            above = chunk.last_key;
        }
        loaded.skipped = self.lines - loaded.created - loaded.updated;
        Ok(loaded)
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

    /// [`merge_chunk`](Self::merge_chunk), again and again for a while if it meets a lock.
    async fn merge_when_unlocked(
        &self,
        above: &str,
        chunk: &Chunk,
    ) -> Result<(u64, u64), LoadError> {
        let deadline = Instant::now() + CHUNK_LOCK_TIME;
        loop {
            self.session.execute_unprepared("SAVEPOINT chunk").await?;
            let error = match self.merge_chunk(above, chunk).await {
                Err(LoadError::Write(WriteError::NotWritten(error))) => error,
                done => return done,
            };
            match Failure::of(&error) {
                Failure::Locked if !self.dialect.waits && Instant::now() < deadline => {
                    // Fails where the server is set to take back the whole transaction on a lock
                    // wait timeout, and the savepoint with it.
                    self.undo_chunk().await?;
                    sleep(LOCK_PAUSE).await;
                }
                Failure::Refused => return Err(first_refused(self, above, chunk, error).await),
                _ => return Err(error.into()),
            }
        }
    }

    pub(super) async fn undo_chunk(&self) -> Result<(), DbErr> {
        let back = "ROLLBACK TO SAVEPOINT chunk";
        self.session.execute_unprepared(back).await.map(drop)
    }

    /// How many items it created and updated.
    pub(super) async fn merge_chunk(
        &self,
        above: &str,
        chunk: &Chunk,
    ) -> Result<(u64, u64), LoadError> {
        let sql = match self.on_conflict {
            OnConflict::Error => self.dialect.create,
            OnConflict::Skip => self.dialect.skip,
            OnConflict::Overwrite => self.dialect.overwrite,
        };
        let values = [above.into(), chunk.last_key.as_str().into()];
        let merge = self.statement(sql, values.into());
        if self.on_conflict == OnConflict::Overwrite && self.dialect.returns_versions {
            return self.overwrite_chunk(merge, above, chunk).await;
        }
        let affected = self.session.execute_raw(merge).await?.rows_affected();
        match self.on_conflict {
            OnConflict::Error | OnConflict::Skip if affected < chunk.lines => {
                let absent = create_absent(self, above, &chunk.last_key).await?;
                Ok((affected + absent, 0))
            }
            OnConflict::Error | OnConflict::Skip => Ok((affected, 0)),
            OnConflict::Overwrite => Ok((2 * chunk.lines - affected, affected - chunk.lines)),
        }
    }

    /// [`merge_chunk`](Self::merge_chunk) where the statement returns what it has stored.
    async fn overwrite_chunk(
        &self,
        merge: Statement,
        above: &str,
        chunk: &Chunk,
    ) -> Result<(u64, u64), LoadError> {
        let rows = self.session.query_all_raw(merge).await?;
        if (rows.len() as u64) < chunk.lines {
            return Err(first_ignored(self, &rows, above, &chunk.last_key).await?);
        }
        let mut created = 0;
        for row in &rows {
            // An update makes the version at least 2.
            created += u64::from(row.try_get::<i64>("", "version")? == 1);
        }
        Ok((created, rows.len() as u64 - created))
    }

    pub(super) fn statement(&self, sql: &str, values: Vec<Value>) -> Statement {
        Statement::from_sql_and_values(self.session.get_database_backend(), sql, values)
    }

    async fn query_one(&self, select: &SelectStatement) -> Result<QueryResult, DbErr> {
        let row = self.session.query_one(select).await?;
        row.ok_or_else(|| DbErr::RecordNotFound("a row of an aggregate".to_owned()))
    }
}

/// How far a merge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// At its beginning, perhaps again.
    Begun,
    /// One more chunk, of this many lines, is merged.
    Merged(u64),
}

pub(super) struct Chunk {
    pub(super) last_key: String,
    pub(super) lines: u64,
}

/// All lines are merged, but not yet committed.
pub struct Merged {
    session: Session,
    loaded: Loaded,
}

impl Merged {
    /// Must run to its end: dropping this future leaves the outcome unknown.
    ///
    /// # Errors
    /// Nothing was stored, or it is unknown whether it was.
    pub async fn commit(self) -> Result<Loaded, LoadError> {
        let done = self.session.execute_unprepared("COMMIT").await;
        done.map_err(WriteError::of)?;
        // The lines are stored, however the session ends.
        let _ = self.session.close().await;
        Ok(self.loaded)
    }
}

pub(super) fn number(row: &QueryResult, column: &str) -> Result<u64, DbErr> {
    Ok(row.try_get::<i64>("", column)?.unsigned_abs())
}
