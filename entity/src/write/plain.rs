//! Many writes of different keys in one statement, where all update, or all create, whatever the tag: PostgreSQL.
//!
//! It does what the statement of `together` does, with less work for each row. A write whose row does not come
//! back was not done: there is no such key, or there is one already, or its item has an end, or another write overtook
//! it. Sent again by itself, it is told which.
//!
//! The statement fails if a trigger has changed the key of a row, or the value of a new one, which tells whose row it
//! is where the new key is another write's.
//!
//! The keys are given in their order, in which the rows are then locked, so two such statements hardly ever
//! wait for each other in a circle.
//!
//! The statements are raw: the builder cannot say `unnest` of several arrays.

use database::Postgres;
use sea_orm::sqlx::{self, Row, postgres::PgRow};

use crate::write::change::{Action, Done, Write, WriteError, Written};

const UPDATE: &str = "\
UPDATE items SET value = given.value, version = items.version + 1, updated_at = clock_timestamp()
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS given (key, value, place)
WHERE items.key = given.key AND items.expires_at IS NULL
RETURNING given.place, items.id / (items.key = given.key)::int, items.version, items.created_at,
    items.updated_at";

const CREATE: &str = "\
WITH inserted AS (
    INSERT INTO items (key, value)
    SELECT key, value FROM unnest($1::text[], $2::text[]) AS given (key, value)
    ON CONFLICT (key) DO NOTHING
    RETURNING key, value, id, version, created_at, updated_at
)
SELECT given.place, inserted.id / (given.place IS NOT NULL)::int, inserted.version,
    inserted.created_at, inserted.updated_at
FROM inserted LEFT JOIN unnest($1::text[], $2::text[]) WITH ORDINALITY AS given (key, value, place)
ON given.key = inserted.key AND given.value = inserted.value";

/// What all writes of a batch do, whatever the tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlainKind {
    Update,
    Create,
}

impl PlainKind {
    /// `None` if they do not all do the same, or if one has a precondition.
    pub(super) fn of(writes: &[&Write]) -> Option<Self> {
        let all = |is: fn(&Action) -> bool| writes.iter().all(|write| is(&write.action));
        if !writes.iter().all(|write| write.is_plain()) {
            None
        } else if all(|action| matches!(action, Action::Update(_))) {
            Some(Self::Update)
        } else if all(|action| matches!(action, Action::Create(_))) {
            Some(Self::Create)
        } else {
            None
        }
    }
}

/// Sends the writes as [`super::write_together`] does, if they are all plain and of one kind.
pub(super) async fn write(
    postgres: &mut Postgres,
    writes: &[&Write],
) -> Option<Result<Vec<Option<Done>>, WriteError>> {
    let kind = PlainKind::of(writes)?;
    let sql = match kind {
        PlainKind::Update => UPDATE,
        PlainKind::Create => CREATE,
    };
    let mut places: Vec<usize> = (0..writes.len()).collect();
    places.sort_unstable_by_key(|place| writes[*place].key.as_str());
    let texts =
        |text: fn(&Write) -> &str| places.iter().map(|place| text(writes[*place])).collect();
    let keys: Vec<&str> = texts(|write| write.key.as_str());
    let values: Vec<&str> = texts(Write::value);
    let rows = postgres
        .fetch_all(sqlx::query(sql).bind(keys).bind(values))
        .await;
    let done = |rows: Vec<PgRow>| {
        let mut done: Vec<Option<Done>> = writes.iter().map(|_| None).collect();
        for row in rows {
            let (place, written) =
                read(&row, kind == PlainKind::Create).map_err(WriteError::unread)?;
            done[places[place]] = Some(Done::Stored(written));
        }
        Ok(done)
    };
    Some(rows.map_err(WriteError::of).and_then(done))
}

/// The place among the keys, and what was stored.
fn read(row: &PgRow, created: bool) -> sqlx::Result<(usize, Written)> {
    let place: i64 = row.try_get(0)?;
    let written = Written {
        created,
        id: row.try_get(1)?,
        version: row.try_get(2)?,
        created_at: row.try_get(3)?,
        updated_at: row.try_get(4)?,
        expires_at: None,
    };
    // The server counts from 1.
    Ok((place as usize - 1, written))
}
