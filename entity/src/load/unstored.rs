//! Lines that the database leaves out in silence.
//!
//! A key that another session deletes meanwhile looks as if its line were left out. So such a line is sent once
//! more, alone and accepting no conflict: if this stores nothing either, the database ignores it.

use std::collections::HashSet;

use sea_orm::{ConnectionTrait, DbErr, QueryResult};

use crate::{
    load::{
        outcome::LoadError,
        queries,
        staged::{Staged, number},
    },
    write::change::WriteError,
};

/// Stores the lines above a key, up to a last one, that are not in the table. Says how many there were.
///
/// # Errors
/// [`LoadError::Ignored`], or what the database said.
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
        let done = staged.session.execute_raw(create).await?;
        // A trigger may also have stored it under another key.
        if done.rows_affected() == 0 || before.as_ref() == Some(&key) {
            return Err(LoadError::Ignored { key, line });
        }
        created += 1;
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

/// The key of a line, and its number.
pub(super) fn place(row: &QueryResult) -> Result<(String, u64), DbErr> {
    Ok((row.try_get("", "key")?, number(row, "line")?))
}
