//! Writes of one transaction that locks the row first: MySQL and MariaDB, which cannot return what
//! an `UPDATE` made.
//!
//! Until `COMMIT` is sent nothing is decided, so the write is claimed only then.

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement,
    TransactionTrait, Values,
};

use super::{Action, Claim, Done, Stamp, Write, WriteError, concluded};
use crate::{
    ETag, Value,
    failure::{Failure, failure},
};

pub(super) async fn write(
    pool: &DatabaseConnection,
    write: &Write,
    claim: &Claim,
) -> Result<Done, WriteError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        if claim.is_abandoned() {
            return Err(WriteError::Abandoned);
        }
        if let Some(done) = concluded(attempt(pool, write, claim).await, attempts) {
            return done;
        }
    }
}

/// `None` if the write must be sent again.
async fn attempt(
    pool: &DatabaseConnection,
    write: &Write,
    claim: &Claim,
) -> Result<Option<Done>, WriteError> {
    let transaction = pool.begin().await.map_err(WriteError::NotWritten)?;
    let outcome = match within(&transaction, write).await {
        Ok(outcome) => outcome,
        Err(error) => {
            // A lock wait timeout ends the statement only, so the transaction must be told.
            // If it cannot be, the server ends it with the connection.
            let _ = transaction.rollback().await;
            return match (failure(&error), &write.action) {
                (Failure::Duplicate, Action::Create(_)) => Ok(Some(Done::Exists)),
                (Failure::Duplicate, _) => Ok(None),
                _ => Err(WriteError::NotWritten(error)),
            };
        }
    };
    match outcome {
        Done::Stored(_) | Done::Deleted => {
            if !claim.take() {
                let _ = transaction.rollback().await;
                return Err(WriteError::Abandoned);
            }
            transaction.commit().await.map_err(WriteError::of)?;
        }
        Done::Exists | Done::Missing | Done::PreconditionFailed(_) => {
            let _ = transaction.rollback().await;
        }
    }
    Ok(Some(outcome))
}

async fn within(transaction: &DatabaseTransaction, write: &Write) -> Result<Done, DbErr> {
    if let Action::Create(value) = &write.action {
        return create(transaction, write, value).await;
    }
    let current = lock(transaction, write).await?;
    match (&write.action, current) {
        (_, Some(tag)) if !write.precondition.holds(tag) => Ok(Done::PreconditionFailed(tag)),
        (Action::Delete, Some(tag)) => {
            let sql = "DELETE FROM items WHERE id = ?";
            transaction
                .execute_raw(statement(sql, [tag.id.into()]))
                .await?;
            Ok(Done::Deleted)
        }
        (Action::Create(value) | Action::Update(value) | Action::Upsert(value), Some(tag)) => {
            let sql = "UPDATE items SET value = ?, version = version + 1, \
                       updated_at = UTC_TIMESTAMP(6) WHERE id = ?";
            let values = [value.as_str().into(), tag.id.into()];
            transaction.execute_raw(statement(sql, values)).await?;
            stored(transaction, write).await
        }
        (Action::Upsert(value), None) if write.precondition.if_match.is_none() => {
            create(transaction, write, value).await
        }
        (_, None) => Ok(Done::Missing),
    }
}

/// A second `SELECT` of the row would see another writer's change; this one keeps it out.
async fn lock(transaction: &DatabaseTransaction, write: &Write) -> Result<Option<ETag>, DbErr> {
    let sql = "SELECT id, version FROM items WHERE `key` = ? FOR UPDATE";
    let row = transaction
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

async fn create(
    transaction: &DatabaseTransaction,
    write: &Write,
    value: &Value,
) -> Result<Done, DbErr> {
    let sql = "INSERT INTO items (`key`, value) VALUES (?, ?)";
    let values = [write.key.as_str().into(), value.as_str().into()];
    transaction.execute_raw(statement(sql, values)).await?;
    stored(transaction, write).await
}

/// The row as this transaction, which has it locked, left it.
async fn stored(transaction: &DatabaseTransaction, write: &Write) -> Result<Done, DbErr> {
    let sql = "SELECT id, version, created_at, updated_at FROM items WHERE `key` = ?";
    let row = transaction
        .query_one_raw(statement(sql, [write.key.as_str().into()]))
        .await?
        .ok_or_else(|| DbErr::RecordNotFound("the row just written".into()))?;
    Stamp::read(&row).map(Done::Stored)
}

fn statement<const N: usize>(sql: &str, values: [sea_orm::Value; N]) -> Statement {
    Statement::from_sql_and_values(DbBackend::MySql, sql, Values(values.into()))
}
