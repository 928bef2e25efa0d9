//! How staged lines get into the table `items`.

use std::time::{Duration, Instant};

use database::{Failure, Session, is_of_taken_id};
use sea_orm::ConnectionTrait;
use tokio::time::sleep;

use crate::{
    load::{
        chunk::LOCK_PAUSE,
        expired::leave_out_expired_lines,
        line::OnConflict,
        outcome::{LoadError, Loaded},
        queries,
        refused::merge_or_name,
        staged::{CHUNK_LINES, Staged, number},
    },
    write::change::WriteError,
};

/// How often a merge is run again after it lost against other writers.
const MAX_RERUNS: u32 = 10;
/// How long a merge that meets locked keys is tried again, where the session does not wait for locks.
const LOCK_TIME: Duration = Duration::from_mins(1);

impl Staged {
    /// What [`merge`](Self::merge) would do, were it done now. Only reads.
    ///
    /// # Errors
    /// [`LoadError::Exists`], or what the database said.
    pub async fn preview(&self) -> Result<Loaded, LoadError> {
        let row = self
            .query_one(&queries::existing(self.session.get_database_backend()))
            .await?;
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
    /// See [`LoadError`].
    pub async fn merge(self, mut progress: impl FnMut(Progress)) -> Result<Merged, LoadError> {
        let deadline = Instant::now() + LOCK_TIME;
        let mut reruns = 0;
        while reruns < MAX_RERUNS {
            progress(Progress::Begun);
            let is_last_run = reruns + 1 == MAX_RERUNS;
            let error = match self.merge_once(is_last_run, &mut progress).await {
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
                Failure::RolledBack if !(is_last_run && is_of_taken_id(&error)) => {
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
                    // Names the line of `OnConflict::Error`, unless the key was deleted meanwhile. The other two modes
                    // allow a key to exist, and only begin anew.
                    self.preview().await?;
                }
                _ => return Err(error.into()),
            }
        }
        Err(WriteError::Contended.into())
    }

    async fn merge_once(
        &self,
        is_last_run: bool,
        progress: &mut impl FnMut(Progress),
    ) -> Result<Loaded, LoadError> {
        // Before the beginning, so that nothing that is undone brings them back.
        leave_out_expired_lines(self).await?;
        self.begin().await?;
        let mut loaded = Loaded::default();
        // No key is empty, so all are above this.
        let mut above = String::new();
        while let Some(chunk) = self.chunk_above(&above, CHUNK_LINES).await? {
            let (created, updated) = merge_or_name(self, &above, &chunk, is_last_run).await?;
            loaded.created += created;
            loaded.updated += updated;
            progress(Progress::Merged(chunk.lines));
            above = chunk.last_key;
        }
        loaded.skipped = self.lines - loaded.created - loaded.updated;
        Ok(loaded)
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
