//! Many writes of different keys in one transaction that locks their rows first, in the order of the keys: MySQL
//! and MariaDB.
//!
//! What it finds locked, refused or not as it should be it rolls back as a whole; each write then goes alone.
//!
//! The statements are of few lengths, so that the session has nearly all of them prepared.

use std::{collections::HashMap, iter};

use database::Session;
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{CaseStatement, Expr, ExprTrait, LockBehavior, LockType},
};

use crate::{
    item::{ActiveModel, Column, Entity, etag::ETag, time::Time, value::Value},
    write::{
        change::{Done, Write, WriteError, Written},
        compound,
        locked_row::Step,
        transaction::{commit, roll_back},
    },
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
    let begun = session.execute_unprepared("START TRANSACTION").await;
    begun.map_err(WriteError::NotWritten)?;
    match within(session, writes).await {
        Ok(done) => Ok(done.map(|done| done.into_iter().map(Some).collect())),
        Err(error) => {
            // After a lock wait timeout the transaction is still open.
            roll_back(session).await?;
            Err(WriteError::NotWritten(error))
        }
    }
}

/// What is to be done with the rows.
#[derive(Default)]
struct Changes<'a> {
    updates: Vec<(i64, &'a Value)>,
    deletions: Vec<i64>,
    creations: Vec<(&'a str, &'a Value)>,
    /// Those of all three.
    keys: Vec<&'a str>,
}

impl<'a> Changes<'a> {
    fn of(writes: &[&'a Write], steps: &[Step<'a>]) -> Self {
        let mut changes = Self::default();
        for (write, step) in writes.iter().zip(steps) {
            let key = write.key.as_str();
            match step {
                Step::Nothing(_) => continue,
                Step::Delete(tag) => changes.deletions.push(tag.id),
                Step::Update(tag, value) => changes.updates.push((tag.id, *value)),
                Step::Create(value) => changes.creations.push((key, *value)),
            }
            changes.keys.push(key);
        }
        changes
    }
}

/// `None` if a row was not changed that is locked, or is not there that was just written: a trigger has changed its
/// key.
async fn within(session: &Session, writes: &[&Write]) -> Result<Option<Vec<Done>>, DbErr> {
    let tags = lock(session, writes).await?;
    let steps = writes
        .iter()
        .map(|write| Step::of(write, tags.get(write.key.as_str()).copied()));
    let steps: Vec<Step> = steps.collect();
    let changes = Changes::of(writes, &steps);
    // A statement that is killed may end as if it had found nothing.
    if update(session, &changes.updates).await? != changes.updates.len() as u64
        || delete(session, &changes.deletions).await? != changes.deletions.len() as u64
    {
        return Ok(None);
    }
    create(session, &changes.creations).await?;
    let mut stored = stored(session, &changes.keys).await?;
    let mut written = |write: &Write, created| {
        let (id, version, created_at, updated_at) = stored.remove(write.key.as_str())?;
        Some(Done::Stored(Written {
            created,
            id,
            version,
            created_at,
            updated_at,
        }))
    };
    let done = writes.iter().zip(steps).map(|(write, step)| match step {
        Step::Nothing(done) => Some(done),
        Step::Delete(_) => Some(Done::Deleted),
        Step::Update(..) => written(write, false),
        Step::Create(_) => written(write, true),
    });
    Ok(done.collect())
}

/// Locks the rows that exist.
async fn lock(session: &Session, writes: &[&Write]) -> Result<HashMap<String, ETag>, DbErr> {
    let keys: Vec<&str> = writes.iter().map(|write| write.key.as_str()).collect();
    let rows: Vec<(String, i64, i64)> = Entity::find()
        .select_only()
        .columns([Column::Key, Column::Id, Column::Version])
        .filter(Column::Key.is_in(padded(&keys)))
        .order_by_asc(Column::Key)
        .lock_with_behavior(LockType::Update, LockBehavior::Nowait)
        .into_tuple()
        .all(session)
        .await?;
    let tags = rows
        .into_iter()
        .map(|(key, id, version)| (key, ETag { id, version }));
    Ok(tags.collect())
}

/// The number of rows that were updated.
async fn update(session: &Session, updates: &[(i64, &Value)]) -> Result<u64, DbErr> {
    if updates.is_empty() {
        return Ok(0);
    }
    let ids: Vec<i64> = updates.iter().map(|(id, _)| *id).collect();
    let ids = padded(&ids);
    // For an id that is repeated the first text counts.
    let texts = updates
        .iter()
        .map(|(_, value)| value.as_str())
        .chain(iter::repeat(""));
    let mut value = CaseStatement::new();
    for (id, text) in ids.iter().zip(texts) {
        value = value.case(Column::Id.eq(*id), Expr::value(text));
    }
    let update = Entity::update_many()
        .col_expr(Column::Value, value.into())
        .col_expr(Column::Version, Expr::col(Column::Version).add(1))
        .col_expr(Column::UpdatedAt, Expr::cust("UTC_TIMESTAMP(6)"))
        .filter(Column::Id.is_in(ids));
    let updated = update.exec(session).await?;
    Ok(updated.rows_affected)
}

/// The number of rows that were deleted.
async fn delete(session: &Session, ids: &[i64]) -> Result<u64, DbErr> {
    if ids.is_empty() {
        return Ok(0);
    }
    let delete = Entity::delete_many().filter(Column::Id.is_in(padded(ids)));
    Ok(delete.exec(session).await?.rows_affected)
}

async fn create(session: &Session, creations: &[(&str, &Value)]) -> Result<(), DbErr> {
    let mut left = creations;
    while !left.is_empty() {
        // The largest power of two, since a row cannot be given twice.
        let (some, rest) = left.split_at(1 << left.len().ilog2());
        let items = some.iter().map(|(key, value)| ActiveModel {
            key: Set((*key).to_owned()),
            value: Set(value.as_str().to_owned()),
            ..Default::default()
        });
        Entity::insert_many(items)
            .exec_without_returning(session)
            .await?;
        left = rest;
    }
    Ok(())
}

/// Id, version and times of a row.
type StoredRow = (i64, i64, Time, Time);

/// The rows as this transaction, which has them locked, left them.
async fn stored(session: &Session, keys: &[&str]) -> Result<HashMap<String, StoredRow>, DbErr> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(String, i64, i64, Time, Time)> = Entity::find()
        .select_only()
        .columns([
            Column::Key,
            Column::Id,
            Column::Version,
            Column::CreatedAt,
            Column::UpdatedAt,
        ])
        .filter(Column::Key.is_in(padded(keys)))
        .into_tuple()
        .all(session)
        .await?;
    let stored = rows
        .into_iter()
        .map(|(key, id, version, created_at, updated_at)| {
            (key, (id, version, created_at, updated_at))
        });
    Ok(stored.collect())
}

/// As many as a power of two: the last one is repeated.
fn padded<T: Copy>(some: &[T]) -> Vec<T> {
    let mut padded = some.to_vec();
    if let Some(last) = some.last() {
        padded.resize(some.len().next_power_of_two(), *last);
    }
    padded
}
