//! Many writes of different keys, one after the other in one transaction, and so in one commit: SQLite.
//!
//! A write that the database refuses takes with it what was done before. So its transaction is rolled back, and
//! the others are done again without it.

use database::{Failure, Session};

use crate::write::{
    change::{Done, Write, WriteError},
    one_statement::write_within,
    transaction::{commit, roll_back},
};

/// What became of a write, once that is known.
pub(super) type Known = Option<Result<Done, WriteError>>;

/// See [`super::write_together`].
pub(super) async fn write(session: &Session, writes: &[&Write]) -> Result<Vec<Known>, WriteError> {
    let mut known: Vec<Known> = writes.iter().map(|_| None).collect();
    loop {
        session.begin().await.map_err(WriteError::of)?;
        let Err((place, error)) = run(session, writes, &mut known).await else {
            return commit(session).await.map(|()| known);
        };
        roll_back(session).await?;
        if !is_its_own(&error) {
            return Err(error);
        }
        known[place] = Some(Err(error));
        for known in &mut known {
            known.take_if(|known| known.is_ok());
        }
    }
}

/// Does those writes that were not refused; stops at the first that is.
async fn run(
    session: &Session,
    writes: &[&Write],
    known: &mut [Known],
) -> Result<(), (usize, WriteError)> {
    for (place, (write, known)) in writes.iter().zip(known).enumerate() {
        if known.is_none() {
            match write_within(session, write).await {
                Ok(done) => *known = Some(Ok(done)),
                Err(error) => return Err((place, error)),
            }
        }
    }
    Ok(())
}

/// Whether the others may succeed without this write.
pub(super) fn is_its_own(error: &WriteError) -> bool {
    match error {
        WriteError::Ignored => true,
        WriteError::NotWritten(error) => match Failure::of(error) {
            // That one may need more room than there is left.
            Failure::Refused
            | Failure::NoRight
            | Failure::Unreadable
            | Failure::Duplicate
            | Failure::NoRoom => true,
            Failure::Locked
            | Failure::RolledBack
            | Failure::Cancelled
            | Failure::NoConnection
            | Failure::ReadOnly
            | Failure::NotMigrated
            | Failure::Unknown => false,
        },
        // Its row cannot be read.
        WriteError::Unknown(error) => Failure::of(error) == Failure::Unreadable,
        WriteError::Abandoned | WriteError::Contended => false,
    }
}
