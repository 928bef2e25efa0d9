//! Lines that the database does not store: a trigger or a constraint refuses them, or they are left out in
//! silence.
//!
//! A key that another session deletes meanwhile looks as if its line were left out. So such a line is sent once
//! more, alone and accepting no conflict: if this stores nothing either, the database ignores it.

use std::collections::HashSet;

use database::Failure;
use sea_orm::{ConnectionTrait, DbErr, QueryResult};

use crate::{
    load::{
        merge::{Chunk, Staged, number},
        outcome::LoadError,
        queries,
    },
    write::change::WriteError,
};

/// Stores the lines above a key, up to a last one, that are not in the table. Says how many there were.
///
/// # Errors
/// [`LoadError::Ignored`], [`LoadError::Refused`], or what the database said.
pub(super) async fn create_absent(
    staged: &Staged,
    above: &str,
    last: &str,
) -> Result<u64, LoadError> {
    let mut created = 0;
    let mut before = None;
    while let Some(row) = staged
        .session
        .query_one(&queries::first_absent(above, last))
        .await?
    {
        let (key, line) = place(&row)?;
        let values = vec![key.as_str().into()];
        let create = staged.statement(staged.dialect.create_one, values);
        match staged.session.execute_raw(create).await {
            // A trigger may also have stored it under another key.
            Ok(done) if done.rows_affected() == 0 || before.as_ref() == Some(&key) => {
                return Err(LoadError::Ignored { key, line });
            }
            Ok(_) => created += 1,
            Err(error) if Failure::of(&error) == Failure::Refused => {
                return Err(LoadError::Refused { key, line, error });
            }
            Err(error) => return Err(error.into()),
        }
        before = Some(key);
    }
    Ok(created)
}

/// The first line above a key, up to a last one, that is not among the `stored` rows.
///
/// # Errors
/// What the database said.
pub(super) async fn first_ignored(
    staged: &Staged,
    stored: &[QueryResult],
    above: &str,
    last: &str,
) -> Result<LoadError, DbErr> {
    let keys = stored.iter().map(|row| row.try_get("", "key"));
    let stored: HashSet<String> = keys.collect::<Result<_, _>>()?;
    for row in staged
        .session
        .query_all(&queries::lines(above, last))
        .await?
    {
        let (key, line) = place(&row)?;
        if !stored.contains(&key) {
            return Ok(LoadError::Ignored { key, line });
        }
    }
    Ok(WriteError::Ignored.into())
}

/// Finds the line for which a chunk was refused, by merging ever smaller parts of it.
pub(super) async fn first_refused(
    staged: &Staged,
    above: &str,
    chunk: &Chunk,
    error: DbErr,
) -> LoadError {
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
        match staged.merge_chunk(&above, &chunk).await {
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

/// The key of a line, and its number.
fn place(row: &QueryResult) -> Result<(String, u64), DbErr> {
    Ok((row.try_get("", "key")?, number(row, "line")?))
}
