//! What a database error means for the caller that sent the statement.

use std::borrow::Cow;

use sea_orm::{
    DbErr, RuntimeErr,
    sqlx::{
        self,
        error::DatabaseError,
        mysql::MySqlDatabaseError,
        postgres::{PgDatabaseError, PgSeverity},
    },
};

use crate::our_tables;

/// What became of a statement that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There was no connection, or none could be made: nothing was sent.
    NoConnection,
    /// A unique index has the key already: nothing was written.
    Duplicate,
    /// Rolled back in favour of another transaction: nothing was written, and the same statement may
    /// succeed right away.
    RolledBack,
    /// Another session held a lock for longer than the session waits: nothing was written.
    Locked,
    /// Cancelled by the server, as it took too long: nothing was written.
    Cancelled,
    /// The server has no disk or memory left for it: nothing was written.
    NoRoom,
    /// The server takes no writes: nothing was written. Another session may reach one that does.
    ReadOnly,
    /// The tables of kvd are not there, or not in the shape of this version: nothing was written.
    NotMigrated,
    /// The user of the database lacks a right: nothing was written.
    NoRight,
    /// A trigger, a constraint or a limit of the server refused the statement: nothing was written.
    Refused,
    /// What the server holds cannot be read, such as a time that is none: nothing was written.
    Unreadable,
    /// The connection broke, or the server itself does not know: what the statement did is not known.
    Unknown,
}

impl Failure {
    /// Judges an error by the codes the servers document.
    ///
    /// PostgreSQL: appendix A of its manual. MySQL and MariaDB: their error references. SQLite: its
    /// (extended) result codes.
    pub fn of(error: &DbErr) -> Self {
        let (DbErr::Exec(cause) | DbErr::Query(cause)) = error else {
            return match error {
                DbErr::Conn(RuntimeErr::SqlxError(cause)) if lacks_right(cause) => Self::NoRight,
                DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => Self::NoConnection,
                _ => Self::Unreadable,
            };
        };
        let RuntimeErr::SqlxError(cause) = cause else {
            return Self::Unreadable;
        };
        match Self::of_cause(cause) {
            Self::Refused | Self::NoRight | Self::NoRoom if ends_session(cause) => Self::Unknown,
            failure => failure,
        }
    }

    /// Judges the driver's error, also where there is no session yet.
    pub(crate) fn of_cause(cause: &sqlx::Error) -> Self {
        match cause {
            sqlx::Error::Database(error) => by_code(&**error),
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => Self::NoConnection,
            // Made by the driver before anything is sent, or while it reads an answer that came.
            sqlx::Error::Encode(_)
            | sqlx::Error::RowNotFound
            | sqlx::Error::ColumnDecode { .. } => Self::Unreadable,
            _ => Self::Unknown,
        }
    }

    /// Whether the same may succeed later, although nothing changes but time.
    pub fn may_pass(self) -> bool {
        match self {
            Self::NoConnection
            | Self::Unknown
            | Self::RolledBack
            | Self::Locked
            | Self::Cancelled
            | Self::NoRoom
            | Self::ReadOnly => true,
            Self::Duplicate
            | Self::NotMigrated
            | Self::NoRight
            | Self::Refused
            | Self::Unreadable => false,
        }
    }
}

/// What is said instead of the driver's words, which show a character of the password.
const PROHIBITED: &str = "the driver cannot log in by SCRAM with this user name and password: one of them has a \
     character that SASLprep (RFC 4013) prohibits, as it does most emoji; choose one without";

/// The error of a connection that could not be made, or that sent no statement.
pub(crate) fn connection_error(error: sqlx::Error) -> DbErr {
    DbErr::Conn(match error {
        sqlx::Error::Configuration(cause) if cause.to_string().contains("saslprep") => {
            RuntimeErr::Internal(PROHIBITED.to_owned())
        }
        error => RuntimeErr::SqlxError(error.into()),
    })
}

/// The error of a statement that was sent.
pub fn statement_error(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}

/// Whether no session could be had for want of a right.
fn lacks_right(cause: &sqlx::Error) -> bool {
    Failure::of_cause(cause) == Failure::NoRight
}

fn postgres_error(cause: &sqlx::Error) -> Option<&PgDatabaseError> {
    cause.as_database_error()?.try_downcast_ref()
}

/// Whether PostgreSQL ended the session with it.
fn ends_session(cause: &sqlx::Error) -> bool {
    postgres_error(cause).is_some_and(is_fatal)
}

fn is_fatal(error: &PgDatabaseError) -> bool {
    matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic)
}

/// Whether PostgreSQL's sequence of ids is behind one that other software chose.
pub fn is_of_taken_id(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause))) =
        error
    else {
        return false;
    };
    postgres_error(cause).is_some_and(is_taken_id)
}

fn is_taken_id(error: &PgDatabaseError) -> bool {
    error.code() == "23505" && error.constraint() == Some("items_pkey") && !is_of_function(error)
}

fn by_code(error: &dyn DatabaseError) -> Failure {
    if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
        return match error.code() {
            // What a trigger signals, whatever number it gives it.
            Some("45000") => Failure::Refused,
            _ => mysql_failure(error.number(), error.message()),
        };
    }
    let code = error.code().unwrap_or_default();
    if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
        match postgres_failure(&code) {
            // Each try draws the next id.
            Failure::Duplicate if is_taken_id(error) => Failure::RolledBack,
            // A trigger writes to other tables, or raises these codes itself.
            Failure::Duplicate if error.table() != Some("items") || is_of_function(error) => {
                Failure::Refused
            }
            // A policy refuses the row, and the user lacks no right. The message is in the server's language.
            Failure::NoRight if error.routine() == Some("ExecWithCheckOptions") => Failure::Refused,
            Failure::NotMigrated | Failure::NoConnection | Failure::ReadOnly | Failure::Unknown
                if is_of_function(error) =>
            {
                Failure::Refused
            }
            failure => failure,
        }
    } else {
        sqlite_failure(code, error.message())
    }
}

/// Whether it comes from a function, which only a trigger, a rule or a constraint calls. (The server says of
/// a wait for a row where that was, too; it ends only by codes that count wherever they come from.)
///
/// What ends a session is the server's own. So is it in a worker for a parallel read, which hands it on as an
/// error.
fn is_of_function(error: &PgDatabaseError) -> bool {
    let is_of_server = is_fatal(error) || error.routine() == Some("ProcessInterrupts");
    error.r#where().is_some() && !is_of_server
}

fn postgres_failure(sqlstate: &str) -> Failure {
    match sqlstate {
        "23505" => Failure::Duplicate,
        // serialization_failure, deadlock_detected
        "40001" | "40P01" => Failure::RolledBack,
        // lock_not_available
        "55P03" => Failure::Locked,
        // query_canceled
        "57014" => Failure::Cancelled,
        // read_only_sql_transaction
        "25006" => Failure::ReadOnly,
        // too_many_connections, cannot_connect_now; and what ends a session with its transaction:
        // idle_in_transaction_session_timeout, transaction_timeout, database_dropped
        "53300" | "57P03" | "25P03" | "25P04" | "57P04" => Failure::NoConnection,
        // disk_full, out_of_memory
        "53100" | "53200" => Failure::NoRoom,
        // undefined_table, undefined_column
        "42P01" | "42703" => Failure::NotMigrated,
        // insufficient_privilege
        "42501" => Failure::NoRight,
        // transaction_resolution_unknown, statement_completion_unknown, protocol_violation (poolers
        // report a lost server so), admin_shutdown, crash_shutdown, idle_session_timeout
        "08007" | "40003" | "08P01" | "57P01" | "57P02" | "57P05" => Failure::Unknown,
        class if class.starts_with("08") => Failure::Unknown,
        _ => Failure::Refused,
    }
}

fn mysql_failure(number: u16, message: &str) -> Failure {
    match number {
        1062 => Failure::Duplicate,
        // ER_LOCK_DEADLOCK, ER_CHECKREAD (MariaDB: record has changed since last read),
        // ER_TRANSACTION_ROLLBACK_DURING_COMMIT (group replication)
        1213 | 1020 | 3101 => Failure::RolledBack,
        // lock wait timeout, NOWAIT, the lock of the counter of ids
        1205 | 3572 | 1467 => Failure::Locked,
        // interrupted, statement time exceeded (MariaDB, MySQL)
        1317 | 1969 | 3024 => Failure::Cancelled,
        // ER_DISK_FULL, ER_RECORD_FILE_FULL, ER_OUTOFMEMORY, ER_OUT_OF_SORTMEMORY,
        // ER_OUT_OF_RESOURCES, ER_LOCK_TABLE_FULL
        1021 | 1114 | 1037 | 1038 | 1041 | 1206 => Failure::NoRoom,
        // ER_OPTION_PREVENTS_STATEMENT, of --read-only and --super-read-only among other options
        1290 if message.contains("read-only") || message.contains("read_only") => Failure::ReadOnly,
        // ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION, ER_READ_ONLY_MODE
        1792 | 1836 => Failure::ReadOnly,
        // too many connections (of the server, of the user), a node of Galera that is not of the
        // cluster, ProxySQL without a server
        1040 | 1203 | 1226 | 1047 | 9001 => Failure::NoConnection,
        // ER_NO_SUCH_TABLE, ER_BAD_FIELD_ERROR
        1146 if our_tables::lack_table_in_mysql(message) => Failure::NotMigrated,
        1054 if our_tables::lack_column_in_mysql(message) => Failure::NotMigrated,
        // denied: a database, a table, a column, a right of the server (SUPER and such), a routine
        1044 | 1142 | 1143 | 1227 | 1370 => Failure::NoRight,
        // ER_SERVER_SHUTDOWN, ER_CONNECTION_KILLED (both of them), lost connections, idle for too long,
        // network errors as the server sees them
        1053 | 1927 | 3169 | 2006 | 2013 | 4031 | 1152 | 1158..=1161 | 1184 => Failure::Unknown,
        _ => Failure::Refused,
    }
}

fn sqlite_failure(code: Cow<'_, str>, message: &str) -> Failure {
    match code.parse().unwrap_or(0) {
        // SQLITE_CONSTRAINT_UNIQUE, of our table or of one that a trigger writes to
        2067 if message.contains(" items.") => Failure::Duplicate,
        code => match code & 0xff {
            // SQLITE_BUSY with its extended forms: the lock did not come within the busy timeout.
            // SQLITE_PROTOCOL: the same, for the lock of the log's index.
            5 | 15 => Failure::Locked,
            // SQLITE_READONLY
            8 => Failure::ReadOnly,
            // SQLITE_NOMEM, SQLITE_FULL
            7 | 13 => Failure::NoRoom,
            // SQLITE_PERM, SQLITE_AUTH
            3 | 23 => Failure::NoRight,
            // SQLITE_CANTOPEN
            14 => Failure::NoConnection,
            1 if our_tables::lack_in_sqlite(message) => Failure::NotMigrated,
            // SQLITE_IOERR: the commit may or may not have reached the disk.
            10 => Failure::Unknown,
            _ => Failure::Refused,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_the_servers_say_they_mean() {
        assert_eq!(postgres_failure("23505"), Failure::Duplicate);
        assert_eq!(postgres_failure("40001"), Failure::RolledBack);
        assert_eq!(postgres_failure("57014"), Failure::Cancelled);
        assert_eq!(postgres_failure("25006"), Failure::ReadOnly);
        assert_eq!(postgres_failure("53100"), Failure::NoRoom);
        assert_eq!(postgres_failure("53300"), Failure::NoConnection);
        assert_eq!(postgres_failure("42P01"), Failure::NotMigrated);
        assert_eq!(postgres_failure("08006"), Failure::Unknown);
        assert_eq!(postgres_failure("57P01"), Failure::Unknown);
        assert_eq!(postgres_failure("22021"), Failure::Refused);
        assert_eq!(postgres_failure("55P03"), Failure::Locked);
        assert_eq!(mysql_failure(1205, ""), Failure::Locked);
        assert_eq!(mysql_failure(1213, ""), Failure::RolledBack);
        assert_eq!(mysql_failure(1114, ""), Failure::NoRoom);
        assert_eq!(mysql_failure(1927, ""), Failure::Unknown);
        assert_eq!(sqlite_failure("517".into(), ""), Failure::Locked);
        assert_eq!(sqlite_failure("261".into(), ""), Failure::Locked);
        assert_eq!(
            sqlite_failure("1".into(), "no such table: items"),
            Failure::NotMigrated
        );
        assert_eq!(sqlite_failure("1".into(), "syntax"), Failure::Refused);
        assert_eq!(postgres_failure("23514"), Failure::Refused);
        assert_eq!(postgres_failure("42501"), Failure::NoRight);
        assert_eq!(mysql_failure(1644, ""), Failure::Refused);
        assert_eq!(mysql_failure(1142, ""), Failure::NoRight);
        assert_eq!(
            sqlite_failure("2067".into(), "UNIQUE constraint failed: items.key"),
            Failure::Duplicate
        );
    }

    #[test]
    fn what_only_a_trigger_knows_is_no_missing_migration() {
        for (table, failure) in [
            ("items", Failure::NotMigrated),
            ("kvd_migrations", Failure::NotMigrated),
            ("audit", Failure::Refused),
        ] {
            let message = format!("Table 'kvd.{table}' doesn't exist");
            assert_eq!(mysql_failure(1146, &message), failure, "{table}");
            let message = format!("Unknown column '{table}.version' in 'SELECT'");
            assert_eq!(mysql_failure(1054, &message), failure, "{table}");
            for message in [
                format!("no such column: {table}.version"),
                format!("table {table} has no column named key"),
            ] {
                assert_eq!(sqlite_failure("1".into(), &message), failure, "{table}");
            }
        }
        for (column, failure) in [
            ("value", Failure::NotMigrated),
            ("updated_at", Failure::NotMigrated),
            ("nope", Failure::Refused),
            ("NEW.value", Failure::Refused),
        ] {
            let message = format!("Unknown column '{column}' in 'SET'");
            assert_eq!(mysql_failure(1054, &message), failure, "{column}");
            let message = format!("no such column: {column}");
            assert_eq!(sqlite_failure("1".into(), &message), failure, "{column}");
        }
        let of_trigger = sqlite_failure("1".into(), "no such table: main.audit");
        assert_eq!(of_trigger, Failure::Refused);
        let of_trigger = sqlite_failure("2067".into(), "UNIQUE constraint failed: audit.key");
        assert_eq!(of_trigger, Failure::Refused);
    }

    #[test]
    fn only_some_options_of_mysql_make_it_read_only() {
        for (option, failure) in [
            ("--read-only", Failure::ReadOnly),
            ("--super-read-only", Failure::ReadOnly),
            ("--secure-file-priv", Failure::Refused),
            ("--skip-grant-tables", Failure::Refused),
        ] {
            let message = format!("The MySQL server is running with the {option} option so it");
            assert_eq!(mysql_failure(1290, &message), failure, "{option}");
        }
    }

    #[test]
    fn no_character_of_a_password_is_shown() {
        let said = "Failed to saslprep password: Error(ProhibitedCharacter('\u{1f980}'))";
        let error = connection_error(sqlx::Error::Configuration(said.into()));
        assert_eq!(Failure::of(&error), Failure::NoConnection);
        let shown = format!("{error} {error:?}");
        assert!(
            shown.contains("SASLprep") && !shown.contains("1f980"),
            "{shown}"
        );
    }

    #[test]
    fn a_connection_that_was_never_had_sent_nothing() {
        let error = DbErr::Conn(RuntimeErr::SqlxError(sqlx::Error::PoolTimedOut.into()));
        assert_eq!(Failure::of(&error), Failure::NoConnection);
        let error = DbErr::Query(RuntimeErr::SqlxError(
            sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()).into(),
        ));
        assert_eq!(Failure::of(&error), Failure::Unknown);
    }
}
