//! Deleting several keys, all or nothing.

use std::collections::{BTreeMap, HashSet};

use database::Failure;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait,
    QueryFilter, QueryOrder, QuerySelect, SqliteTransactionMode, TransactionOptions,
    TransactionTrait, sea_query::ExprTrait,
};

use crate::{
    clock::now,
    item::{Column, Entity, etag::ETag},
    write::change::{MAX_RERUNS, WriteError},
};

/// Keys of one statement: the engines take at least 32 766 parameters.
const CHUNK_KEYS: usize = 1_000;

/// Which items to delete.
#[derive(Clone, Debug, Default)]
pub struct DeleteMany {
    /// Any text, so that rows written by other software can be deleted too.
    pub keys: Vec<String>,
    /// The tag that each item must have.
    pub if_match: Option<ETag>,
    /// Delete the other items although some of the keys do not exist.
    pub ignore_missing: bool,
}

/// What a delete did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// This many items were deleted.
    All(u64),
    /// These keys do not exist, or have expired; nothing was deleted.
    Missing(Vec<String>),
    /// An item has this tag; nothing was deleted.
    PreconditionFailed(ETag),
}

/// One transaction that locks the rows in the order of their keys before it deletes any.
///
/// # Errors
/// See [`WriteError`].
pub async fn delete_many(
    pool: &DatabaseConnection,
    delete: &DeleteMany,
) -> Result<DeleteOutcome, WriteError> {
    let mut keys = delete.keys.clone();
    keys.sort();
    keys.dedup();
    for _ in 0..MAX_RERUNS {
        match attempt(pool, &keys, delete).await {
            Err(WriteError::NotWritten(error)) if Failure::of(&error) == Failure::RolledBack => {}
            done => return done,
        }
    }
    Err(WriteError::Contended)
}

async fn attempt(
    pool: &DatabaseConnection,
    keys: &[String],
    delete: &DeleteMany,
) -> Result<DeleteOutcome, WriteError> {
    let options = TransactionOptions {
        // SQLite takes the lock for writing at the start, since it may refuse it after a read.
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..Default::default()
    };
    let transaction = pool.begin_with_options(options).await;
    let transaction = transaction.map_err(WriteError::NotWritten)?;
    let done = within(&transaction, keys, delete).await;
    match done {
        Ok(DeleteOutcome::All(_)) => transaction.commit().await.map_err(WriteError::of)?,
        // If the rollback cannot be sent, the server rolls back when the connection ends.
        Ok(DeleteOutcome::Missing(_) | DeleteOutcome::PreconditionFailed(_)) | Err(_) => {
            let _ = transaction.rollback().await;
        }
    }
    done
}

async fn within(
    transaction: &DatabaseTransaction,
    keys: &[String],
    delete: &DeleteMany,
) -> Result<DeleteOutcome, WriteError> {
    let found = lock_live(transaction, keys).await;
    let found = found.map_err(WriteError::NotWritten)?;
    if let Some(expected) = delete.if_match
        && let Some(other) = found.values().find(|tag| **tag != expected)
    {
        return Ok(DeleteOutcome::PreconditionFailed(*other));
    }
    let missing = keys.iter().filter(|key| !found.contains_key(*key));
    let missing: Vec<String> = missing.cloned().collect();
    if !missing.is_empty() && !delete.ignore_missing {
        return Ok(DeleteOutcome::Missing(missing));
    }
    let ids: Vec<_> = found.values().map(|tag| tag.id).collect();
    let mut deleted = 0;
    for ids in ids.chunks(CHUNK_KEYS) {
        let done = Entity::delete_many()
            .filter(Column::Id.is_in(ids.iter().copied()))
            .exec(transaction)
            .await
            .map_err(WriteError::NotWritten)?;
        deleted += done.rows_affected;
    }
    // All were found and are locked, so that no other writer can have deleted one.
    if deleted < found.len() as u64 {
        return Err(WriteError::Ignored);
    }
    Ok(DeleteOutcome::All(deleted))
}

/// Locks the rows that exist, and only then judges which of them have expired. These are not among the result.
async fn lock_live(
    transaction: &DatabaseTransaction,
    keys: &[String],
) -> Result<BTreeMap<String, ETag>, DbErr> {
    let locked = lock(transaction, keys).await?;
    let ending = locked.values().filter(|row| row.ends);
    let ending: Vec<i64> = ending.map(|row| row.tag.id).collect();
    let mut expired = HashSet::new();
    for ids in ending.chunks(CHUNK_KEYS) {
        let gone: Vec<i64> = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::Id.is_in(ids.iter().copied()))
            .filter(
                Column::ExpiresAt
                    .into_expr()
                    .lte(now(transaction.get_database_backend())),
            )
            .into_tuple()
            .all(transaction)
            .await?;
        expired.extend(gone);
    }
    let live = locked.into_iter().map(|(key, row)| (key, row.tag));
    Ok(live.filter(|(_, tag)| !expired.contains(&tag.id)).collect())
}

/// A row that is locked.
struct LockedRow {
    tag: ETag,
    /// Whether it has an end.
    ends: bool,
}

/// Locks the rows that exist in the order of their keys.
async fn lock(
    transaction: &DatabaseTransaction,
    keys: &[String],
) -> Result<BTreeMap<String, LockedRow>, DbErr> {
    let mut found = BTreeMap::new();
    let mut missing = keys.to_vec();
    // Twice: if another writer replaced an item while its lock was waited for, PostgreSQL shows the new
    // row only to a second statement.
    for _ in 0..2 {
        for keys in missing.chunks(CHUNK_KEYS) {
            let rows: Vec<(String, i64, i64, bool)> = Entity::find()
                .select_only()
                .columns([Column::Key, Column::Id, Column::Version])
                .expr_as(Column::ExpiresAt.is_not_null(), "ends")
                .filter(Column::Key.is_in(keys))
                .order_by_asc(Column::Key)
                .lock_exclusive()
                .into_tuple()
                .all(transaction)
                .await?;
            found.extend(rows.into_iter().map(|(key, id, version, ends)| {
                let tag = ETag { id, version };
                (key, LockedRow { tag, ends })
            }));
        }
        missing.retain(|key| !found.contains_key(key));
    }
    Ok(found)
}
