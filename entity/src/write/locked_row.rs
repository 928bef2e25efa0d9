//! Writes of one transaction that locks the row first: MySQL and MariaDB, which cannot return what
//! an `UPDATE` made.
//!
//! Until `COMMIT` is sent nothing is decided, so the write is claimed only then.

use database::{Failure, Session};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement, Values};

use crate::{
    item::{etag::ETag, value::Value},
    write::{
        change::{Action, Done, OnLocked, Write, WriteError, Written, concluded},
        claim::Claim,
    },
};

pub(super) async fn write(
    session: &Session,
    write: &Write,
    claim: &Claim,
    on_locked: OnLocked,
) -> Result<Done, WriteError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        if claim.is_abandoned() {
            return Err(WriteError::Abandoned);
        }
        if let Some(done) = concluded(attempt(session, write, claim, on_locked).await, attempts) {
            return done;
        }
    }
}

/// `None` if the write must be sent again.
async fn attempt(
    session: &Session,
    write: &Write,
    claim: &Claim,
    on_locked: OnLocked,
) -> Result<Option<Done>, WriteError> {
    let begun = session.execute_unprepared("START TRANSACTION").await;
    begun.map_err(WriteError::NotWritten)?;
    let outcome = match within(session, write, on_locked).await {
        Ok(outcome) => outcome,
        Err(error) => {
            // A lock wait timeout ends the statement only.
            roll_back(session).await?;
            return match (Failure::of(&error), &write.action) {
                (Failure::Duplicate, Action::Create(_)) => Ok(Some(Done::Exists)),
                (Failure::Duplicate, _) => Ok(None),
                _ => Err(WriteError::NotWritten(error)),
            };
        }
    };
    match outcome {
        Done::Stored(_) | Done::Deleted => {
            if !claim.take() {
                roll_back(session).await?;
                return Err(WriteError::Abandoned);
            }
            commit(session).await?;
        }
        Done::Exists | Done::Missing | Done::PreconditionFailed(_) => roll_back(session).await?,
    }
    Ok(Some(outcome))
}

async fn commit(session: &Session) -> Result<(), WriteError> {
    let Err(error) = session.execute_unprepared("COMMIT").await else {
        return Ok(());
    };
    match Failure::of(&error) {
        // The server took it back instead.
        Failure::RolledBack | Failure::Locked | Failure::Cancelled | Failure::ReadOnly => {
            roll_back(session).await?;
            Err(WriteError::NotWritten(error))
        }
        _ => Err(WriteError::Unknown(error)),
    }
}

/// Where it cannot be told, the server ends the transaction with the session, which nobody may use
/// again: their `START TRANSACTION` would commit it.
async fn roll_back(session: &Session) -> Result<(), WriteError> {
    let done = session.execute_unprepared("ROLLBACK").await;
    done.map(drop).map_err(|error| {
        WriteError::NotWritten(match error {
            DbErr::Exec(cause) | DbErr::Query(cause) => DbErr::Conn(cause),
            error => error,
        })
    })
}

async fn within(session: &Session, write: &Write, on_locked: OnLocked) -> Result<Done, DbErr> {
    let current = lock(session, write, on_locked).await?;
    match (&write.action, current) {
        (Action::Create(_), Some(_)) => Ok(Done::Exists),
        (_, Some(tag)) if !write.precondition.holds(tag) => Ok(Done::PreconditionFailed(tag)),
        (Action::Delete, Some(tag)) => {
            let sql = "DELETE FROM items WHERE id = ?";
            session.execute_raw(statement(sql, [tag.id.into()])).await?;
            Ok(Done::Deleted)
        }
        (Action::Update(value) | Action::Upsert(value), Some(tag)) => {
            let sql = "UPDATE items SET value = ?, version = version + 1, \
                       updated_at = UTC_TIMESTAMP(6) WHERE id = ?";
            let values = [value.as_str().into(), tag.id.into()];
            session.execute_raw(statement(sql, values)).await?;
            stored(session, write).await
        }
        (Action::Create(value) | Action::Upsert(value), None) if write.creates() => {
            create(session, write, value).await
        }
        (_, None) => Ok(Done::Missing),
    }
}

/// A second `SELECT` of the row would see another writer's change; this one keeps it out.
async fn lock(
    session: &Session,
    write: &Write,
    on_locked: OnLocked,
) -> Result<Option<ETag>, DbErr> {
    let sql = match on_locked {
        OnLocked::Wait => "SELECT id, version FROM items WHERE `key` = ? FOR UPDATE",
        OnLocked::Fail => "SELECT id, version FROM items WHERE `key` = ? FOR UPDATE NOWAIT",
    };
    let row = session
        .query_one_raw(statement(sql, [write.key.as_str().into()]))
        .await?;
    row.map(|row| {
        Ok(ETag {
            id: row.try_get("", "id")?,
            version: row.try_get("", "version")?,
        })
    })
    .transpose()
}

async fn create(session: &Session, write: &Write, value: &Value) -> Result<Done, DbErr> {
    let sql = "INSERT INTO items (`key`, value) VALUES (?, ?)";
    let values = [write.key.as_str().into(), value.as_str().into()];
    session.execute_raw(statement(sql, values)).await?;
    stored(session, write).await
}

/// The row as this transaction, which has it locked, left it.
async fn stored(session: &Session, write: &Write) -> Result<Done, DbErr> {
    let sql = "SELECT id, version, created_at, updated_at FROM items WHERE `key` = ?";
    let row = session
        .query_one_raw(statement(sql, [write.key.as_str().into()]))
        .await?
        .ok_or_else(|| DbErr::RecordNotFound("the row just written".into()))?;
    Written::read(&row).map(Done::Stored)
}

fn statement<const N: usize>(sql: &str, values: [sea_orm::Value; N]) -> Statement {
    Statement::from_sql_and_values(DbBackend::MySql, sql, Values(values.into()))
}
