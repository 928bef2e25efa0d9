//! Many writes of different keys in one statement, and so in one commit: PostgreSQL.
//!
//! The statement locks the rows that exist, in the order of their keys; then it updates, deletes and
//! inserts. It inserts in the order of the keys too, so two such statements hardly ever wait for each
//! other in a circle. They still do if one inserts a key that the other has found; the session's short
//! lock timeout ends that.
//!
//! If a row changed after the statement began, PostgreSQL goes on with the row as it is once it is
//! locked. So conditions, and whether its end has come, are judged on the version that is replaced, when that is
//! locked. If the row was deleted, another one may have been created in its place: such a write is sent again.
//!
//! A row whose key a trigger has changed has no place among the writes. Then the statement fails by a
//! division by zero, so that nothing is stored.
//!
//! The statement is raw: the builder cannot say `unnest` of several arrays `WITH ORDINALITY`, nor
//! `DELETE … USING`.

use chrono::{DateTime, Utc};
use database::Postgres;
use sea_orm::sqlx::{
    self, Row,
    postgres::{PgArguments, PgRow},
    query::Query,
};

use crate::{
    item::etag::ETag,
    write::{
        change::{Action, Done, Write, WriteError, Written, listed},
        expiry::Expiry,
        plain,
    },
};

const STORE: i16 = 0;
const STORE_OR_CREATE: i16 = 1;
const CREATE: i16 = 2;
const DELETE: i16 = 3;

const SQL: &str = "\
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::timestamptz[],
        $7::bigint[], $8::boolean[])
    WITH ORDINALITY AS t (key, value, action, if_match, if_none_match, expires_at, ttl, keep_ttl, place)
), locked AS MATERIALIZED (
    SELECT id, key, version, expires_at FROM items WHERE key = ANY($1) ORDER BY key FOR UPDATE
), found AS MATERIALIZED (
    SELECT id, key, version, COALESCE(expires_at <= clock_timestamp(), false) AS is_gone FROM locked
), held AS MATERIALIZED (
    SELECT found.id, given.*
    FROM given JOIN found ON found.key = given.key
    WHERE action <> 2 AND NOT is_gone
    AND (if_match IS NULL OR if_match = '*'
        OR strpos(if_match, ',' || found.id || '-' || found.version || ',') > 0)
    AND (if_none_match IS NULL OR (if_none_match <> '*'
        AND strpos(if_none_match, ',' || found.id || '-' || found.version || ',') = 0))
), updated AS (
    UPDATE items SET value = held.value, version = items.version + 1,
        updated_at = LEAST(clock_timestamp(), items.expires_at - interval '1 microsecond'),
        expires_at = CASE WHEN held.keep_ttl THEN items.expires_at
            WHEN held.expires_at IS NOT NULL
            THEN GREATEST(held.expires_at, clock_timestamp() + interval '1 microsecond')
            ELSE clock_timestamp() + held.ttl * interval '1 second' END
    FROM held WHERE items.id = held.id AND held.action <> 3
    RETURNING held.place, items.id / (items.key = held.key)::int AS id, items.version, items.created_at,
        items.updated_at, items.expires_at
), deleted AS (
    DELETE FROM items USING held WHERE items.id = held.id AND held.action = 3
    RETURNING items.id, items.key
), inserted AS (
    INSERT INTO items (key, value, expires_at)
    SELECT key, value, CASE WHEN expires_at IS NOT NULL
        THEN GREATEST(expires_at, clock_timestamp() + interval '1 microsecond')
        ELSE clock_timestamp() + ttl * interval '1 second' END
    FROM given
    WHERE action IN (1, 2) AND NOT EXISTS (SELECT FROM found WHERE found.key = given.key AND NOT is_gone)
    ORDER BY key COLLATE \"C\"
    ON CONFLICT (key) DO UPDATE SET id = excluded.id, value = excluded.value, version = 1,
        created_at = excluded.created_at, updated_at = excluded.updated_at, expires_at = excluded.expires_at
    WHERE items.expires_at <= clock_timestamp()
    RETURNING id, key, value, version, created_at, updated_at, expires_at
), stored AS (
    SELECT * FROM updated
    UNION ALL
    SELECT given.place, inserted.id, inserted.version, inserted.created_at, inserted.updated_at,
        inserted.expires_at
    FROM inserted LEFT JOIN given ON given.key = inserted.key AND given.value = inserted.value
)
SELECT stored.id / (given.place IS NOT NULL)::int, stored.version, stored.created_at,
    stored.updated_at, stored.expires_at, deleted.id, live.id, live.version,
    found.id IS NULL AND EXISTS (SELECT FROM items WHERE items.key = given.key)
FROM given
FULL JOIN stored ON stored.place = given.place
LEFT JOIN deleted ON deleted.key = given.key
LEFT JOIN found ON found.key = given.key
LEFT JOIN found AS live ON live.key = given.key AND NOT live.is_gone
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
    let rows = postgres.fetch_all(bound(writes)).await;
    let rows = rows.map_err(WriteError::of)?;
    let done = |(write, row): (&&Write, &PgRow)| done(write, row);
    writes
        .iter()
        .zip(&rows)
        .map(done)
        .collect::<Result<_, _>>()
        .map_err(WriteError::unread)
}

/// The statement with what it takes of the writes.
fn bound<'q>(writes: &[&'q Write]) -> Query<'q, sqlx::Postgres, PgArguments> {
    fn each<'q, T>(writes: &[&'q Write], of: impl Fn(&'q Write) -> T) -> Vec<T> {
        writes.iter().copied().map(of).collect()
    }
    let part = |part: &Option<_>| part.as_ref().map(listed);
    sqlx::query(SQL)
        .bind(each(writes, |write| write.key.as_str()))
        .bind(each(writes, Write::value))
        .bind(each(writes, action))
        .bind(each(writes, |write| part(&write.precondition.if_match)))
        .bind(each(writes, |write| {
            part(&write.precondition.if_none_match)
        }))
        .bind(each(writes, |write| {
            write.expiry.at().map(DateTime::<Utc>::from)
        }))
        .bind(each(writes, |write| write.expiry.seconds()))
        .bind(each(writes, |write| write.expiry == Expiry::Keep))
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
    let current: Option<i64> = row.try_get(6)?;
    if let Some(id) = row.try_get(0)? {
        return Ok(Some(Done::Stored(Written {
            created: current.is_none(),
            id,
            version: row.try_get(1)?,
            created_at: row.try_get(2)?,
            updated_at: row.try_get(3)?,
            expires_at: row.try_get(4)?,
        })));
    }
    if row.try_get::<Option<i64>, _>(5)?.is_some() {
        return Ok(Some(Done::Deleted));
    }
    let Some(id) = current else {
        let was_there: bool = row.try_get(8)?;
        return Ok((!write.creates() && !was_there).then_some(Done::Missing));
    };
    let version = row.try_get(7)?;
    let current = ETag { id, version };
    Ok(match write.action {
        Action::Create(_) => Some(Done::Exists),
        _ if write.precondition.holds(current) => None,
        _ => Some(Done::PreconditionFailed(current)),
    })
}
