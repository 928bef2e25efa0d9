//! What becomes of a load.

use sea_orm::DbErr;

use crate::write::change::WriteError;

/// What became of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    pub created: u64,
    pub updated: u64,
    pub skipped: u64,
}

/// Why nothing was stored, or why it is not known whether anything was.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("line {again}: the key {key:?} is on line {first} already")]
    Repeated { key: String, first: u64, again: u64 },
    /// `line` is the first of the `lines` whose keys exist.
    #[error("line {line}: the key {key:?} exists already")]
    Exists { key: String, line: u64, lines: u64 },
    /// The database reported no error, and did not store the line.
    #[error(
        "line {line}: the database did not store the key {key:?}: a trigger, a rule or a policy"
    )]
    Ignored { key: String, line: u64 },
    /// The database refuses the line, whatever becomes of all others.
    #[error("line {line}: the key {key:?} was refused: {error}")]
    Refused {
        key: String,
        line: u64,
        error: DbErr,
    },
    #[error("{0}")]
    Write(#[from] WriteError),
}

impl From<DbErr> for LoadError {
    /// Of a statement before `COMMIT`, without which nothing is written.
    fn from(error: DbErr) -> Self {
        Self::Write(WriteError::NotWritten(error))
    }
}
