//! Why a call of the store has no answer.

use entity::write::WriteError;
use sea_orm::DbErr;

/// Nothing was written, unless it is [`Error::Unknown`]. Many calls may share one.
#[derive(Clone, Debug)]
pub enum Error {
    /// Too many calls wait, or an answer found no memory.
    Overloaded,
    /// The database did not answer in time.
    Silent,
    /// Others have the key locked, or write it.
    Locked,
    /// Others changed the key again and again.
    Contended,
    /// The database stored nothing, without an error.
    Ignored,
    /// What the database, or the way to it, said.
    Failed(DbErr),
    /// The write may have been applied, or may still be; with what the database said, if it did.
    Unknown(Option<DbErr>),
    /// The task that was to answer is gone.
    Lost,
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        match error {
            // The request that gave the write up has been answered.
            WriteError::Abandoned => Self::Silent,
            WriteError::Contended => Self::Contended,
            WriteError::Ignored => Self::Ignored,
            WriteError::NotWritten(error) => Self::Failed(error),
            WriteError::Unknown(error) => Self::Unknown(Some(error)),
        }
    }
}
