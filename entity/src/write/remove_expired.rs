//! Removing what has expired: a few rows at a time, passing over those that others have locked.
//!
//! A row that was written after its end is not removed: whoever wrote it did not know of ends.

use std::time::Duration;

use database::{Failure, Session};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, Select, Value,
    prelude::DateTimeUtc,
    sea_query::{Expr, ExprTrait, LockBehavior, LockType},
};

use crate::{
    clock,
    item::{Column, Entity, time::Time},
    read::live,
    write::{
        change::WriteError,
        lengths::padded,
        transaction::{commit, roll_back},
    },
};

/// What one removal has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Removed {
    /// How many items it found that have expired and that nobody has locked.
    pub found: u64,
    /// How many of these it removed. The database may ignore the deletion of some.
    pub items: u64,
    /// The id of the first that it found.
    pub first: Option<i64>,
    /// The latest end of those that it found.
    pub until: Option<Time>,
}

/// How long ago the first of those items expired that wait for their removal; `None` if none does.
///
/// # Errors
/// What the database said.
pub async fn expired_since(session: &Session) -> Result<Option<Duration>, DbErr> {
    let first: Option<Time> = expired(session, &Removable::default())
        .select_only()
        .column(Column::ExpiresAt)
        .order_by_asc(Column::ExpiresAt)
        .limit(1)
        .into_tuple()
        .one(session)
        .await?;
    let Some(first) = first else {
        return Ok(None);
    };
    let now = clock::read(session).await?;
    let since = DateTimeUtc::from(now) - DateTimeUtc::from(first);
    Ok(Some(since.to_std().unwrap_or_default()))
}

/// How many items have expired and wait for their removal.
///
/// # Errors
/// What the database said.
pub async fn count_removable(session: &Session) -> Result<u64, DbErr> {
    expired(session, &Removable::default()).count(session).await
}

/// What is to be removed.
#[derive(Clone, Debug, Default)]
pub struct Removable {
    /// An end before which nothing is left to do: a search from the beginning would go over all that was just removed
    /// and is not yet tidied up.
    pub from: Option<Time>,
    /// The ids of items that the database refuses to delete.
    pub except: Vec<i64>,
}

/// Removes at most `most` items that have expired, the earliest first.
///
/// Must run to its end, as a write must.
///
/// # Errors
/// See [`WriteError`].
// Long: it ends in four ways.
pub async fn remove_expired(
    session: &Session,
    most: u32,
    what: &Removable,
) -> Result<Removed, WriteError> {
    session.begin().await.map_err(WriteError::NotWritten)?;
    let found = match lock_expired(session, most, what).await {
        Ok(found) => found,
        Err(error) => {
            roll_back(session).await?;
            return Err(WriteError::NotWritten(error));
        }
    };
    let ids: Vec<i64> = found.iter().map(|(id, _)| *id).collect();
    let mut removed = Removed {
        found: ids.len() as u64,
        items: 0,
        first: ids.first().copied(),
        until: found.last().map(|(_, end)| *end),
    };
    if ids.is_empty() {
        roll_back(session).await?;
        return Ok(removed);
    }
    let delete = Entity::delete_many().filter(Column::Id.is_in(padded(&ids)));
    match delete.exec(session).await {
        Ok(deleted) => {
            removed.items = deleted.rows_affected;
            commit(session).await?;
            Ok(removed)
        }
        Err(error) => {
            roll_back(session).await?;
            match Failure::of(&error) {
                // None of them is removed; one is why.
                Failure::Refused => Ok(removed),
                _ => Err(WriteError::NotWritten(error)),
            }
        }
    }
}

/// The ids and the ends of items that have expired, the earliest first, which are then locked; SQLite has no other
/// writer meanwhile.
async fn lock_expired(
    session: &Session,
    most: u32,
    what: &Removable,
) -> Result<Vec<(i64, Time)>, DbErr> {
    let select = expired(session, what)
        .select_only()
        .columns([Column::Id, Column::ExpiresAt])
        .order_by_asc(Column::ExpiresAt)
        .limit(u64::from(most));
    let locking = match session.get_database_backend() {
        DbBackend::Sqlite => select,
        _ => select.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked),
    };
    locking.into_tuple().all(session).await
}

/// Those that have expired, as the index of ends finds them.
fn expired(session: &Session, what: &Removable) -> Select<Entity> {
    let backend = session.get_database_backend();
    let end = || Expr::col(Column::ExpiresAt);
    let mut select = Entity::find()
        .filter(live::expired(backend))
        .filter(Expr::col(Column::UpdatedAt).lt(end()));
    if let Some(from) = what.from {
        let from: Value = match backend {
            DbBackend::Postgres => from.into(),
            _ => from.in_columns().into(),
        };
        select = select.filter(end().gte(from));
    }
    if !what.except.is_empty() {
        select = select.filter(Column::Id.is_not_in(what.except.iter().copied()));
    }
    select
}
