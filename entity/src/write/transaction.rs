//! How a transaction of MySQL or MariaDB ends.
//!
//! The statements are raw: SeaORM has transactions only on connections of its own pool.

use database::{Failure, Session};
use sea_orm::{ConnectionTrait, DbErr};

use crate::write::change::WriteError;

pub(super) async fn commit(session: &Session) -> Result<(), WriteError> {
    let Err(error) = session.execute_unprepared("COMMIT").await else {
        return Ok(());
    };
    match Failure::of(&error) {
        // The server rolled back instead.
        Failure::RolledBack | Failure::Locked | Failure::Cancelled | Failure::ReadOnly => {
            roll_back(session).await?;
            Err(WriteError::NotWritten(error))
        }
        _ => Err(WriteError::Unknown(error)),
    }
}

/// If `ROLLBACK` fails, the transaction ends with the session, so the error is that of a lost one: the
/// next `START TRANSACTION` on this session would commit what the transaction has written.
pub(super) async fn roll_back(session: &Session) -> Result<(), WriteError> {
    let done = session.execute_unprepared("ROLLBACK").await;
    done.map(drop).map_err(|error| {
        WriteError::NotWritten(match error {
            DbErr::Exec(cause) | DbErr::Query(cause) => DbErr::Conn(cause),
            error => error,
        })
    })
}
