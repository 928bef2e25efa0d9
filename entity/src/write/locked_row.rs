//! Writes of one transaction that locks the row first: MySQL and MariaDB, which cannot return what
//! an `UPDATE` made.
//!
//! To MariaDB an update is sent as a whole, up to its commit (`compound`).
//!
//! Until `COMMIT` is sent nothing is decided, so the write is claimed only then. The statements that
//! begin and end the transaction are raw: SeaORM has transactions only on connections of its own pool.

use database::{Failure, Session};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QuerySelect,
    sea_query::{Expr, ExprTrait, LockBehavior, LockType, Query},
};

use crate::{
    clock::{now, now_before_end},
    item::{Column, Entity, etag::ETag, value::Value},
    read::find::select_etag,
    write::{
        change::{Action, Done, OnLocked, Write, WriteError, Written, concluded},
        claim::Claim,
        compound,
        step::Step,
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
    session.begin().await.map_err(WriteError::NotWritten)?;
    let current = match lock_live(session, write, on_locked).await {
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
    let met = match Failure::of(&error) {
        // Only an insert can have met a row of its key.
        Failure::Duplicate if locked.is_none() => met(session, write).await,
        _ => Ok(None),
    };
    // After a lock wait timeout the transaction is still open.
    roll_back(session).await?;
    match (met, &write.action) {
        (Ok(Some(Met::Live)), Action::Create(_)) => Ok(Some(Done::Exists)),
        (Ok(Some(_)), _) => Ok(None),
        (Ok(None), _) => Err(WriteError::NotWritten(error)),
        (Err(error), _) => Err(WriteError::NotWritten(error)),
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
        Step::Update(tag, value) => match update(session, write, tag, value).await? {
            1 => stored(session, write, false).await,
            _ => Ok(Applied::Interrupted),
        },
        Step::Create(value) => {
            create(session, write, value).await?;
            stored(session, write, true).await
        }
    }
}

/// Why a row is a duplicate: an item of its key, one that has expired, or `None`: a row that is the same in another
/// unique index. The failed insert has locked the row that it met, so no other writer has taken it away since.
async fn met(session: &Session, write: &Write) -> Result<Option<Met>, DbErr> {
    Ok(match lock(session, write, OnLocked::Wait).await? {
        Some((tag, true)) if is_gone(session, tag).await? => Some(Met::Gone),
        Some(_) => Some(Met::Live),
        None => None,
    })
}

/// An item that an insert has met.
#[derive(Clone, Copy)]
enum Met {
    Live,
    Gone,
}

/// Locks the row if there is one, so that no other writer changes it before this one has. Tells its tag, and whether
/// it has an end.
async fn lock(
    session: &Session,
    write: &Write,
    on_locked: OnLocked,
) -> Result<Option<(ETag, bool)>, DbErr> {
    let ends = Expr::col(Column::ExpiresAt).is_not_null();
    let select = select_etag(write.key.as_str()).expr(ends);
    let locking = match on_locked {
        OnLocked::Wait => select.lock_exclusive(),
        OnLocked::Fail => select.lock_with_behavior(LockType::Update, LockBehavior::Nowait),
    };
    let row: Option<(i64, i64, bool)> = locking.into_tuple().one(session).await?;
    Ok(row.map(|(id, version, ends)| (ETag { id, version }, ends)))
}

/// The tag of the item, once its row is locked and if its end has not come. One whose end has come makes room for a
/// new item.
async fn lock_live(
    session: &Session,
    write: &Write,
    on_locked: OnLocked,
) -> Result<Option<ETag>, DbErr> {
    let Some((tag, ends)) = lock(session, write, on_locked).await? else {
        return Ok(None);
    };
    // By a clock that is read after the row is locked.
    if !ends || !is_gone(session, tag).await? {
        return Ok(Some(tag));
    }
    if write.creates() {
        Entity::delete_by_id(tag.id).exec(session).await?;
    }
    Ok(None)
}

async fn is_gone(session: &Session, tag: ETag) -> Result<bool, DbErr> {
    let gone: Option<i64> = Entity::find_by_id(tag.id)
        .select_only()
        .column(Column::Id)
        .filter(Expr::col(Column::ExpiresAt).lte(now(DbBackend::MySql)))
        .into_tuple()
        .one(session)
        .await?;
    Ok(gone.is_some())
}

/// The number of rows that were updated.
async fn update(
    session: &Session,
    write: &Write,
    current: ETag,
    value: &Value,
) -> Result<u64, DbErr> {
    let update = Entity::update_many()
        .col_expr(Column::Value, Expr::value(value.as_str()))
        .col_expr(Column::Version, Expr::col(Column::Version).add(1))
        // In this order, since MySQL sets one after the other.
        .col_expr(Column::UpdatedAt, now_before_end(DbBackend::MySql))
        .col_expr(Column::ExpiresAt, write.expiry.end(DbBackend::MySql))
        .filter(Column::Id.eq(current.id));
    Ok(update.exec(session).await?.rows_affected)
}

async fn create(session: &Session, write: &Write, value: &Value) -> Result<(), DbErr> {
    let end = write.expiry.first_end(DbBackend::MySql);
    let mut insert = Query::insert();
    insert
        .into_table(Entity)
        .columns([Column::Key, Column::Value, Column::ExpiresAt])
        .values_panic([write.key.as_str().into(), value.as_str().into(), end]);
    session.execute(&insert).await.map(drop)
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
            Column::ExpiresAt,
        ])
        .filter(Column::Key.eq(write.key.as_str()))
        .into_tuple()
        .one(session)
        .await?;
    let stored = |(id, version, created_at, updated_at, expires_at)| {
        Applied::Done(Done::Stored(Written {
            created,
            id,
            version,
            created_at,
            updated_at,
            expires_at,
        }))
    };
    Ok(row.map_or(Applied::KeyChanged, stored))
}
