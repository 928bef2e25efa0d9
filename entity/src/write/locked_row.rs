//! Writes of one transaction that locks the row first: MySQL and MariaDB, which cannot return what
//! an `UPDATE` made.
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
    let current = match lock(session, write, on_locked).await {
        Ok(current) => current,
        Err(error) => return failed(session, write, None, error).await,
    };
    let outcome = match apply(session, write, current).await {
        Ok(outcome) => outcome,
        Err(error) => return failed(session, write, current, error).await,
    };
    let Some(outcome) = outcome else {
        roll_back(session).await?;
        return Err(WriteError::Ignored);
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

async fn commit(session: &Session) -> Result<(), WriteError> {
    let Err(error) = session.execute_unprepared("COMMIT").await else {
        return Ok(());
    };
    match Failure::of(&error) {
        // The server rolled back instead.
        Failure::RolledBack | Failure::Locked | Failure::Cancelled | Failure::ReadOnly => {
            roll_back(session).await?;
            Err(WriteError::NotWritten(error))
        }
        _ => Err(WriteError::Unknown(error)),
    }
}

/// If `ROLLBACK` fails, the transaction ends with the session, so the error is that of a lost one: the
/// next `START TRANSACTION` on this session would commit what the transaction has written.
async fn roll_back(session: &Session) -> Result<(), WriteError> {
    let done = session.execute_unprepared("ROLLBACK").await;
    done.map(drop).map_err(|error| {
        WriteError::NotWritten(match error {
            DbErr::Exec(cause) | DbErr::Query(cause) => DbErr::Conn(cause),
            error => error,
        })
    })
}

/// Writes the row that was locked, if there was one. `None` if the row is not there that was just written: a
/// trigger has changed its key.
async fn apply(
    session: &Session,
    write: &Write,
    current: Option<ETag>,
) -> Result<Option<Done>, DbErr> {
    Ok(Some(match (&write.action, current) {
        (Action::Create(_), Some(_)) => Done::Exists,
        (_, Some(tag)) if !write.precondition.holds(tag) => Done::PreconditionFailed(tag),
        (Action::Delete, Some(tag)) => {
            Entity::delete_by_id(tag.id).exec(session).await?;
            Done::Deleted
        }
        (Action::Update(value) | Action::Upsert(value), Some(tag)) => {
            update(session, tag, value).await?;
            return stored(session, write, false).await;
        }
        (Action::Create(value) | Action::Upsert(value), None) if write.creates() => {
            create(session, write, value).await?;
            return stored(session, write, true).await;
        }
        (_, None) => Done::Missing,
    }))
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

async fn update(session: &Session, current: ETag, value: &Value) -> Result<(), DbErr> {
    let update = Entity::update_many()
        .col_expr(Column::Value, Expr::value(value.as_str()))
        .col_expr(Column::Version, Expr::col(Column::Version).add(1))
        .col_expr(Column::UpdatedAt, Expr::cust("UTC_TIMESTAMP(6)"))
        .filter(Column::Id.eq(current.id));
    update.exec(session).await.map(drop)
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
async fn stored(session: &Session, write: &Write, created: bool) -> Result<Option<Done>, DbErr> {
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
    Ok(row.map(|(id, version, created_at, updated_at)| {
        Done::Stored(Written {
            created,
            id,
            version,
            created_at,
            updated_at,
        })
    }))
}
