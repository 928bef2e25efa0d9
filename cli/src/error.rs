//! What can go wrong, and the exit codes.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anstyle::{AnsiColor, Style};
use database::Failure;
use entity::write::WriteError;
use migration::MigrateError;
use sea_orm::DbErr;

use crate::{escape::visible, explain};

/// Why a command did not do what it was asked: what happened, why, and what to do next, in a line
/// or two.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// There is no such key, or a condition did not hold. The exit code is 1; of all others it is 2.
    #[error("{0}")]
    ConditionFailed(String),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Failed(String),
    #[error("interrupted; {0}")]
    Interrupted(&'static str),
    #[error("{name}: {}", explain::system(.error))]
    Io { name: String, error: io::Error },
    #[error("{}", explain::failed(.0))]
    Database(#[from] DbErr),
    /// A load could not begin for want of a right.
    #[error("{}", explain::no_temporary_tables(.0))]
    NoTemporaryTables(DbErr),
    /// The database refused one of many items.
    #[error("{place}: {}; nothing was written", explain::failed(.error))]
    Refused { place: String, error: DbErr },
    #[error("{}", explain::unwritten(.0))]
    Write(#[from] WriteError),
    #[error("{}", explain::unmigrated(.0))]
    Migrate(#[from] MigrateError),
}

impl CliError {
    /// What the database said, if it was for want of a right.
    pub(crate) fn lacking_right(&self) -> Option<&DbErr> {
        match self {
            Self::Database(error)
            | Self::Refused { error, .. }
            | Self::Write(WriteError::NotWritten(error)) => {
                (Failure::of(error) == Failure::NoRight).then_some(error)
            }
            _ => None,
        }
    }

    pub(crate) fn io(name: impl Into<String>, error: io::Error) -> Self {
        let name = name.into();
        Self::Io { name, error }
    }

    /// The same error after the work was done, when only its outcome could not be written.
    #[must_use]
    pub(crate) fn after(self, done: &str) -> Self {
        match self {
            Self::Io { name, error } => Self::io(format!("{done}, but {name}"), error),
            other => other,
        }
    }

    /// The same error where what was to be written is gone for good, so that a broken pipe is no success either, and
    /// what to do then.
    #[must_use]
    pub(crate) fn lost(self, advice: &str) -> Self {
        match self {
            Self::Io { name, error } => Self::io(
                format!("{advice}; {name}"),
                io::Error::other(error.to_string()),
            ),
            other => other,
        }
    }

    pub(crate) fn no_key(key: &str) -> Self {
        Self::ConditionFailed(format!("no key {key:?}; kvctl list shows those there are"))
    }
}

/// Writes what went wrong to standard error. A broken pipe counts as success: the reader has read
/// what it wanted.
pub(crate) fn exit(done: Result<(), CliError>) -> ExitCode {
    let error = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(CliError::Io { error, .. }) if error.kind() == io::ErrorKind::BrokenPipe => {
            return ExitCode::SUCCESS;
        }
        Err(error) => error,
    };
    let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    // A word may be the database URL, given by mistake where a key or a file belongs.
    let said: String = error
        .to_string()
        .split_inclusive([' ', '"'])
        .map(settings::without_password)
        .collect();
    // A closed standard error does not change the exit code.
    let _ = writeln!(anstream::stderr(), "{red}kvctl:{red:#} {}", visible(&said));
    match error {
        CliError::ConditionFailed(_) => ExitCode::from(1),
        _ => ExitCode::from(2),
    }
}
