//! Rows that a transaction locks before it changes them, in the order of their keys, so that two transactions hardly
//! ever wait for each other in a circle.
//!
//! The statements are of few lengths, so that the session has nearly all of them prepared.

use std::collections::{HashMap, HashSet};

use database::Session;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Select,
    sea_query::{LockBehavior, LockType},
};

use crate::{
    clock,
    item::{Column, Entity, etag::ETag, time::Time},
    write::{change::Write, lengths::padded, step::Step},
};

/// Which items are there, for a transaction that has their rows locked.
pub(super) struct LockedRows {
    pub live: HashMap<String, ETag>,
    /// The rows of those whose end has come.
    pub gone: HashMap<String, i64>,
    /// Whether any has an end.
    pub ends: bool,
}

impl LockedRows {
    /// Locks the rows that exist, and judges all of them at one time. `None` if the database hides one from being
    /// locked, but not from being read.
    pub(super) async fn lock(session: &Session, keys: &[&str]) -> Result<Option<Self>, DbErr> {
        match lock_all(session, keys).await? {
            Some(rows) => judged(session, rows).await.map(Some),
            None => Ok(None),
        }
    }

    /// The rows as one statement reads them, for who changes nothing.
    pub(super) async fn read(session: &Session, keys: &[&str]) -> Result<Self, DbErr> {
        judged(session, rows(select(keys), session).await?).await
    }

    /// What each of the writes has to do.
    pub(super) fn steps<'a>(&self, writes: &[&'a Write]) -> Vec<Step<'a>> {
        let step = |write: &&'a Write| Step::of(write, self.live.get(write.key.as_str()).copied());
        writes.iter().map(step).collect()
    }
}

struct FoundRow {
    key: String,
    tag: ETag,
    end: Option<Time>,
}

/// Judges rows by a clock that is read after they were.
async fn judged(session: &Session, rows: Vec<FoundRow>) -> Result<LockedRows, DbErr> {
    let ends = rows.iter().any(|row| row.end.is_some());
    let now = match ends {
        true => Some(clock::read(session).await?),
        false => None,
    };
    let mut judged = LockedRows {
        live: HashMap::new(),
        gone: HashMap::new(),
        ends,
    };
    for FoundRow { key, tag, end } in rows {
        let is_gone = end.zip(now).is_some_and(|(end, now)| end <= now);
        if is_gone {
            judged.gone.insert(key, tag.id);
        } else {
            judged.live.insert(key, tag);
        }
    }
    Ok(judged)
}

/// How often a row that can be read is looked for again.
const MOST_ROUNDS: u32 = 10;

/// Locks the rows of these keys that exist. On PostgreSQL a row for which it waits may be gone then, and another one of
/// its key there since: that one is not found before another statement begins.
async fn lock_all(session: &Session, keys: &[&str]) -> Result<Option<Vec<FoundRow>>, DbErr> {
    let mut locked = lock_found(session, keys).await?;
    if session.get_database_backend() != DbBackend::Postgres {
        return Ok(Some(locked));
    }
    for _ in 0..MOST_ROUNDS {
        let found: HashSet<&str> = locked.iter().map(|row| row.key.as_str()).collect();
        let is_missing = |key: &&str| !found.contains(key);
        let missing: Vec<&str> = keys.iter().copied().filter(is_missing).collect();
        if missing.is_empty() || rows(select(&missing), session).await?.is_empty() {
            return Ok(Some(locked));
        }
        let more = lock_found(session, &missing).await?;
        locked.extend(more);
    }
    Ok(None)
}

async fn lock_found(session: &Session, keys: &[&str]) -> Result<Vec<FoundRow>, DbErr> {
    let select = select(keys);
    let locking = match session.get_database_backend() {
        // They wait for no lock.
        DbBackend::MySql => select.lock_with_behavior(LockType::Update, LockBehavior::Nowait),
        // It needs none in a transaction that writes.
        DbBackend::Sqlite => select,
        _ => select.lock_exclusive(),
    };
    rows(locking, session).await
}

fn select(keys: &[&str]) -> Select<Entity> {
    Entity::find()
        .select_only()
        .columns([Column::Key, Column::Id, Column::Version, Column::ExpiresAt])
        .filter(Column::Key.is_in(padded(keys)))
        .order_by_asc(Column::Key)
}

async fn rows(select: Select<Entity>, session: &Session) -> Result<Vec<FoundRow>, DbErr> {
    let rows: Vec<(String, i64, i64, Option<Time>)> = select.into_tuple().all(session).await?;
    let row = |(key, id, version, end)| FoundRow {
        key,
        tag: ETag { id, version },
        end,
    };
    Ok(rows.into_iter().map(row).collect())
}
