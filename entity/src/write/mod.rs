//! Create, update, upsert and delete: each atomic, each with an outcome.
//!
//! [`write()`] sends one. PostgreSQL and SQLite do it in one statement (`one_statement`), MySQL and MariaDB in one
//! transaction that locks the row first (`locked_row`). [`write_together`] sends many at once: in one statement to
//! PostgreSQL (`together`, or `plain` with less work), one after the other in one transaction to SQLite (`in_turn`,
//! or in one statement, `plain_values`), in one transaction of few statements to MySQL and MariaDB (`gathered`).
//! MariaDB takes updates, one or many, by a statement that is a whole transaction but for its commit (`compound`).
//! [`write_atomically`] does all of several operations or none, on every engine as `gathered` does: it locks the rows
//! (`locked_rows`), finds what each has to do (`step`), and changes them (`row_changes`). [`delete_many()`] deletes
//! several keys; [`remove_expired()`] what has expired.

mod atomic;
pub(crate) mod change;
mod claim;
mod compound;
mod delete_many;
mod expiry;
mod gathered;
mod in_turn;
mod lengths;
mod locked_row;
mod locked_rows;
mod one_statement;
mod plain;
mod plain_values;
mod remove_expired;
mod row_changes;
mod step;
mod together;
mod transaction;

use database::Session;
use sea_orm::{ConnectionTrait, DbBackend};

pub use self::{
    atomic::{Atomic, AtomicDone, KeyOperation, write_atomically},
    change::{Action, Done, OnLocked, Outcome, Write, WriteError, Written},
    claim::Claim,
    delete_many::{DeleteMany, DeleteOutcome, delete_many},
    expiry::Expiry,
    remove_expired::{Removable, Removed, count_removable, expired_since, remove_expired},
};

/// Sends the write if `claim` can be taken.
///
/// Must run to its end: dropping this future in the middle leaves the outcome unknown, and the session
/// unfit for another statement.
///
/// # Errors
/// See [`WriteError`].
pub async fn write(
    session: &Session,
    write: &Write,
    claim: &Claim,
    on_locked: OnLocked,
) -> Result<Done, WriteError> {
    match session.get_database_backend() {
        DbBackend::MySql => locked_row::write(session, write, claim, on_locked).await,
        _ => one_statement::write(session, write, claim).await,
    }
}

/// Sends writes of different keys at once: all are committed together, each with its own outcome, or none.
/// `None` is a write that was not done, because another one overtook it or for a reason that is not known yet; it
/// must be sent again.
///
/// Must run to its end, as [`write()`] must. `claim` is called where the outcome begins to be uncertain: before the
/// statement, on MySQL and MariaDB only before the commit. If it returns `false`, no write is done.
///
/// # Errors
/// Of all of them: [`WriteError::NotWritten`] or [`WriteError::Unknown`].
pub async fn write_together(
    session: &Session,
    writes: &[&Write],
    claim: impl Fn() -> bool,
) -> Result<Vec<Option<Result<Done, WriteError>>>, WriteError> {
    let backend = session.get_database_backend();
    if backend != DbBackend::MySql && !claim() {
        return Ok(writes.iter().map(|_| None).collect());
    }
    let done = match session.postgres().await {
        Some(mut postgres) => together::write(&mut postgres, writes).await?,
        None if backend == DbBackend::Sqlite => {
            return match plain_values::write(session, writes).await? {
                Some(known) => Ok(known),
                None => in_turn::write(session, writes).await,
            };
        }
        None => gathered::write(session, writes, claim).await?,
    };
    Ok(done.into_iter().map(|done| done.map(Ok)).collect())
}
