//! How a transaction of several statements ends.

use database::{Failure, Session};
use sea_orm::{ConnectionTrait, DbBackend, DbErr};

use crate::write::change::WriteError;

pub(super) async fn commit(session: &Session) -> Result<(), WriteError> {
    let Err(error) = session.commit().await else {
        return Ok(());
    };
    let is_known = match Failure::of(&error) {
        // The server rolled back instead.
        Failure::RolledBack | Failure::Locked | Failure::Cancelled | Failure::ReadOnly => true,
        Failure::Unknown => false,
        // The others refuse a commit by what only a commit checks, such as a deferred constraint.
        _ => session.get_database_backend() != DbBackend::MySql,
    };
    if !is_known {
        return Err(WriteError::Unknown(error));
    }
    roll_back(session).await?;
    Err(WriteError::NotWritten(error))
}

/// If `ROLLBACK` fails, the transaction ends with the session, so the error is that of a lost one: the next
/// `START TRANSACTION` on this session would commit what the transaction has written. On SQLite it fails where a
/// trigger has ended the transaction.
pub(super) async fn roll_back(session: &Session) -> Result<(), WriteError> {
    let done = session.roll_back().await;
    if session.get_database_backend() == DbBackend::Sqlite {
        session.forget_statements().await;
        return Ok(());
    }
    done.map_err(|error| {
        WriteError::NotWritten(match error {
            DbErr::Exec(cause) | DbErr::Query(cause) => DbErr::Conn(cause),
            error => error,
        })
    })
}
