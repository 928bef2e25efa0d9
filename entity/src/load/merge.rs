//! How staged lines get into the table `items`.

use std::time::{Duration, Instant};

use database::{Failure, Session};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement};
use tokio::time::sleep;

use crate::{
    load::{
        dialect::Dialect,
        line::OnConflict,
        outcome::{LoadError, Loaded},
    },
    write::change::WriteError,
};

/// Lines merged by one statement. So that others wait only briefly where a statement as a whole
/// locks something: MariaDB's counter of ids.
const CHUNK_LINES: u64 = 5_000;
/// How often a merge is run again that lost against other writers.
const MAX_RERUNS: u32 = 10;
/// How long a merge is tried again that finds a key locked where the engine does not wait for it.
const LOCK_TIME: Duration = Duration::from_mins(1);
/// How long one chunk of it is. Then everything is undone: whoever has the lock may be waiting for
/// what was merged before.
const CHUNK_LOCK_TIME: Duration = Duration::from_secs(1);
/// How long others have the table for themselves in between.
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
        let Self {
            dialect,
            on_conflict,
            lines,
            ..
        } = self;
        let row = self.query_one(dialect.existing, Vec::new()).await?;
        let staged = number(&row, "staged")?;
        let existing = number(&row, "existing")?;
        let (created, updated) = match on_conflict {
            OnConflict::Error if existing > 0 => {
                let line = row.try_get::<i64>("", "first_line")?;
                let key = self
                    .query_one(dialect.key_of_line, vec![line.into()])
                    .await?;
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
            skipped: lines - created - updated,
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
            match self.merge_once(&mut progress).await {
                Ok(loaded) => {
                    return Ok(Merged {
                        session: self.session,
                        loaded,
                    });
                }
                Err(error) => match Failure::of(&error) {
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
                        // Names the line; was the key deleted meanwhile, the next run succeeds.
                        self.preview().await?;
                    }
                    _ => return Err(error.into()),
                },
            }
        }
        Err(WriteError::Contended.into())
    }

    async fn undo(&self) -> Result<(), DbErr> {
        let Self {
            session, dialect, ..
        } = self;
        session.execute_unprepared(dialect.undo).await.map(drop)
    }

    async fn merge_once(&self, progress: &mut impl FnMut(Progress)) -> Result<Loaded, DbErr> {
        let Self {
            session,
            dialect,
            lines,
            ..
        } = self;
        session.execute_unprepared(dialect.begin).await?;
        let mut loaded = Loaded::default();
        // No key is empty, so all are above this.
        let mut above = String::new();
        while let Some(chunk) = self.chunk_above(&above).await? {
            let (created, updated) = self.merge_when_unlocked(&above, &chunk).await?;
            loaded.created += created;
            loaded.updated += updated;
            progress(Progress::Merged(chunk.lines));
            above = chunk.last_key;
        }
        loaded.skipped = lines - loaded.created - loaded.updated;
        Ok(loaded)
    }

    async fn chunk_above(&self, above: &str) -> Result<Option<Chunk>, DbErr> {
        let values = vec![above.into(), (CHUNK_LINES as i64).into()];
        let row = self.query_one(self.dialect.chunk, values).await?;
        let Some(last_key) = row.try_get("", "last_key")? else {
            return Ok(None);
        };
        Ok(Some(Chunk {
            last_key,
            lines: number(&row, "staged")?,
        }))
    }

    async fn merge_when_unlocked(&self, above: &str, chunk: &Chunk) -> Result<(u64, u64), DbErr> {
        let Self {
            session, dialect, ..
        } = self;
        if dialect.waits {
            return self.merge_chunk(above, chunk).await;
        }
        let deadline = Instant::now() + CHUNK_LOCK_TIME;
        loop {
            session.execute_unprepared("SAVEPOINT chunk").await?;
            match self.merge_chunk(above, chunk).await {
                Err(error)
                    if Failure::of(&error) == Failure::Locked && Instant::now() < deadline =>
                {
                    // There is none if the server is set to take all of the transaction back.
                    session
                        .execute_unprepared("ROLLBACK TO SAVEPOINT chunk")
                        .await?;
                    sleep(LOCK_PAUSE).await;
                }
                done => return done,
            }
        }
    }

    /// How many items it created and updated.
    async fn merge_chunk(&self, above: &str, chunk: &Chunk) -> Result<(u64, u64), DbErr> {
        let Self {
            session,
            dialect,
            on_conflict,
            ..
        } = self;
        let statement = |sql| {
            let values = [above.into(), chunk.last_key.as_str().into()];
            Statement::from_sql_and_values(session.get_database_backend(), sql, values)
        };
        let merge = match on_conflict {
            OnConflict::Error => dialect.create,
            OnConflict::Skip => dialect.skip,
            OnConflict::Overwrite if dialect.returns_versions => {
                let rows = session.query_all_raw(statement(dialect.overwrite)).await?;
                let mut created = 0;
                for row in &rows {
                    // An update makes the version at least 2.
                    created += u64::from(row.try_get::<i64>("", "version")? == 1);
                }
                return Ok((created, rows.len() as u64 - created));
            }
            OnConflict::Overwrite => dialect.overwrite,
        };
        let affected = session.execute_raw(statement(merge)).await?.rows_affected();
        Ok(match on_conflict {
            OnConflict::Error | OnConflict::Skip => (affected, 0),
            OnConflict::Overwrite => (2 * chunk.lines - affected, affected - chunk.lines),
        })
    }

    async fn query_one(
        &self,
        sql: &str,
        values: Vec<sea_orm::Value>,
    ) -> Result<QueryResult, DbErr> {
        let backend = self.session.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, values);
        let row = self.session.query_one_raw(statement).await?;
        row.ok_or_else(|| DbErr::RecordNotFound("a row of an aggregate".to_owned()))
    }
}

/// How far a merge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// At its beginning, perhaps again.
    Begun,
    /// So many lines further.
    Merged(u64),
}

struct Chunk {
    last_key: String,
    lines: u64,
}

/// All lines merged, but not for good.
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
        // Committed is committed.
        let _ = self.session.close().await;
        Ok(self.loaded)
    }
}

fn number(row: &QueryResult, column: &str) -> Result<u64, DbErr> {
    Ok(row.try_get::<i64>("", column)?.unsigned_abs())
}
