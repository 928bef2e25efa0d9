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
        value::Value,
    },
    read::find::find_etag,
    write::{
        change::{Action, Done, Write, WriteError, Written, concluded, listed},
        claim::Claim,
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
}

/// `$position(text, part)`, `$now`, `$returning` and whether an upsert has `$created` the row in the words of
/// the engine, and what stands around each statement.
///
/// A part of the precondition is as [`listed`] makes it.
macro_rules! statements {
    ($begin:literal, $position:literal, $now:literal, $returning:literal, $created:literal, $end:literal) => {
        Statements {
            create: concat!(
                $begin, "INSERT INTO items (\"key\", value) VALUES ($1, $2) ",
                "ON CONFLICT (\"key\") DO NOTHING ", $returning, "true AS created", $end
            ),
            insert: concat!(
                $begin, "INSERT INTO items (\"key\", value) VALUES ($1, $2) ", $returning, "true AS created", $end
            ),
            update: concat!(
                $begin, "UPDATE items SET version = items.version + 1, value = $2, updated_at = ", $now,
                " WHERE items.\"key\" = $1 AND ", statements!(@holds $position, "$3", "$4"),
                $returning, "false AS created", $end
            ),
            upsert: concat!(
                $begin, "INSERT INTO items (\"key\", value) VALUES ($1, $2) ",
                "ON CONFLICT (\"key\") DO UPDATE ",
                "SET version = items.version + 1, value = excluded.value, updated_at = ", $now,
                " WHERE ", statements!(@holds $position, "$3", "$4"),
                $returning, $created, " AS created", $end
            ),
            delete: concat!(
                $begin, "DELETE FROM items WHERE items.\"key\" = $1 AND ",
                statements!(@holds $position, "$2", "$3"),
                " RETURNING items.id", $end
            ),
        }
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
    "clock_timestamp()",
    // Fails, so that nothing is stored, if a trigger has changed the key.
    " RETURNING id / (\"key\" = $1)::int AS id, version, created_at, updated_at, ",
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
            "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
            " RETURNING items.id, items.version, items.created_at, items.updated_at, ",
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
    let current = find_etag(session, write.key.as_str()).await;
    match (&write.action, current.map_err(WriteError::NotWritten)?) {
        (Action::Create(_), Some(_)) => Ok(Some(Done::Exists)),
        (_, Some(tag)) if !write.precondition.holds(tag) => Ok(Some(Done::PreconditionFailed(tag))),
        (_, Some(tag)) if seen.replace(tag) == Some(tag) => Err(WriteError::Ignored),
        (_, Some(_)) => Ok(None),
        (Action::Create(value) | Action::Upsert(value), None) if write.creates() => {
            insert(session, write, value).await
        }
        (_, None) => Ok(Some(Done::Missing)),
    }
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
    let current = find_etag(session, write.key.as_str()).await;
    match (&write.action, current.map_err(WriteError::NotWritten)?) {
        (Action::Create(_), Some(_)) => Ok(Done::Exists),
        (_, Some(tag)) if !write.precondition.holds(tag) => Ok(Done::PreconditionFailed(tag)),
        (_, None) if !write.creates() => Ok(Done::Missing),
        _ => Err(WriteError::Ignored),
    }
}

/// Creates the item although the statement that should have done it did nothing.
async fn insert(
    session: &Session,
    write: &Write,
    value: &Value,
) -> Result<Option<Done>, WriteError> {
    let values = [write.key.as_str().into(), value.as_str().into()];
    let sql = statements(session).insert;
    let insert = Statement::from_sql_and_values(session.get_database_backend(), sql, values);
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
    let Precondition {
        if_match,
        if_none_match,
    } = &write.precondition;
    let key = write.key.as_str().into();
    let part = |part: &Option<TagMatch>| part.as_ref().map(listed).into();
    let text = |value: &Value| value.as_str().into();
    let (sql, values) = match &write.action {
        Action::Create(value) => (statements.create, vec![key, text(value)]),
        Action::Update(value) => (
            statements.update,
            vec![key, text(value), part(if_match), part(if_none_match)],
        ),
        Action::Upsert(value) => (
            if write.creates() {
                statements.upsert
            } else {
                statements.update
            },
            vec![key, text(value), part(if_match), part(if_none_match)],
        ),
        Action::Delete => (
            statements.delete,
            vec![key, part(if_match), part(if_none_match)],
        ),
    };
    Statement::from_sql_and_values(session.get_database_backend(), sql, values)
}
