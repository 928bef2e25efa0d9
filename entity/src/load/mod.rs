//! Many items at once, all or nothing.
//!
//! Lines are first *staged* in a temporary table of the session, which touches nothing that others
//! use, however long it takes. Then they are *merged* into `items` in one transaction, in chunks in
//! the order of their keys: everybody who writes several keys locks them in this order, so nobody
//! waits in a circle. Until [`Merged::commit`] nothing is decided, and dropping any of the stages
//! leaves no trace.

mod dialect;
mod stage;

use std::time::{Duration, Instant};

use database::{Failure, Session};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement};
use tokio::time::sleep;

use self::dialect::Dialect;
use crate::{Key, Value, write::WriteError};

/// Lines merged by one statement. So that others wait only briefly where a statement as a whole
/// locks something: MariaDB's counter of ids.
const CHUNK_LINES: u64 = 5_000;
/// Lines are as good as sorted if at most one in so many is out of order.
const ORDERLY_LINES: u64 = 100;
/// How often a merge is run again that lost against other writers.
const MAX_RERUNS: u32 = 10;
/// How long a merge is tried again that finds a key locked where the engine does not wait for it.
const LOCK_TIME: Duration = Duration::from_mins(1);
/// How long one chunk of it is. Then everything is undone: whoever has the lock may be waiting for
/// what was merged before.
const CHUNK_LOCK_TIME: Duration = Duration::from_secs(1);
/// How long others have the table for themselves in between.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// An item to store, and the number of the line it stands on.
#[derive(Clone, Debug)]
pub struct Line {
    pub number: u64,
    pub key: Key,
    pub value: Value,
}

/// What to do with a key that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// Store nothing at all. Nor may a key be on two lines.
    Error,
    /// Leave it as it is. Of a key on several lines the first counts.
    Skip,
    /// Update it. Of a key on several lines the last counts.
    Overwrite,
}

/// What became of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    pub created: u64,
    pub updated: u64,
    pub skipped: u64,
}

/// Why nothing was stored, but for an unknown outcome.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("line {again}: the key {key:?} is on line {first} already")]
    Repeated { key: String, first: u64, again: u64 },
    /// Its line is the first of so many.
    #[error("line {line}: the key {key:?} exists already")]
    Exists { key: String, line: u64, lines: u64 },
    #[error("{0}")]
    Write(#[from] WriteError),
}

impl From<DbErr> for LoadError {
    /// Of a statement before `COMMIT`, without which nothing is written.
    fn from(error: DbErr) -> Self {
        Self::Write(WriteError::NotWritten(error))
    }
}

/// Lines being staged.
pub struct Load {
    session: Session,
    dialect: &'static Dialect,
    on_conflict: OnConflict,
    lines: u64,
    last_key: String,
    /// How often a line did not come after the one before it in the order of the keys. Never in
    /// an export, so that then no key comes twice.
    disorder: u64,
}

impl Load {
    /// # Errors
    /// What the database said.
    pub async fn begin(session: Session, on_conflict: OnConflict) -> Result<Self, LoadError> {
        let dialect = Dialect::of(session.get_database_backend());
        for sql in dialect.prepare {
            session.execute_unprepared(sql).await?;
        }
        Ok(Self {
            session,
            dialect,
            on_conflict,
            lines: 0,
            last_key: String::new(),
            disorder: 0,
        })
    }

    /// Takes some lines, a mebibyte or so: they are sent as one message.
    ///
    /// # Errors
    /// What the database said.
    pub async fn stage(&mut self, lines: Vec<Line>) -> Result<(), LoadError> {
        let Some(last) = lines.last() else {
            return Ok(());
        };
        let mut before = self.last_key.as_str();
        for line in &lines {
            self.disorder += u64::from(line.key.as_str() <= before);
            before = line.key.as_str();
        }
        self.last_key = last.key.as_str().to_owned();
        self.lines += lines.len() as u64;
        stage::send(&self.session, lines).await?;
        Ok(())
    }

    /// That was all.
    ///
    /// # Errors
    /// [`LoadError::Repeated`], or what the database said.
    pub async fn staged(self) -> Result<Staged, LoadError> {
        let index = if self.disorder > self.lines / ORDERLY_LINES {
            self.dialect.index_unsorted
        } else {
            self.dialect.index
        };
        let keep = match self.on_conflict {
            _ if self.disorder == 0 => &[],
            OnConflict::Error => &[],
            OnConflict::Skip => self.dialect.keep_first,
            OnConflict::Overwrite => self.dialect.keep_last,
        };
        for sql in index.iter().chain(keep) {
            self.session.execute_unprepared(sql).await?;
        }
        if self.disorder > 0 && self.on_conflict == OnConflict::Error {
            self.refuse_repeated().await?;
        }
        Ok(Staged(self))
    }

    async fn refuse_repeated(&self) -> Result<(), LoadError> {
        let Self {
            session, dialect, ..
        } = self;
        let backend = session.get_database_backend();
        let statement = Statement::from_string(backend, dialect.repeated);
        match session.query_one_raw(statement).await? {
            None => Ok(()),
            Some(row) => Err(LoadError::Repeated {
                key: row.try_get("", "key")?,
                first: number(&row, "first_line")?,
                again: number(&row, "last_line")?,
            }),
        }
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

/// All lines, staged.
pub struct Staged(Load);

impl Staged {
    pub fn lines(&self) -> u64 {
        self.0.lines
    }

    /// What [`merge`](Self::merge) would do, were it done now. Only reads.
    ///
    /// # Errors
    /// [`LoadError::Exists`], or what the database said.
    pub async fn preview(&self) -> Result<Loaded, LoadError> {
        let Load {
            dialect,
            on_conflict,
            lines,
            ..
        } = &self.0;
        let row = self.0.query_one(dialect.existing, Vec::new()).await?;
        let staged = number(&row, "staged")?;
        let existing = number(&row, "existing")?;
        let (created, updated) = match on_conflict {
            OnConflict::Error if existing > 0 => {
                let line = row.try_get::<i64>("", "first_line")?;
                let key = self
                    .0
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
                        load: self.0,
                        loaded,
                    });
                }
                Err(error) => match Failure::of(&error) {
                    Failure::RolledBack => {
                        self.undo().await?;
                        reruns += 1;
                    }
                    Failure::Locked if !self.0.dialect.waits && Instant::now() < deadline => {
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
        let Load {
            session, dialect, ..
        } = &self.0;
        session.execute_unprepared(dialect.undo).await.map(drop)
    }

    async fn merge_once(&self, progress: &mut impl FnMut(Progress)) -> Result<Loaded, DbErr> {
        let Load {
            session,
            dialect,
            lines,
            ..
        } = &self.0;
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
        let row = self.0.query_one(self.0.dialect.chunk, values).await?;
        let Some(last_key) = row.try_get("", "last_key")? else {
            return Ok(None);
        };
        Ok(Some(Chunk {
            last_key,
            lines: number(&row, "staged")?,
        }))
    }

    async fn merge_when_unlocked(&self, above: &str, chunk: &Chunk) -> Result<(u64, u64), DbErr> {
        let Load {
            session, dialect, ..
        } = &self.0;
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
        let Load {
            session,
            dialect,
            on_conflict,
            ..
        } = &self.0;
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
    load: Load,
    loaded: Loaded,
}

impl Merged {
    /// Must run to its end: dropping this future leaves the outcome unknown.
    ///
    /// # Errors
    /// Nothing was stored, or it is unknown whether it was.
    pub async fn commit(self) -> Result<Loaded, LoadError> {
        let done = self.load.session.execute_unprepared("COMMIT").await;
        done.map_err(WriteError::of)?;
        // Committed is committed.
        let _ = self.load.session.close().await;
        Ok(self.loaded)
    }
}

fn number(row: &QueryResult, column: &str) -> Result<u64, DbErr> {
    Ok(row.try_get::<i64>("", column)?.unsigned_abs())
}
