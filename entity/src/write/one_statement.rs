//! Writes of one statement with `RETURNING`: PostgreSQL and SQLite.
//!
//! A statement that changes no row is followed by a look at the tag. It tells a missing key from a
//! failed precondition, and from an item that was deleted and created anew while the statement waited.
//! If the precondition holds by then, the write is sent again. So a reported tag is one that the key
//! had and that does not fulfil the precondition.
//!
//! The statements are raw: half of each is the condition on the tag, which is text to the builder too.
//! And the builder would put them together anew for every write.

use database::Session;
use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult, Statement};

use crate::{
    item::{
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
    update: &'static str,
    upsert: &'static str,
    delete: &'static str,
}

/// `$position(text, part)` and `$now` in the words of the engine.
///
/// A part of the precondition is as [`listed`] makes it.
macro_rules! statements {
    ($position:literal, $now:literal) => {
        Statements {
            create: concat!(
                "INSERT INTO items (\"key\", value) VALUES ($1, $2) ",
                "ON CONFLICT (\"key\") DO NOTHING ",
                "RETURNING id, version, created_at, updated_at"
            ),
            update: concat!(
                "UPDATE items SET value = $2, version = version + 1, updated_at = ", $now,
                " WHERE \"key\" = $1 AND ", statements!(@holds $position, "$3", "$4"),
                " RETURNING id, version, created_at, updated_at"
            ),
            upsert: concat!(
                "INSERT INTO items (\"key\", value) VALUES ($1, $2) ON CONFLICT (\"key\") DO UPDATE ",
                "SET value = excluded.value, version = items.version + 1, updated_at = ", $now,
                " WHERE ", statements!(@holds $position, "$3", "$4"),
                " RETURNING id, version, created_at, updated_at"
            ),
            delete: concat!(
                "DELETE FROM items WHERE \"key\" = $1 AND ", statements!(@holds $position, "$2", "$3"),
                " RETURNING id"
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

static POSTGRES: Statements = statements!("strpos", "clock_timestamp()");
static SQLITE: Statements = statements!("instr", "strftime('%Y-%m-%d %H:%M:%f000', 'now')");

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
    let mut attempts = 0;
    loop {
        attempts += 1;
        if let Some(done) = concluded(attempt(session, write).await, attempts) {
            return done;
        }
    }
}

/// `None` if the write must be sent again.
async fn attempt(session: &Session, write: &Write) -> Result<Option<Done>, WriteError> {
    let row = session
        .query_one_raw(statement(session, write))
        .await
        .map_err(WriteError::of)?;
    match (&write.action, row) {
        (Action::Delete, Some(_)) => Ok(Some(Done::Deleted)),
        (Action::Create(_) | Action::Update(_) | Action::Upsert(_), Some(row)) => {
            let written = Written::from_query_result(&row, "").map_err(WriteError::Unknown)?;
            Ok(Some(Done::Stored(written)))
        }
        (Action::Create(_), None) => Ok(Some(Done::Exists)),
        (Action::Update(_) | Action::Upsert(_) | Action::Delete, None) => {
            look(session, write).await
        }
    }
}

async fn look(session: &Session, write: &Write) -> Result<Option<Done>, WriteError> {
    let current = find_etag(session, write.key.as_str())
        .await
        .map_err(WriteError::NotWritten)?;
    Ok(match current {
        Some(tag) if write.precondition.holds(tag) => None,
        Some(tag) => Some(Done::PreconditionFailed(tag)),
        None if write.creates() => None,
        None => Some(Done::Missing),
    })
}

fn statement(session: &Session, write: &Write) -> Statement {
    let backend = session.get_database_backend();
    let statements = match backend {
        DbBackend::Sqlite => &SQLITE,
        _ => &POSTGRES,
    };
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
    Statement::from_sql_and_values(backend, sql, values)
}
