//! What can go wrong, in one line each, and the exit codes.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use entity::{
    failure::{Failure, failure},
    write::WriteError,
};
use migration::migrate::MigrateError;
use sea_orm::{DbErr, RuntimeErr, sqlx};

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Exit code 1: there is no such key, or a condition did not hold.
    #[error("{0}")]
    NotSo(String),
    #[error("{0}")]
    Usage(String),
    #[error("{0}: {1}")]
    Io(String, io::Error),
    #[error("{}", explained(.0))]
    Database(#[from] DbErr),
    #[error("{}", unwritten(.0))]
    Write(#[from] WriteError),
    #[error("{}", unmigrated(.0))]
    Migrate(#[from] MigrateError),
}

fn explained(error: &DbErr) -> String {
    match failure(error) {
        Failure::NoConnection => format!("cannot connect to the database: {}", cause(error)),
        Failure::NotMigrated => "the database is not migrated; run kvctl migrate".to_owned(),
        _ => format!("the database refused: {}", cause(error)),
    }
}

fn unwritten(error: &WriteError) -> String {
    match error {
        WriteError::Abandoned | WriteError::Contended => error.to_string(),
        WriteError::NotWritten(error) => explained(error),
        WriteError::Unknown(error) => format!(
            "the connection broke, and the write may or may not have been applied: {}",
            cause(error)
        ),
    }
}

fn unmigrated(error: &MigrateError) -> String {
    match error {
        MigrateError::Database(error) => explained(error),
        MigrateError::ForeignTable(_) | MigrateError::Newer(_) | MigrateError::Locked => {
            error.to_string()
        }
    }
}

/// What the server, the driver or the system said, without the words around it.
fn cause(error: &DbErr) -> String {
    let (DbErr::Conn(RuntimeErr::SqlxError(cause))
    | DbErr::Exec(RuntimeErr::SqlxError(cause))
    | DbErr::Query(RuntimeErr::SqlxError(cause))) = error
    else {
        return match error {
            DbErr::ConnectionAcquire(_) => "it does not answer".to_owned(),
            other => other.to_string(),
        };
    };
    match &**cause {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::PoolTimedOut => "it does not answer".to_owned(),
        other => other.to_string(),
    }
}

/// Writes what went wrong to standard error. A broken pipe is success: the reader has had enough.
pub fn exit(done: Result<(), CliError>) -> ExitCode {
    let error = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(CliError::Io(_, error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            return ExitCode::SUCCESS;
        }
        Err(error) => error,
    };
    // Nobody need be there to read it.
    let _ = writeln!(io::stderr(), "kvctl: {error}");
    match error {
        CliError::NotSo(_) => ExitCode::from(1),
        _ => ExitCode::from(2),
    }
}
