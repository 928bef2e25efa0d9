//! Writes of one statement with `RETURNING`: PostgreSQL and SQLite.
//!
//! A statement that changes no row is followed by a look at the tag. It tells a missing key from a
//! failed precondition, and from an item that was deleted and created anew while the statement waited.
//! If the precondition holds by then, the write is sent again. So a reported tag is one that the key
//! had and that does not fulfil the precondition.
//!
//! A trigger, a rule or a policy can keep the row from being changed without an error. This is told from
//! a race by what cannot happen in one: the item was the same before and after a statement that should
//! have changed it, or an `INSERT` that accepts no conflict stored nothing.
//!
//! The statements are raw: half of each is the condition on the tag, which is text to the builder too.
//! And the builder would put them together anew for every write.

use database::{Failure, Session};
use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult, QueryResult, Statement};

use crate::{
    item::{
        etag::ETag,
        precondition::{Precondition, TagMatch},
    },
    read::find::{FoundTag, find_tag},
    write::{
        change::{Action, Done, Write, WriteError, Written, concluded, listed},
        claim::Claim,
        expiry::Expiry,
    },
};

/// The statements of one engine. Parameters: `$1` key, then the value where there is one, then the
/// two parts of the precondition.
struct Statements {
    create: &'static str,
    /// Creates, and fails if the key exists.
    insert: &'static str,
    update: &'static str,
    upsert: &'static str,
    delete: &'static str,
    /// Creates an item in place of one whose end has come.
    replace: &'static str,
    /// Updates an item whose end has not come yet, which then has none.
    update_ending: &'static str,
    /// Deletes an item whose end has not come yet.
    delete_ending: &'static str,
}

/// In the words of the engine: `$position(text, part)`; `$now`, and the same but before the end of a row that is
/// `$updated` or `$upserted`; an end, around a time, the time again and seconds (see [`clock::at_or_after`]); the row
/// `$locked` before its end is judged; `$returning`, and whether an upsert has `$created` the row. And what stands
/// around each statement.
///
/// A part of the precondition is as [`listed`] makes it.
macro_rules! statements {
    ($begin:literal, $position:literal, [$now:literal $updated:literal $upserted:literal],
     [$at:literal $then:literal $after:literal $added:literal], $locked:literal,
     $returning:literal, $created:literal, $end:literal) => {
        Statements {
            create: concat!(
                $begin, "INSERT INTO items (\"key\", value, expires_at) VALUES ($1, $2, ",
                statements!(@end $at, $then, $after, $added, "$3", "$4"), ") ON CONFLICT (\"key\") DO NOTHING ", $returning, "true AS created", $end
            ),
            insert: concat!(
                $begin, "INSERT INTO items (\"key\", value, expires_at) VALUES ($1, $2, ",
                statements!(@end $at, $then, $after, $added, "$3", "$4"), ") ", $returning, "true AS created", $end
            ),
            update: concat!(
                $begin, "UPDATE items SET version = items.version + 1, value = $2, updated_at = ", $now,
                ", expires_at = ", statements!(@end $at, $then, $after, $added, "$5", "$6"),
                " WHERE items.\"key\" = $1 AND items.expires_at IS NULL AND ",
                statements!(@holds $position, "$3", "$4"), $returning, "false AS created", $end
            ),
            upsert: concat!(
                $begin, "INSERT INTO items (\"key\", value, expires_at) VALUES ($1, $2, ",
                statements!(@end $at, $then, $after, $added, "$5", "$6"), ") ON CONFLICT (\"key\") DO UPDATE ",
                "SET version = items.version + 1, value = excluded.value, expires_at = excluded.expires_at, ",
                "updated_at = ", $upserted,
                " WHERE items.expires_at IS NULL AND ", statements!(@holds $position, "$3", "$4"),
                $returning, $created, " AS created", $end
            ),
            delete: concat!(
                $begin, "DELETE FROM items WHERE items.\"key\" = $1 AND items.expires_at IS NULL AND ",
                statements!(@holds $position, "$2", "$3"),
                " RETURNING items.id", $end
            ),
            replace: concat!(
                $begin, "INSERT INTO items (\"key\", value, expires_at) VALUES ($1, $2, ",
                statements!(@end $at, $then, $after, $added, "$3", "$4"),
                ") ON CONFLICT (\"key\") DO UPDATE SET id = excluded.id, value = excluded.value, version = 1, ",
                "created_at = excluded.created_at, updated_at = excluded.updated_at, expires_at = excluded.expires_at ",
                "WHERE items.expires_at <= ", $now, $returning, "true AS created", $end
            ),
            update_ending: concat!(
                $begin, $locked, "UPDATE items SET version = items.version + 1, value = $2, updated_at = ", $updated,
                ", expires_at = CASE WHEN $7 THEN items.expires_at ELSE ",
                statements!(@end $at, $then, $after, $added, "$5", "$6"), " END FROM locked WHERE items.id = locked.held AND locked.end_held > ", $now, " AND ",
                statements!(@holds $position, "$3", "$4"), $returning, "false AS created", $end
            ),
            delete_ending: concat!(
                $begin, $locked, "DELETE FROM items WHERE items.id IN (SELECT locked.held FROM locked ",
                "WHERE locked.end_held > ", $now, ") AND ", statements!(@holds $position, "$2", "$3"),
                " RETURNING items.id", $end
            ),
        }
    };
    (@end $at:literal, $then:literal, $after:literal, $added:literal, $time:literal, $seconds:literal) => {
        concat!($at, $time, $then, $time, $after, $seconds, $added)
    };
    (@holds $position:literal, $if_match:literal, $if_none_match:literal) => {
        concat!(
            "(CAST(", $if_match, " AS text) IS NULL OR ", $if_match, " = '*' OR ",
            $position, "(", $if_match, ", ',' || items.id || '-' || items.version || ',') > 0) ",
            "AND (CAST(", $if_none_match, " AS text) IS NULL OR (", $if_none_match, " <> '*' AND ",
            $position, "(", $if_none_match, ", ',' || items.id || '-' || items.version || ',') = 0))"
        )
    };
}

static POSTGRES: Statements = statements!(
    "",
    "strpos",
    [
        "clock_timestamp()"
        "LEAST(clock_timestamp(), items.expires_at - interval '1 microsecond')"
        "LEAST(clock_timestamp(), excluded.expires_at - interval '1 microsecond')"
    ],
    [
        "CASE WHEN CAST("
        " AS timestamptz) IS NOT NULL THEN GREATEST(CAST("
        " AS timestamptz), clock_timestamp() + interval '1 microsecond') ELSE clock_timestamp() + CAST("
        " AS bigint) * interval '1 second' END"
    ],
    "WITH locked AS MATERIALIZED (SELECT id AS held, expires_at AS end_held FROM items WHERE \"key\" = $1 FOR UPDATE) ",
    // Fails, so that nothing is stored, if a trigger has changed the key.
    " RETURNING id / (\"key\" = $1)::int AS id, version, created_at, updated_at, expires_at, ",
    // A row of this transaction has its time. The version does not tell, as a trigger may set it, and the system
    // columns take the right to read the whole table.
    "created_at = now()",
    ""
);
/// The statements of SQLite.
macro_rules! sqlite {
    ($begin:literal, $end:literal) => {
        statements!(
            $begin,
            "instr",
            // The same throughout a statement that changes one row.
            [
                "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
                "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
                "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
            ],
            [
                "CASE WHEN "
                " IS NOT NULL THEN max("
                ", strftime('%Y-%m-%d %H:%M:%f000', 'now', '+0.001 seconds')) ELSE strftime('%Y-%m-%d %H:%M:%f000', 'now', "
                ") END"
            ],
            "WITH locked AS (SELECT id AS held, expires_at AS end_held FROM items WHERE \"key\" = $1) ",
            " RETURNING items.id, items.version, items.created_at, items.updated_at, items.expires_at, ",
            "version = 1",
            $end
        )
    };
}

/// In a transaction, as a statement that ends by `RAISE(FAIL)` in a trigger keeps what it has done.
///
/// The version tells a creation, since no trigger of SQLite can change `NEW`. It deceives only where other software has
/// given the row that is updated the version 0.
static SQLITE: Statements = sqlite!("BEGIN IMMEDIATE; ", "; COMMIT");
/// Among others in a transaction that has begun.
static SQLITE_WITHIN: Statements = sqlite!("", "");

pub(super) async fn write(
    session: &Session,
    write: &Write,
    claim: &Claim,
) -> Result<Done, WriteError> {
    session
        .begin_pooled()
        .await
        .map_err(WriteError::NotWritten)?;
    if !claim.take() {
        return Err(WriteError::Abandoned);
    }
    let (mut attempts, mut seen) = (0, None);
    loop {
        attempts += 1;
        match concluded(attempt(session, write, &mut seen).await, attempts) {
            // It conflicts every time with a row that it never sees.
            Some(Err(WriteError::Contended)) if seen.is_none() => return Err(WriteError::Ignored),
            Some(done) => return done,
            None => {}
        }
    }
}

/// `None` if the write must be sent again. `seen` is the last tag that fulfilled the precondition although
/// nothing was written.
async fn attempt(
    session: &Session,
    write: &Write,
    seen: &mut Option<ETag>,
) -> Result<Option<Done>, WriteError> {
    let done = send(
        session,
        write,
        statement(session, statements(session), write),
    )
    .await?;
    if done.is_some() {
        return Ok(done);
    }
    let current = find_tag(session, write.key.as_str()).await;
    let current = current.map_err(WriteError::NotWritten)?;
    if let Some(sql) = of_end(statements(session), write, current.as_ref()) {
        let done = send(session, write, bound(session, sql, write)).await?;
        // Only that statement has judged the end with the row locked.
        let was_gone = current.is_some_and(|found| found.is_gone) && !write.creates();
        if done.is_some() || !was_gone || !is_gone(session, write).await? {
            return Ok(done);
        }
        return Ok(Some(Done::Missing));
    }
    let live = current.filter(|found| !found.is_gone);
    match (&write.action, live.map(|found| found.etag())) {
        (Action::Create(_), Some(_)) => Ok(Some(Done::Exists)),
        (_, Some(tag)) if !write.precondition.holds(tag) => Ok(Some(Done::PreconditionFailed(tag))),
        (_, Some(tag)) if seen.replace(tag) == Some(tag) => Err(WriteError::Ignored),
        (_, Some(_)) => Ok(None),
        (Action::Create(_) | Action::Upsert(_), None) if write.creates() => {
            insert(session, write).await
        }
        (_, None) => Ok(Some(Done::Missing)),
    }
}

/// Whether the item that was gone still is, or is not there any more.
async fn is_gone(session: &Session, write: &Write) -> Result<bool, WriteError> {
    let found = find_tag(session, write.key.as_str()).await;
    let found = found.map_err(WriteError::NotWritten)?;
    Ok(found.is_none_or(|found| found.is_gone))
}

/// Sends the write within a transaction of SQLite, in which no other writer is.
///
/// # Errors
/// The transaction, which has to be rolled back, if it is not already.
pub(super) async fn write_within(session: &Session, write: &Write) -> Result<Done, WriteError> {
    let row = session
        .query_one_raw(statement(session, &SQLITE_WITHIN, write))
        .await;
    if let Some(done) = done(write, row.map_err(WriteError::of)?)? {
        return Ok(done);
    }
    let current = find_tag(session, write.key.as_str()).await;
    let current = current.map_err(WriteError::NotWritten)?;
    if let Some(sql) = of_end(&SQLITE_WITHIN, write, current.as_ref()) {
        let row = session.query_one_raw(bound(session, sql, write)).await;
        if let Some(done) = done(write, row.map_err(WriteError::of)?)? {
            return Ok(done);
        }
        // Its end has come since.
        return match write.creates() {
            true => Err(WriteError::Contended),
            false => Ok(Done::Missing),
        };
    }
    let live = current.filter(|found| !found.is_gone);
    match (&write.action, live.map(|found| found.etag())) {
        (Action::Create(_), Some(_)) => Ok(Done::Exists),
        (_, Some(tag)) if !write.precondition.holds(tag) => Ok(Done::PreconditionFailed(tag)),
        (_, None) if !write.creates() => Ok(Done::Missing),
        _ => Err(WriteError::Ignored),
    }
}

/// The statement for an item that has an end, if there is something to be done with it.
fn of_end(
    statements: &Statements,
    write: &Write,
    found: Option<&FoundTag>,
) -> Option<&'static str> {
    let found = found.filter(|found| found.ends)?;
    match &write.action {
        _ if found.is_gone && write.creates() => Some(statements.replace),
        _ if !found.is_gone && !write.precondition.holds(found.etag()) => None,
        Action::Create(_) => None,
        Action::Update(_) | Action::Upsert(_) => Some(statements.update_ending),
        Action::Delete => Some(statements.delete_ending),
    }
}

/// Creates the item although the statement that should have done it did nothing.
async fn insert(session: &Session, write: &Write) -> Result<Option<Done>, WriteError> {
    let insert = bound(session, statements(session).insert, write);
    match send(session, write, insert).await {
        Ok(None) => Err(WriteError::Ignored),
        // Another writer has created it meanwhile.
        Err(WriteError::NotWritten(error)) if Failure::of(&error) == Failure::Duplicate => Ok(None),
        done => done,
    }
}

/// `None` if it changed no row.
async fn send(
    session: &Session,
    write: &Write,
    statement: Statement,
) -> Result<Option<Done>, WriteError> {
    let row = session.query_one_raw(statement).await;
    if row.is_err() && session.get_database_backend() == DbBackend::Sqlite {
        // Fails where nothing has begun, or where a trigger has ended the transaction.
        let _ = session.execute_unprepared("ROLLBACK").await;
        session.forget_statements().await;
    }
    done(write, row.map_err(WriteError::of)?)
}

/// What the row that a statement returned says of the write; `None` if there is none.
fn done(write: &Write, row: Option<QueryResult>) -> Result<Option<Done>, WriteError> {
    match (&write.action, row) {
        (_, None) => Ok(None),
        (Action::Delete, Some(_)) => Ok(Some(Done::Deleted)),
        (Action::Create(_) | Action::Update(_) | Action::Upsert(_), Some(row)) => {
            let written = Written::from_query_result(&row, "").map_err(WriteError::Unknown)?;
            Ok(Some(Done::Stored(written)))
        }
    }
}

fn statements(session: &Session) -> &'static Statements {
    match session.get_database_backend() {
        DbBackend::Sqlite => &SQLITE,
        _ => &POSTGRES,
    }
}

fn statement(session: &Session, statements: &Statements, write: &Write) -> Statement {
    let sql = match &write.action {
        Action::Create(_) => statements.create,
        Action::Upsert(_) if write.creates() => statements.upsert,
        Action::Update(_) | Action::Upsert(_) => statements.update,
        Action::Delete => statements.delete,
    };
    bound(session, sql, write)
}

/// The statement with what it takes of the write: the key, the value, the precondition if it has one, and the end.
fn bound(session: &Session, sql: &str, write: &Write) -> Statement {
    let Precondition {
        if_match,
        if_none_match,
    } = &write.precondition;
    let part = |part: &Option<TagMatch>| part.as_ref().map(listed).into();
    let is_deletion = matches!(write.action, Action::Delete);
    let mut values = vec![write.key.as_str().into()];
    if !is_deletion {
        values.push(write.value().into());
    }
    // Those that create whatever there is take no condition.
    if is_deletion || sql.contains("$5") {
        values.extend([part(if_match), part(if_none_match)]);
    }
    if !is_deletion {
        values.extend(write.expiry.values(session.get_database_backend()));
        if sql.contains("$7") {
            values.push((write.expiry == Expiry::Keep).into());
        }
    }
    Statement::from_sql_and_values(session.get_database_backend(), sql, values)
}
