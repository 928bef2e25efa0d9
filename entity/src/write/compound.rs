//! Updates in one round trip, and another one for the commit: MariaDB, whose compound statements begin a transaction,
//! update, and read what was stored.
//!
//! They do what is asked for most often. Whatever they find otherwise, such as a key that does not exist, a lock, or a
//! trigger that refuses, they leave to the statements that MySQL knows too.
//!
//! The statements are raw: the builder has no compound ones. `NOWAIT` is not allowed in these, so the time to wait
//! for a lock is set to none instead.

use std::{collections::HashMap, iter, sync::LazyLock};

use database::{Failure, Session};
use sea_orm::{
    ConnectionTrait, DbBackend, DbErr, FromQueryResult, QueryResult, Statement, sea_query::Value,
};

use crate::{
    item::precondition::TagMatch,
    write::{
        change::{Action, Done, Write, WriteError, Written, listed},
        expiry::Expiry,
        transaction::roll_back,
    },
};

const UPDATE_ONE: &str = "\
BEGIN NOT ATOMIC
START TRANSACTION;
SET STATEMENT innodb_lock_wait_timeout = 0 FOR
UPDATE items SET value = ?, version = version + 1, updated_at = UTC_TIMESTAMP(6)
WHERE `key` = ? AND expires_at IS NULL
AND (? IS NULL OR ? = '*' OR INSTR(?, CONCAT(',', id, '-', version, ',')) > 0)
AND (? IS NULL OR (? <> '*' AND INSTR(?, CONCAT(',', id, '-', version, ',')) = 0));
SELECT false AS created, id, version, created_at, updated_at, expires_at FROM items
WHERE `key` = ? AND ROW_COUNT() = 1;
END";

/// Updates the row, in a transaction that is then open, if it exists and meets the precondition. `None` if nothing
/// was done, whatever the reason.
///
/// # Errors
/// Nothing was written.
pub(super) async fn update_one(
    session: &Session,
    write: &Write,
) -> Result<Option<Written>, WriteError> {
    let is_for_ever = matches!(write.expiry, Expiry::Never | Expiry::Keep);
    let (true, Action::Update(value) | Action::Upsert(value)) =
        (session.is_mariadb() && is_for_ever, &write.action)
    else {
        return Ok(None);
    };
    let part = |part: &Option<TagMatch>| -> Value { part.as_ref().map(listed).into() };
    let key: Value = write.key.as_str().into();
    let if_match = part(&write.precondition.if_match);
    let if_none_match = part(&write.precondition.if_none_match);
    let mut values = vec![value.as_str().into(), key.clone()];
    values.extend([if_match.clone(), if_match.clone(), if_match]);
    values.extend([if_none_match.clone(), if_none_match.clone(), if_none_match]);
    values.push(key);
    let rows = send(session, UPDATE_ONE, values).await;
    let written = rows.and_then(|rows| match rows.first() {
        Some(row) => Written::from_query_result(row, "").map(Some),
        None => Ok(None),
    });
    undone_unless(session, written).await
}

/// Updates the rows that exist, in a transaction that is then open, if all of these writes are updates without a
/// precondition. `None` if they are not, or if it was not done for another reason; within, a key that does not exist.
///
/// # Errors
/// Nothing was written.
pub(super) async fn update_many(
    session: &Session,
    writes: &[&Write],
) -> Result<Option<Vec<Option<Done>>>, WriteError> {
    let is_update = |write: &&Write| write.is_plain() && matches!(write.action, Action::Update(_));
    if !session.is_mariadb() || !writes.iter().all(is_update) {
        return Ok(None);
    }
    // Of the few lengths for which there are statements, so that the session has them prepared. The last is repeated.
    let exponent = writes.len().next_power_of_two().ilog2() as usize;
    let Some(sql) = UPDATE_MANY.get(exponent) else {
        return Ok(None);
    };
    let padded = || {
        let last = writes.last().into_iter().cycle();
        writes.iter().chain(last).take(1 << exponent)
    };
    let keys = || padded().map(|write| Value::from(write.key.as_str()));
    // For a key that is repeated the first text counts.
    let texts = writes
        .iter()
        .map(|write| write.value())
        .chain(iter::repeat(""));
    let cases = keys().zip(texts).flat_map(|(key, text)| [key, text.into()]);
    let values = keys().chain(cases).chain(keys()).chain(keys()).collect();
    let rows = send(session, sql, values).await;
    let done = rows.and_then(|rows| outcomes(writes, &rows));
    undone_unless(session, done).await
}

/// The most that the longest statement updates is two to the power of this.
const LONGEST: u32 = 7;

static UPDATE_MANY: LazyLock<Vec<String>> = LazyLock::new(|| {
    (0..=LONGEST)
        .map(|exponent| {
            let length = 1 << exponent;
            let (cases, keys) = (" WHEN ? THEN ?".repeat(length), vec!["?"; length].join(", "));
            format!(
                "BEGIN NOT ATOMIC
START TRANSACTION;
SET STATEMENT innodb_lock_wait_timeout = 0 FOR
SELECT false AS updated, id, `key` FROM items WHERE `key` IN ({keys}) AND expires_at IS NULL
ORDER BY `key` FOR UPDATE;
UPDATE items SET value = CASE `key`{cases} END, version = version + 1, updated_at = UTC_TIMESTAMP(6)
WHERE `key` IN ({keys}) AND expires_at IS NULL;
SELECT true AS updated, id, `key`, version, created_at, updated_at, expires_at, false AS created, ROW_COUNT() AS row_count
FROM items WHERE `key` IN ({keys}) AND expires_at IS NULL;
END"
            )
        })
        .collect()
});

/// What became of the writes. `None` if other rows were updated than were locked, or if there are others now: one
/// that was created since, or one whose key a trigger has changed.
fn outcomes(writes: &[&Write], rows: &[QueryResult]) -> Result<Option<Vec<Option<Done>>>, DbErr> {
    let mut locked = HashMap::new();
    let mut stored = HashMap::new();
    let mut updated = None;
    for row in rows {
        let (id, key): (i64, String) = (row.try_get("", "id")?, row.try_get("", "key")?);
        if !row.try_get::<bool>("", "updated")? {
            locked.insert(id, key);
        } else if locked.get(&id) == Some(&key) {
            updated = Some(row.try_get::<i64>("", "row_count")?);
            stored.insert(key, Written::from_query_result(row, "")?);
        } else {
            return Ok(None);
        }
    }
    let all = i64::try_from(locked.len()).ok();
    if stored.len() != locked.len() || updated != all {
        return Ok(None);
    }
    let done = |write: &&Write| stored.remove(write.key.as_str()).map(Done::Stored);
    Ok(Some(writes.iter().map(done).collect()))
}

async fn send(session: &Session, sql: &str, values: Vec<Value>) -> Result<Vec<QueryResult>, DbErr> {
    let statement = Statement::from_sql_and_values(DbBackend::MySql, sql, values);
    session.query_all_raw(statement).await
}

/// Rolls the transaction back if that was not done for which it was begun, or failed for a reason that the other
/// statements may not have.
async fn undone_unless<T>(
    session: &Session,
    done: Result<Option<T>, DbErr>,
) -> Result<Option<T>, WriteError> {
    if matches!(done, Ok(Some(_))) {
        return Ok(done.unwrap_or_default());
    }
    // After a lock wait timeout the transaction is still open.
    roll_back(session).await?;
    let Err(error) = done else {
        return Ok(None);
    };
    match Failure::of(&error) {
        Failure::Refused | Failure::NotMigrated | Failure::Unreadable => {
            session.forget_statements().await;
            Ok(None)
        }
        Failure::Locked | Failure::RolledBack | Failure::Duplicate => Ok(None),
        Failure::NoConnection
        | Failure::Cancelled
        | Failure::NoRoom
        | Failure::ReadOnly
        | Failure::NoRight
        | Failure::Unknown => Err(WriteError::NotWritten(error)),
    }
}
