//! Writes of one transaction that locks the row first: MySQL and MariaDB, which cannot return what
//! an `UPDATE` made.
//!
//! To MariaDB an update is sent as a whole, up to its commit (`compound`).
//!
//! Until `COMMIT` is sent nothing is decided, so the write is claimed only then. The statements that
//! begin and end the transaction are raw: SeaORM has transactions only on connections of its own pool.

use database::{Failure, Session};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, Insert, QueryFilter, QuerySelect,
    sea_query::{Expr, ExprTrait, LockBehavior, LockType},
};

use crate::{
    item::{ActiveModel, Column, Entity, etag::ETag, value::Value},
    read::find::select_etag,
    write::{
        change::{Action, Done, OnLocked, Write, WriteError, Written, concluded},
        claim::Claim,
        compound,
        transaction::{commit, roll_back},
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
    if on_locked == OnLocked::Fail
        && let Some(written) = compound::update_one(session, write).await?
    {
        return end(session, claim, Done::Stored(written)).await.map(Some);
    }
    let begun = session.execute_unprepared("START TRANSACTION").await;
    begun.map_err(WriteError::NotWritten)?;
    let current = match lock(session, write, on_locked).await {
        Ok(current) => current,
        Err(error) => return failed(session, write, None, error).await,
    };
    let outcome = match apply(session, write, current).await {
        Ok(outcome) => outcome,
        Err(error) => return failed(session, write, current, error).await,
    };
    match outcome {
        Applied::Done(done) => end(session, claim, done).await.map(Some),
        Applied::KeyChanged => {
            roll_back(session).await?;
            Err(WriteError::Ignored)
        }
        Applied::Interrupted => {
            roll_back(session).await?;
            Ok(None)
        }
    }
}

/// Ends the transaction.
async fn end(session: &Session, claim: &Claim, done: Done) -> Result<Done, WriteError> {
    match done {
        Done::Stored(_) | Done::Deleted => {
            if !claim.take() {
                roll_back(session).await?;
                return Err(WriteError::Abandoned);
            }
            commit(session).await?;
        }
        Done::Exists | Done::Missing | Done::PreconditionFailed(_) => roll_back(session).await?,
    }
    Ok(done)
}

/// Rolls back a transaction in which a statement failed, and says what that means for the write of the row
/// that it had locked, if there was one.
async fn failed(
    session: &Session,
    write: &Write,
    locked: Option<ETag>,
    error: DbErr,
) -> Result<Option<Done>, WriteError> {
    let of_key = match Failure::of(&error) {
        // Only an insert can have met a row of its key.
        Failure::Duplicate if locked.is_none() => exists(session, write).await,
        _ => Ok(false),
    };
    // After a lock wait timeout the transaction is still open.
    roll_back(session).await?;
    match (of_key, &write.action) {
        (Ok(true), Action::Create(_)) => Ok(Some(Done::Exists)),
        (Ok(true), _) => Ok(None),
        (Ok(false), _) => Err(WriteError::NotWritten(error)),
        (Err(error), _) => Err(WriteError::NotWritten(error)),
    }
}

/// What a write has to do with the row that it has locked, if there is one.
pub(super) enum Step<'a> {
    Nothing(Done),
    Delete(ETag),
    Update(ETag, &'a Value),
    Create(&'a Value),
}

impl<'a> Step<'a> {
    pub(super) fn of(write: &'a Write, current: Option<ETag>) -> Self {
        match (&write.action, current) {
            (Action::Create(_), Some(_)) => Self::Nothing(Done::Exists),
            (_, Some(tag)) if !write.precondition.holds(tag) => {
                Self::Nothing(Done::PreconditionFailed(tag))
            }
            (Action::Delete, Some(tag)) => Self::Delete(tag),
            (Action::Update(value) | Action::Upsert(value), Some(tag)) => Self::Update(tag, value),
            (Action::Create(value) | Action::Upsert(value), None) if write.creates() => {
                Self::Create(value)
            }
            (_, None) => Self::Nothing(Done::Missing),
        }
    }
}

/// What became of the row that was locked.
enum Applied {
    Done(Done),
    /// A trigger has changed the key of the row that was written.
    KeyChanged,
    /// The statement ended as if there was no row. One that is killed may do so.
    Interrupted,
}

/// Writes the row that was locked, if there was one.
async fn apply(session: &Session, write: &Write, current: Option<ETag>) -> Result<Applied, DbErr> {
    match Step::of(write, current) {
        Step::Nothing(done) => Ok(Applied::Done(done)),
        Step::Delete(tag) => {
            let deleted = Entity::delete_by_id(tag.id).exec(session).await?;
            Ok(match deleted.rows_affected {
                1 => Applied::Done(Done::Deleted),
                _ => Applied::Interrupted,
            })
        }
        Step::Update(tag, value) => match update(session, tag, value).await? {
            1 => stored(session, write, false).await,
            _ => Ok(Applied::Interrupted),
        },
        Step::Create(value) => {
            create(session, write, value).await?;
            stored(session, write, true).await
        }
    }
}

/// Whether the key is why a row is a duplicate, and not another unique index. The failed insert has
/// locked the row that it met, so no other writer has taken it away since.
async fn exists(session: &Session, write: &Write) -> Result<bool, DbErr> {
    let found = lock(session, write, OnLocked::Wait).await?;
    Ok(found.is_some())
}

/// Locks the row if there is one, so that no other writer changes it before this one has.
async fn lock(
    session: &Session,
    write: &Write,
    on_locked: OnLocked,
) -> Result<Option<ETag>, DbErr> {
    let select = select_etag(write.key.as_str());
    let locking = match on_locked {
        OnLocked::Wait => select.lock_exclusive(),
        OnLocked::Fail => select.lock_with_behavior(LockType::Update, LockBehavior::Nowait),
    };
    locking.into_model().one(session).await
}

/// The number of rows that were updated.
async fn update(session: &Session, current: ETag, value: &Value) -> Result<u64, DbErr> {
    let update = Entity::update_many()
        .col_expr(Column::Value, Expr::value(value.as_str()))
        .col_expr(Column::Version, Expr::col(Column::Version).add(1))
        .col_expr(Column::UpdatedAt, Expr::cust("UTC_TIMESTAMP(6)"))
        .filter(Column::Id.eq(current.id));
    Ok(update.exec(session).await?.rows_affected)
}

async fn create(session: &Session, write: &Write, value: &Value) -> Result<(), DbErr> {
    let item = ActiveModel {
        key: Set(write.key.as_str().to_owned()),
        value: Set(value.as_str().to_owned()),
        ..Default::default()
    };
    let insert = Insert::one(item);
    insert.exec_without_returning(session).await.map(drop)
}

/// The row as this transaction, which has it locked, left it.
async fn stored(session: &Session, write: &Write, created: bool) -> Result<Applied, DbErr> {
    let row = Entity::find()
        .select_only()
        .columns([
            Column::Id,
            Column::Version,
            Column::CreatedAt,
            Column::UpdatedAt,
        ])
        .filter(Column::Key.eq(write.key.as_str()))
        .into_tuple()
        .one(session)
        .await?;
    let stored = |(id, version, created_at, updated_at)| {
        Applied::Done(Done::Stored(Written {
            created,
            id,
            version,
            created_at,
            updated_at,
        }))
    };
    Ok(row.map_or(Applied::KeyChanged, stored))
}
