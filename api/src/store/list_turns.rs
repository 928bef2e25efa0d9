//! The right to read a list, or to count one.

use std::future::pending;

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use super::{
    error::Error,
    settings::{RequestTime, StoreSettings},
};

/// Lists may be large and slow. They share half of the connections; the other half is for single items.
pub(crate) struct ListTurns {
    turns: Semaphore,
    time: RequestTime,
}

pub(crate) type ListTurn<'a> = SemaphorePermit<'a>;

impl ListTurns {
    pub(super) fn new(settings: &StoreSettings) -> Self {
        Self {
            turns: Semaphore::new((settings.connections as usize / 2).max(1)),
            time: settings.time,
        }
    }

    /// The latest time at which a request with this deadline may have its turn.
    pub(super) fn last(&self, deadline: Instant) -> Instant {
        deadline - self.time.after_waiting()
    }

    pub(super) async fn acquire(&self) -> ListTurn<'_> {
        match self.turns.acquire().await {
            Ok(turn) => turn,
            // Only of a closed semaphore, and this one never is.
            Err(_) => pending().await,
        }
    }

    /// A turn for one request with this deadline.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if there is none in time.
    pub(crate) async fn turn(&self, deadline: Instant) -> Result<ListTurn<'_>, Error> {
        let turn = timeout_at(self.last(deadline), self.acquire()).await;
        turn.map_err(|_| Error::Overloaded)
    }
}
