//! Create, update, upsert and delete: each atomic, each with an outcome.
//!
//! [`write()`] sends one. PostgreSQL and SQLite do it in one statement (`one_statement`), MySQL and
//! MariaDB in one transaction that locks the row first (`locked_row`). [`write_together`] sends many
//! at once to PostgreSQL. [`delete_many()`] deletes several keys.

pub(crate) mod change;
mod claim;
mod delete_many;
mod locked_row;
mod one_statement;
mod together;

use database::Session;
use sea_orm::{ConnectionTrait, DbBackend};

pub use self::{
    change::{Action, Done, OnLocked, Outcome, Write, WriteError, Written},
    claim::Claim,
    delete_many::{DeleteMany, DeleteOutcome, delete_many},
    together::write_together,
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
