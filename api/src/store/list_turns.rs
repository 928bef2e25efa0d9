//! The right to read a list, or to count one.

use std::future::pending;

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

use super::settings::{RequestTime, StoreSettings};

/// Lists may be large and slow. They share half of the connections; the other half is for single items.
pub(crate) struct ListTurns {
    turns: Semaphore,
    time: RequestTime,
}

pub(crate) type ListTurn<'a> = SemaphorePermit<'a>;

impl ListTurns {
    pub(super) fn new(settings: &StoreSettings) -> Self {
        Self::of((settings.connections as usize / 2).max(1), settings.time)
    }

    pub(super) fn of(turns: usize, time: RequestTime) -> Self {
        Self {
            turns: Semaphore::new(turns),
            time,
        }
    }

    /// The latest time at which a request with this deadline may have its turn.
    pub(crate) fn last(&self, deadline: Instant) -> Instant {
        deadline - self.time.after_waiting()
    }

    pub(crate) async fn acquire(&self) -> ListTurn<'_> {
        match self.turns.acquire().await {
            Ok(turn) => turn,
            // Only of a closed semaphore, and this one never is.
            Err(_) => pending().await,
        }
    }
}
