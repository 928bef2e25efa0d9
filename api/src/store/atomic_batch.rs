//! Operations that are done together or not at all.

use std::sync::Arc;

use database::Session;
use entity::write::{Atomic, Claim, KeyOperation, WriteError, write_atomically};

use super::lone_writes::Attempt;

pub(super) struct AtomicBatch {
    pub operations: Arc<Vec<KeyOperation>>,
    /// A value of more bytes is not read.
    pub most_value_bytes: usize,
}

impl Attempt for AtomicBatch {
    type Done = Atomic;

    async fn send(&self, session: &Session, claim: &Claim) -> Result<Atomic, WriteError> {
        write_atomically(session, &self.operations, self.most_value_bytes, claim).await
    }
}
