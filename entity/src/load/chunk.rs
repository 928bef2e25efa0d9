//! How one chunk of lines gets into the table.

use std::time::{Duration, Instant};

use database::Failure;
use sea_orm::{ConnectionTrait, Statement};
use tokio::time::sleep;

use crate::{
    load::{
        expired::delete_expired,
        line::OnConflict,
        outcome::LoadError,
        staged::{Chunk, Staged},
        unstored::{create_absent, first_ignored},
    },
    write::change::WriteError,
};

/// How long one chunk of a merge is tried again. Then the whole merge is undone: the transaction with
/// the lock may itself be waiting for what was merged before.
const CHUNK_LOCK_TIME: Duration = Duration::from_secs(1);
/// How long other writers have the table to themselves between two tries.
pub(super) const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// What was created and updated.
pub(super) type Counts = (u64, u64);

/// [`merge_chunk`], again and again for a while if it meets a lock.
pub(super) async fn merge_when_unlocked(
    staged: &Staged,
    above: &str,
    chunk: &Chunk,
) -> Result<Counts, LoadError> {
    let deadline = Instant::now() + CHUNK_LOCK_TIME;
    loop {
        match merge_chunk(staged, above, chunk).await {
            Err(LoadError::Write(WriteError::NotWritten(error)))
                if Failure::of(&error) == Failure::Locked
                    && !staged.dialect.waits
                    && Instant::now() < deadline =>
            {
                if staged.undo_chunk().await.is_err() {
                    // The server is set to take back the whole transaction on a lock wait timeout, and
                    // the savepoint with it.
                    return Err(error.into());
                }
                sleep(LOCK_PAUSE).await;
            }
            done => return done,
        }
    }
}

/// How many items it created and updated.
async fn merge_chunk(staged: &Staged, above: &str, chunk: &Chunk) -> Result<Counts, LoadError> {
    delete_expired(staged, above, &chunk.last_key).await?;
    let sql = match staged.on_conflict {
        OnConflict::Error => staged.dialect.create,
        OnConflict::Skip => staged.dialect.skip,
        OnConflict::Overwrite => staged.dialect.overwrite,
    };
    let of_chunk = |sql| {
        let values = [above.into(), chunk.last_key.as_str().into()];
        staged.statement(sql, values.into())
    };
    if let (OnConflict::Skip, Some(find)) = (staged.on_conflict, staged.dialect.find_absent) {
        staged.session.execute_raw(of_chunk(find)).await?;
    }
    let merge = of_chunk(sql);
    if staged.on_conflict == OnConflict::Overwrite && staged.dialect.returns_stored {
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
) -> Result<Counts, LoadError> {
    let rows = staged.session.query_all_raw(merge).await?;
    if (rows.len() as u64) < chunk.lines {
        return Err(first_ignored(staged, &rows, above, &chunk.last_key).await?);
    }
    create_absent(staged, above, &chunk.last_key).await?;
    let mut created = 0;
    for row in &rows {
        created += u64::from(row.try_get::<bool>("", "created")?);
    }
    Ok((created, rows.len() as u64 - created))
}
