//! Turns of kvd's own writes, where the database lets in only one writer at a time: SQLite. They would else meet its
//! lock, and try again and again while others come first.

use std::sync::Arc;

use database::Engine;
use tokio::sync::{Mutex, OwnedMutexGuard};

#[derive(Clone)]
pub(super) struct WriteTurns(Option<Arc<Mutex<()>>>);

impl WriteTurns {
    pub(super) fn new(engine: Engine) -> Self {
        Self((engine == Engine::Sqlite).then(Arc::default))
    }

    /// Waits for the turn, in the order of asking. `None` where all may write at once.
    pub(super) async fn turn(&self) -> Option<OwnedMutexGuard<()>> {
        match &self.0 {
            Some(turns) => Some(turns.clone().lock_owned().await),
            None => None,
        }
    }
}
