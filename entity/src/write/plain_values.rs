//! Many writes of different keys in one statement, where all update, or all create, whatever the tag: SQLite.
//!
//! The driver runs statements in a thread of its own, so one of many rows costs far less than many of one row. A
//! write whose row does not come back was not done. Sent again by itself, it is told why.
//!
//! The statements are of few lengths, so that the session has nearly all of them prepared; what is left of one is
//! `NULL`, the key of no row. `OR ROLLBACK` saves them the journal of a statement that could be undone by itself.
//! They are raw: the builder cannot update from `VALUES`, nor begin and end a transaction.

use std::{collections::HashMap, iter, sync::LazyLock};

use database::Session;
use sea_orm::{
    ConnectionTrait, DbBackend, FromQueryResult, QueryResult, Statement, sea_query::Value,
};

use crate::write::{
    change::{Done, Write, WriteError, Written},
    in_turn::{Known, is_its_own},
    plain::PlainKind,
    transaction::roll_back,
};

/// The most that the longest statement writes is two to the power of this.
const LONGEST: u32 = 7;

static UPDATE: LazyLock<Vec<String>> = LazyLock::new(|| {
    statements(|values| {
        format!(
            "BEGIN IMMEDIATE; WITH given (key, value) AS (VALUES {values}) \
             UPDATE OR ROLLBACK items SET value = given.value, version = items.version + 1, \
             updated_at = strftime('%Y-%m-%d %H:%M:%f000', 'now') \
             FROM given WHERE items.key = given.key AND items.expires_at IS NULL \
             RETURNING key, false AS created, id, version, created_at, updated_at, NULL AS expires_at; COMMIT"
        )
    })
});

static CREATE: LazyLock<Vec<String>> = LazyLock::new(|| {
    statements(|values| {
        format!(
            "BEGIN IMMEDIATE; WITH given (key, value) AS (VALUES {values}) \
             INSERT OR ROLLBACK INTO items (key, value) \
             SELECT key, value FROM given WHERE key IS NOT NULL ON CONFLICT (key) DO NOTHING \
             RETURNING key, true AS created, id, version, created_at, updated_at, NULL AS expires_at; COMMIT"
        )
    })
});

fn statements(of: impl Fn(String) -> String) -> Vec<String> {
    (0..=LONGEST)
        .map(|exponent| of(vec!["(?, ?)"; 1 << exponent].join(", ")))
        .collect()
}

/// Does the writes, if they are all plain and of one kind. `None` if they are not, or if the database refuses one of
/// them; within, a write that was not done.
///
/// # Errors
/// See [`super::write_together`].
pub(super) async fn write(
    session: &Session,
    writes: &[&Write],
) -> Result<Option<Vec<Known>>, WriteError> {
    let statements = match PlainKind::of(writes) {
        Some(PlainKind::Update) => &UPDATE,
        Some(PlainKind::Create) => &CREATE,
        None => return Ok(None),
    };
    let length = writes.len().next_power_of_two();
    let Some(sql) = statements.get(length.ilog2() as usize) else {
        return Ok(None);
    };
    let given = writes
        .iter()
        .flat_map(|w| [w.key.as_str().into(), w.value().into()]);
    let values = given
        .chain(iter::repeat(Value::String(None)))
        .take(2 * length);
    let statement = Statement::from_sql_and_values(DbBackend::Sqlite, sql, values);
    match session.query_all_raw(statement).await {
        Ok(rows) => outcomes(writes, &rows).map(Some),
        Err(error) => {
            roll_back(session).await?;
            let error = WriteError::of(error);
            if is_its_own(&error) {
                Ok(None)
            } else {
                Err(error)
            }
        }
    }
}

/// One that cannot be read is the matter of its own write.
fn outcomes(writes: &[&Write], rows: &[QueryResult]) -> Result<Vec<Known>, WriteError> {
    let mut stored = HashMap::new();
    for row in rows {
        let key: String = row.try_get("", "key").map_err(WriteError::Unknown)?;
        let written = Written::from_query_result(row, "");
        stored.insert(key, written.map(Done::Stored).map_err(WriteError::Unknown));
    }
    let known = |write: &&Write| stored.remove(write.key.as_str());
    Ok(writes.iter().map(known).collect())
}
