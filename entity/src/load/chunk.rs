//! How one chunk of lines gets into the table, and which of its lines is in the way if it does not.

use std::time::{Duration, Instant};

use database::Failure;
use sea_orm::{ConnectionTrait, DbErr, Statement};
use tokio::time::sleep;

use crate::{
    load::{
        line::OnConflict,
        outcome::LoadError,
        queries,
        staged::{Chunk, Staged},
        unstored::{create_absent, first_ignored, place},
    },
    write::change::WriteError,
};

/// How long one chunk of a merge is tried again. Then the whole merge is undone: the transaction with
/// the lock may itself be waiting for what was merged before.
const CHUNK_LOCK_TIME: Duration = Duration::from_secs(1);
/// How long other writers have the table to themselves between two tries.
pub(super) const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// [`merge_chunk`], again and again for a while if it meets a lock.
pub(super) async fn merge_when_unlocked(
    staged: &Staged,
    above: &str,
    chunk: &Chunk,
) -> Result<(u64, u64), LoadError> {
    let deadline = Instant::now() + CHUNK_LOCK_TIME;
    loop {
        staged.session.execute_unprepared("SAVEPOINT chunk").await?;
        let error = match merge_chunk(staged, above, chunk).await {
            Err(LoadError::Write(WriteError::NotWritten(error))) => error,
            done => return done,
        };
        match Failure::of(&error) {
            Failure::Locked if !staged.dialect.waits && Instant::now() < deadline => {
                // Fails where the server is set to take back the whole transaction on a lock
                // wait timeout, and the savepoint with it.
                staged.undo_chunk().await?;
                sleep(LOCK_PAUSE).await;
            }
            Failure::Refused => return Err(first_refused(staged, above, chunk, error).await),
            _ => return Err(error.into()),
        }
    }
}

/// How many items it created and updated.
async fn merge_chunk(staged: &Staged, above: &str, chunk: &Chunk) -> Result<(u64, u64), LoadError> {
    let sql = match staged.on_conflict {
        OnConflict::Error => staged.dialect.create,
        OnConflict::Skip => staged.dialect.skip,
        OnConflict::Overwrite => staged.dialect.overwrite,
    };
    let values = [above.into(), chunk.last_key.as_str().into()];
    let merge = staged.statement(sql, values.into());
    if staged.on_conflict == OnConflict::Overwrite && staged.dialect.returns_versions {
        return overwrite_chunk(staged, merge, above, chunk).await;
    }
    let affected = staged.session.execute_raw(merge).await?.rows_affected();
    // However many rows it affected: a trigger may have stored a line under another key.
    let absent = create_absent(staged, above, &chunk.last_key).await?;
    match staged.on_conflict {
        OnConflict::Error | OnConflict::Skip => Ok((affected + absent, 0)),
        OnConflict::Overwrite => Ok((2 * chunk.lines - affected, affected - chunk.lines)),
    }
}

/// [`merge_chunk`] where the statement returns what it has stored.
async fn overwrite_chunk(
    staged: &Staged,
    merge: Statement,
    above: &str,
    chunk: &Chunk,
) -> Result<(u64, u64), LoadError> {
    let rows = staged.session.query_all_raw(merge).await?;
    if (rows.len() as u64) < chunk.lines {
        return Err(first_ignored(staged, &rows, above, &chunk.last_key).await?);
    }
    create_absent(staged, above, &chunk.last_key).await?;
    let mut created = 0;
    for row in &rows {
        // An update makes the version at least 2.
        created += u64::from(row.try_get::<i64>("", "version")? == 1);
    }
    Ok((created, rows.len() as u64 - created))
}

/// Finds the line for which a chunk was refused, by merging ever smaller parts of it.
async fn first_refused(staged: &Staged, above: &str, chunk: &Chunk, error: DbErr) -> LoadError {
    // If it cannot be found, because a trigger ended the transaction, what was said at first counts.
    match narrow(staged, above, chunk.lines, error.clone()).await {
        Ok(refused) => refused,
        Err(_) => error.into(),
    }
}

async fn narrow(
    staged: &Staged,
    above: &str,
    mut lines: u64,
    mut error: DbErr,
) -> Result<LoadError, LoadError> {
    let mut above = above.to_owned();
    staged.undo_chunk().await?;
    while lines > 1 {
        let half = lines / 2;
        let Some(chunk) = staged.chunk_above(&above, half).await? else {
            break;
        };
        staged.session.execute_unprepared("SAVEPOINT chunk").await?;
        match merge_chunk(staged, &above, &chunk).await {
            Ok(_) => {
                above = chunk.last_key;
                lines -= half;
            }
            Err(LoadError::Write(WriteError::NotWritten(refused))) => {
                staged.undo_chunk().await?;
                error = refused;
                lines = half;
            }
            Err(other) => return Ok(other),
        }
    }
    let chunk = staged.chunk_above(&above, 1).await?;
    let last = chunk.map(|chunk| chunk.last_key).unwrap_or_default();
    let row = staged
        .session
        .query_one(&queries::lines(&above, &last))
        .await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("the line that was refused".to_owned()))?;
    let (key, line) = place(&row)?;
    Ok(LoadError::Refused { key, line, error })
}
