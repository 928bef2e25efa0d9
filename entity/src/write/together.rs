//! Many writes of different keys in one statement, and so in one commit: PostgreSQL.
//!
//! The statement locks the rows that exist, in the order of their keys; then it updates, deletes and
//! inserts. It inserts in the order of the keys too, so two such statements hardly ever wait for each
//! other in a circle. They still do if one inserts a key that the other has found; the session's short
//! lock timeout ends that.
//!
//! If a row changed after the statement began, PostgreSQL goes on with the row as it is once it is
//! locked. So conditions are judged on the version that is replaced. If the row was deleted, another
//! one may have been created in its place: such a write is sent again.
//!
//! A row whose key a trigger has changed has no place among the writes. Then the statement fails by a
//! division by zero, so that nothing is stored.
//!
//! The statement is raw: the builder cannot say `unnest` of several arrays `WITH ORDINALITY`, nor
//! `DELETE … USING`.

use database::Postgres;
use sea_orm::sqlx::{self, Row, postgres::PgRow};

use crate::{
    item::etag::ETag,
    write::{
        change::{Action, Done, Write, WriteError, Written, listed},
        plain,
    },
};

const STORE: i16 = 0;
const STORE_OR_CREATE: i16 = 1;
const CREATE: i16 = 2;
const DELETE: i16 = 3;

const SQL: &str = "\
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::smallint[], $4::text[], $5::text[])
    WITH ORDINALITY AS t (key, value, action, if_match, if_none_match, place)
), found AS MATERIALIZED (
    SELECT id, key, version FROM items WHERE key = ANY($1) ORDER BY key FOR UPDATE
), held AS MATERIALIZED (
    SELECT found.id, given.key, given.value, given.action, given.place
    FROM given JOIN found ON found.key = given.key
    WHERE action <> 2
    AND (if_match IS NULL OR if_match = '*'
        OR strpos(if_match, ',' || found.id || '-' || found.version || ',') > 0)
    AND (if_none_match IS NULL OR (if_none_match <> '*'
        AND strpos(if_none_match, ',' || found.id || '-' || found.version || ',') = 0))
), updated AS (
    UPDATE items SET value = held.value, version = items.version + 1, updated_at = clock_timestamp()
    FROM held WHERE items.id = held.id AND held.action <> 3
    RETURNING held.place, items.id / (items.key = held.key)::int AS id, items.version, items.created_at,
        items.updated_at
), deleted AS (
    DELETE FROM items USING held WHERE items.id = held.id AND held.action = 3
    RETURNING items.id, items.key
), inserted AS (
    INSERT INTO items (key, value)
    SELECT key, value FROM given
    WHERE action IN (1, 2) AND NOT EXISTS (SELECT FROM found WHERE found.key = given.key)
    ORDER BY key COLLATE \"C\"
    ON CONFLICT (key) DO NOTHING
    RETURNING id, key, value, version, created_at, updated_at
), stored AS (
    SELECT * FROM updated
    UNION ALL
    SELECT given.place, inserted.id, inserted.version, inserted.created_at, inserted.updated_at
    FROM inserted LEFT JOIN given ON given.key = inserted.key AND given.value = inserted.value
)
SELECT stored.id / (given.place IS NOT NULL)::int, stored.version, stored.created_at,
    stored.updated_at, deleted.id, found.id, found.version,
    found.id IS NULL AND EXISTS (SELECT FROM items WHERE items.key = given.key)
FROM given
FULL JOIN stored ON stored.place = given.place
LEFT JOIN deleted ON deleted.key = given.key
LEFT JOIN found ON found.key = given.key
ORDER BY given.place";

/// See [`super::write_together`].
pub(super) async fn write(
    postgres: &mut Postgres,
    writes: &[&Write],
) -> Result<Vec<Option<Done>>, WriteError> {
    let planning = postgres.plan_once(true).await;
    planning.map_err(WriteError::NotWritten)?;
    if let Some(done) = plain::write(postgres, writes).await {
        return done;
    }
    let keys: Vec<&str> = writes.iter().map(|write| write.key.as_str()).collect();
    let values: Vec<&str> = writes.iter().map(|write| write.value()).collect();
    let actions: Vec<i16> = writes.iter().map(|write| action(write)).collect();
    let parts = |write: &Write| {
        let precondition = &write.precondition;
        let part = |part: &Option<_>| part.as_ref().map(listed);
        (
            part(&precondition.if_match),
            part(&precondition.if_none_match),
        )
    };
    let (if_match, if_none_match): (Vec<Option<String>>, Vec<Option<String>>) =
        writes.iter().map(|write| parts(write)).unzip();
    let query = sqlx::query(SQL)
        .bind(keys)
        .bind(values)
        .bind(actions)
        .bind(if_match)
        .bind(if_none_match);
    let rows = postgres.fetch_all(query).await.map_err(WriteError::of)?;
    let done = |(write, row): (&&Write, &PgRow)| done(write, row);
    writes
        .iter()
        .zip(&rows)
        .map(done)
        .collect::<Result<_, _>>()
        .map_err(WriteError::unread)
}

fn action(write: &Write) -> i16 {
    match &write.action {
        Action::Create(_) => CREATE,
        Action::Update(_) => STORE,
        Action::Upsert(_) if write.creates() => STORE_OR_CREATE,
        Action::Upsert(_) => STORE,
        Action::Delete => DELETE,
    }
}

fn done(write: &Write, row: &PgRow) -> sqlx::Result<Option<Done>> {
    if let Some(id) = row.try_get(0)? {
        return Ok(Some(Done::Stored(Written {
            created: row.try_get::<Option<i64>, _>(5)?.is_none(),
            id,
            version: row.try_get(1)?,
            created_at: row.try_get(2)?,
            updated_at: row.try_get(3)?,
        })));
    }
    if row.try_get::<Option<i64>, _>(4)?.is_some() {
        return Ok(Some(Done::Deleted));
    }
    let Some(id) = row.try_get(5)? else {
        let was_there: bool = row.try_get(7)?;
        return Ok((!write.creates() && !was_there).then_some(Done::Missing));
    };
    let version = row.try_get(6)?;
    let current = ETag { id, version };
    Ok(match write.action {
        Action::Create(_) => Some(Done::Exists),
        _ if write.precondition.holds(current) => None,
        _ => Some(Done::PreconditionFailed(current)),
    })
}
