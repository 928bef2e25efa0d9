//! Many writes of different keys in one transaction that locks their rows first: MySQL and MariaDB.
//!
//! What it finds locked, refused or not as it should be it rolls back as a whole; each write then goes alone.

use database::Session;
use sea_orm::DbErr;

use crate::write::{
    change::{Done, Write, WriteError},
    compound,
    locked_rows::LockedRows,
    row_changes::change_rows,
    transaction::{commit, roll_back},
};

/// See [`super::write_together`].
pub(super) async fn write(
    session: &Session,
    writes: &[&Write],
    claim: impl Fn() -> bool,
) -> Result<Vec<Option<Done>>, WriteError> {
    let done = match compound::update_many(session, writes).await? {
        Some(done) => Some(done),
        None => change(session, writes).await?,
    };
    match done {
        Some(done) if claim() => {
            commit(session).await?;
            Ok(done)
        }
        _ => {
            roll_back(session).await?;
            Ok(writes.iter().map(|_| None).collect())
        }
    }
}

/// Does the writes in a transaction that is then open. `None` if it is to be rolled back.
///
/// # Errors
/// Nothing was written.
async fn change(
    session: &Session,
    writes: &[&Write],
) -> Result<Option<Vec<Option<Done>>>, WriteError> {
    session.begin().await.map_err(WriteError::NotWritten)?;
    match within(session, writes).await {
        Ok(done) => Ok(done.map(|done| done.into_iter().map(Some).collect())),
        Err(error) => {
            // After a lock wait timeout the transaction is still open.
            roll_back(session).await?;
            Err(WriteError::NotWritten(error))
        }
    }
}

async fn within(session: &Session, writes: &[&Write]) -> Result<Option<Vec<Done>>, DbErr> {
    let keys: Vec<&str> = writes.iter().map(|write| write.key.as_str()).collect();
    let Some(rows) = LockedRows::lock(session, &keys).await? else {
        return Ok(None);
    };
    let steps = rows.steps(writes);
    change_rows(session, writes, steps, &rows).await
}
