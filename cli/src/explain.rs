//! The database's errors in words: what happened, why, and what to do next. Never a password.

use std::{io, path::Path};

use database::{DatabaseUrl, Engine, Failure};
use entity::write::WriteError;
use migration::{MigrateError, MissingRight};
use sea_orm::{DbErr, RuntimeErr, sqlx};

/// How the driver begins to say that it does not know how a user of MySQL or MariaDB logs in.
const UNKNOWN_LOGIN: &str = "unknown authentication plugin: ";

pub(crate) const NOT_MIGRATED: &str = "the database is not migrated; run kvctl migrate";

/// Says why there is no connection.
pub(crate) fn no_connection(url: &DatabaseUrl, error: &DbErr) -> String {
    let place = url.place();
    let next = match driver(error) {
        // It says itself what to do.
        None if matches!(error, DbErr::Conn(RuntimeErr::Internal(_))) => {
            return cannot_connect(url, &cause(error));
        }
        _ if Failure::of(error) == Failure::NoRight => {
            "the user has no right to connect to the database; grant it, or use another user"
        }
        Some(sqlx::Error::Database(error)) => match &*error.code().unwrap_or_default() {
            "28P01" | "28000" => "check the user and the password in the database URL",
            "3D000" | "42000" if error.message().to_lowercase().contains("database") => {
                "create the database or let the user in, or check its name in the URL"
            }
            "14" => no_file(Path::new(&place)),
            "26" => "is it the file of another program?",
            "53300" | "08004" => "try again when others are done",
            _ => "check the database URL",
        },
        Some(sqlx::Error::Protocol(text)) if text.starts_with(UNKNOWN_LOGIN) => {
            "give the user a password"
        }
        Some(sqlx::Error::Tls(_)) => "check sslmode and the certificates in the database URL",
        _ if url.engine() == Engine::Sqlite => "check the database URL",
        _ => "is the server running there, and is the database URL right?",
    };
    cannot_connect(url, &format!("{}; {next}", cause(error)))
}

fn cannot_connect(url: &DatabaseUrl, why: &str) -> String {
    let (shown, place) = (url.to_string(), url.place());
    let at = if shown.contains(&place) {
        String::new()
    } else {
        format!(" at {place}")
    };
    format!("cannot connect to {shown}{at}: {why}")
}

/// What to do about a file that cannot be opened.
fn no_file(path: &Path) -> &'static str {
    let directory = path.parent().filter(|path| !path.as_os_str().is_empty());
    if path.is_dir() {
        "it is a directory, not a file"
    } else if path.exists() {
        "may you read it?"
    } else if directory.is_some_and(|path| !path.is_dir()) {
        "its directory does not exist; is the path right?"
    } else {
        "is the path right? kvctl migrate creates the file"
    }
}

/// Says why a statement failed.
pub(crate) fn failed(error: &DbErr) -> String {
    let why = cause(error);
    match Failure::of(error) {
        Failure::NotMigrated => NOT_MIGRATED.to_owned(),
        Failure::NoConnection => {
            format!("no connection to the database: {why}; try again when it is back")
        }
        Failure::Unknown => {
            format!("the connection to the database broke: {why}; try again when it is back")
        }
        Failure::Locked => {
            format!("somebody else holds a lock for too long: {why}; try again later")
        }
        Failure::ReadOnly => {
            format!("the database is read-only: {why}; name one that can be written")
        }
        Failure::NoRoom => {
            format!("the database has no room left: {why}; make some and try again")
        }
        Failure::RolledBack if database::is_of_taken_id(error) => format!(
            "the sequence of the ids is behind some that are taken: {why}; \
             SELECT setval(pg_get_serial_sequence('items', 'id'), max(id)) FROM items mends it"
        ),
        Failure::RolledBack | Failure::Cancelled => {
            format!("the database stopped it: {why}; try again")
        }
        Failure::NoRight => no_right(&why),
        Failure::Unreadable if unreadable(error) => {
            format!("{why}; other software wrote it, and SQL can mend it")
        }
        Failure::Duplicate | Failure::Refused | Failure::Unreadable => match code(error).as_str() {
            "1153" | "1301" => {
                format!("larger than the server takes: {why}; raise max_allowed_packet there")
            }
            _ => format!("the database refused: {why}"),
        },
    }
}

/// Says that the user of the database lacks a right, in the words of the server or ours.
pub(crate) fn no_right(which: &str) -> String {
    format!("the database user lacks a right: {which}; grant it, or use another user")
}

/// Names these rights, of which at least one is missing, and what the server said of it.
pub(crate) fn missing_rights(missing: &[MissingRight], error: &DbErr) -> String {
    let named: Vec<_> = missing.iter().map(ToString::to_string).collect();
    no_right(&format!("{} ({})", named.join(", "), cause(error)))
}

/// Whether a load could not begin for want of this right. MySQL and MariaDB also read the table `items` then.
pub(crate) fn is_of_temporary_tables(error: &DbErr) -> bool {
    Failure::of(error) == Failure::NoRight && !matches!(code(error).as_str(), "1142" | "1143")
}

/// Says that a load could not even begin for want of a right.
pub(crate) fn no_temporary_tables(error: &DbErr) -> String {
    no_right(&format!(
        "no right to create temporary tables ({})",
        cause(error)
    ))
}

/// Says why a write has no outcome.
pub(crate) fn unwritten(error: &WriteError) -> String {
    match error {
        WriteError::Abandoned | WriteError::Contended => format!("{error}; try again"),
        WriteError::Ignored => error.to_string(),
        WriteError::NotWritten(error) if Failure::of(error) == Failure::NotMigrated => {
            failed(error)
        }
        WriteError::NotWritten(error) => format!("nothing was written: {}", failed(error)),
        WriteError::Unknown(error) => format!(
            "the connection broke, and the write may or may not have been applied: {}; \
             see what is there before you try again",
            cause(error)
        ),
    }
}

/// Says why a migration was not run.
pub(crate) fn unmigrated(error: &MigrateError) -> String {
    match error {
        MigrateError::Database(error) => failed(error),
        MigrateError::ForeignTable(_) | MigrateError::ForeignTokens => {
            format!("{error}; rename it, or give kvd a database or a schema of its own")
        }
        MigrateError::Encoding(encoding) if encoding.starts_with("UTF-16") => {
            format!("{error}; name a new file")
        }
        MigrateError::Temporary => {
            format!("{error}; ALTER ROLE … SET search_path, or name one in the database URL")
        }
        MigrateError::Encoding(_) => {
            format!("{error}; CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0 makes one")
        }
        MigrateError::Newer(_) => error.to_string(),
        MigrateError::Loses(_) => format!("{error}; add --yes if that is meant"),
        MigrateError::Locked => format!("{error}; try again when it is done"),
    }
}

fn unreadable(error: &DbErr) -> bool {
    matches!(driver(error), Some(sqlx::Error::ColumnDecode { .. }))
}

/// The driver's error in SeaORM's.
fn driver(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(cause))
        | DbErr::Exec(RuntimeErr::SqlxError(cause))
        | DbErr::Query(RuntimeErr::SqlxError(cause)) => Some(cause),
        _ => None,
    }
}

/// The server's code: SQLSTATE of PostgreSQL, the number of MySQL and SQLite.
fn code(error: &DbErr) -> String {
    let Some(sqlx::Error::Database(error)) = driver(error) else {
        return String::new();
    };
    match error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        Some(mysql) => mysql.number().to_string(),
        None => error.code().unwrap_or_default().into_owned(),
    }
}

/// What the server, the driver or the system said, in one line.
fn cause(error: &DbErr) -> String {
    let said = match (driver(error), error) {
        (Some(sqlx::Error::Database(error)), _) => error.message().to_owned(),
        (Some(sqlx::Error::Io(error)), _) => system(error),
        (Some(sqlx::Error::Tls(error)), _) => error.to_string(),
        (Some(sqlx::Error::Protocol(text)), _) if text.starts_with(UNKNOWN_LOGIN) => {
            let plugin = text.trim_start_matches(UNKNOWN_LOGIN);
            format!("the user logs in by {plugin}, which is not supported")
        }
        (Some(sqlx::Error::Protocol(_)), _) => {
            "what answers there speaks another protocol".to_owned()
        }
        (Some(sqlx::Error::ColumnDecode { index, .. }), _) => {
            let column = index.trim_matches('"');
            format!("an item has something in the column {column} that cannot be read")
        }
        (Some(sqlx::Error::PoolTimedOut), _) | (None, DbErr::ConnectionAcquire(_)) => {
            "it does not answer".to_owned()
        }
        (Some(error), _) => error.to_string(),
        (None, DbErr::Conn(RuntimeErr::Internal(text))) => text.clone(),
        (None, error) => error.to_string(),
    };
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The system's words without its number.
pub(crate) fn system(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}
