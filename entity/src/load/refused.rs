//! Which line of a chunk is why the database does not take the chunk.
//!
//! The chunk is sent once more, because what was in its way may be gone. If it fails in the same way, it is sent in
//! ever smaller parts, of which those that the database takes stay merged, until a line fails that was sent alone.

use database::{Failure, is_of_taken_id};
use sea_orm::{ConnectionTrait, DbErr};

use crate::{
    load::{
        chunk::{Counts, merge_when_unlocked},
        line::OnConflict,
        outcome::LoadError,
        queries,
        staged::{CHUNK_LINES, Chunk, Staged},
        unstored::place,
    },
    write::change::WriteError,
};

/// Merges a chunk. If it is for one of its lines that it cannot, names the line.
///
/// # Errors
/// [`LoadError::Refused`], or what the database said. [`Failure::Duplicate`] means that the key of a line
/// exists.
pub(super) async fn merge_or_name(
    staged: &Staged,
    above: &str,
    chunk: &Chunk,
    is_last_run: bool,
) -> Result<Counts, LoadError> {
    staged.begin_chunk().await?;
    match merge_when_unlocked(staged, above, chunk).await {
        Err(LoadError::Write(WriteError::NotWritten(error)))
            if may_be_of_a_line(&error, is_last_run) =>
        {
            let parts = Parts {
                staged,
                chunk_above: above,
                above: above.to_owned(),
                merged: 0,
                counts: (0, 0),
                failure: Failure::of(&error),
            };
            parts.merge(chunk, error).await
        }
        done => done,
    }
}

/// Whether a trigger, a policy, a constraint or another index may be what refuses one of the lines.
fn may_be_of_a_line(error: &DbErr, is_last_run: bool) -> bool {
    match Failure::of(error) {
        Failure::Duplicate | Failure::Refused | Failure::NoRight | Failure::Cancelled => true,
        // It hardly is for the sake of another transaction every time, and no line chooses its id.
        Failure::RolledBack => is_last_run && !is_of_taken_id(error),
        Failure::Locked
        | Failure::NoRoom
        | Failure::ReadOnly
        | Failure::NotMigrated
        | Failure::NoConnection
        | Failure::Unknown
        | Failure::Unreadable => false,
    }
}

/// The parts of a chunk that failed as a whole.
struct Parts<'a> {
    staged: &'a Staged,
    /// The key below the chunk.
    chunk_above: &'a str,
    /// The last key of the lines of the chunk that are merged.
    above: String,
    /// How many they are.
    merged: u64,
    counts: Counts,
    /// How the chunk failed.
    failure: Failure,
}

impl Parts<'_> {
    async fn merge(mut self, chunk: &Chunk, error: DbErr) -> Result<Counts, LoadError> {
        self.rewind().await?;
        if self.staged.on_conflict == OnConflict::Error
            && self.is_existing_key(&chunk.last_key).await?
        {
            return Err(error.into());
        }
        let mut lines = chunk.lines;
        // At least one of this many next lines is in the way: they failed when they were sent at once.
        let mut suspects = 0;
        while self.merged < chunk.lines {
            let part = self.next(lines).await?;
            match self.try_part(&part).await? {
                Ok(counts) => {
                    self.keep(part, counts).await?;
                    suspects = u64::saturating_sub(suspects, lines);
                }
                Err(refused) if lines == 1 => {
                    return Err(self.refused(&part.last_key, refused).await?);
                }
                Err(_) => suspects = lines,
            }
            lines = match suspects {
                0 => chunk.lines - self.merged,
                suspects => suspects.div_ceil(2),
            };
        }
        match self.failure {
            // Whoever has cancelled it does not want it to go on.
            Failure::Cancelled => Err(error.into()),
            _ => Ok(self.counts),
        }
    }

    /// The next lines above those that are merged.
    async fn next(&self, lines: u64) -> Result<Chunk, DbErr> {
        let next = self.staged.chunk_above(&self.above, lines).await?;
        next.ok_or_else(|| DbErr::RecordNotFound("a staged line".to_owned()))
    }

    /// Merges the next lines. `Ok(Err(…))` if they fail as the chunk did; then they are taken back.
    async fn try_part(&self, part: &Chunk) -> Result<Result<Counts, DbErr>, LoadError> {
        match merge_when_unlocked(self.staged, &self.above, part).await {
            Err(LoadError::Write(WriteError::NotWritten(error)))
                if Failure::of(&error) == self.failure =>
            {
                self.rewind().await?;
                Ok(Err(error))
            }
            done => done.map(Ok),
        }
    }

    /// The part is merged, whatever becomes of the next.
    async fn keep(&mut self, part: Chunk, (created, updated): Counts) -> Result<(), DbErr> {
        self.merged += part.lines;
        self.counts.0 += created;
        self.counts.1 += updated;
        self.above = part.last_key;
        self.staged.begin_chunk().await
    }

    /// What it means that the next line, which has this key, fails alone.
    async fn refused(&self, key: &str, error: DbErr) -> Result<LoadError, DbErr> {
        if self.is_existing_key(key).await? {
            return Ok(error.into());
        }
        let line = queries::lines(&self.above, key);
        let row = self.staged.session.query_one(&line).await?;
        let row = row.ok_or_else(|| DbErr::RecordNotFound("a staged line".to_owned()))?;
        let (key, line) = place(&row)?;
        Ok(LoadError::Refused { key, line, error })
    }

    /// Whether the failure may be that one of the next lines, up to this key, has a key that exists.
    async fn is_existing_key(&self, last: &str) -> Result<bool, DbErr> {
        match (self.failure, self.staged.on_conflict) {
            (Failure::Duplicate, OnConflict::Error | OnConflict::Skip) => {
                let existing = queries::first_existing(&self.above, last);
                Ok(self.staged.session.query_one(&existing).await?.is_some())
            }
            _ => Ok(false),
        }
    }

    /// Takes back what follows the lines that are merged.
    async fn rewind(&self) -> Result<(), LoadError> {
        let staged = self.staged;
        if staged.undo_chunk().await.is_ok() {
            return Ok(());
        }
        // The failure has ended the transaction, and SQLite has none to undo.
        let _ = staged.undo().await;
        staged.begin().await?;
        let mut above = String::new();
        while above != self.chunk_above
            && let Some(chunk) = staged.chunk_above(&above, CHUNK_LINES).await?
        {
            merge_when_unlocked(staged, &above, &chunk).await?;
            above = chunk.last_key;
        }
        if self.merged > 0 {
            let merged = Chunk {
                last_key: self.above.clone(),
                lines: self.merged,
            };
            merge_when_unlocked(staged, self.chunk_above, &merged).await?;
        }
        Ok(staged.begin_chunk().await?)
    }
}
