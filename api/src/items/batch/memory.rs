//! Memory for a batch and its answer.

use std::net::IpAddr;

use entity::write::KeyOperation;
use tokio::time::Instant;

use crate::{
    http::{Arrival, EXEMPT_BYTES, MemoryBudget, Reservation},
    store::{Error, KeptMemory},
};

/// What an operation and its result take beside key and value.
pub(super) const BESIDE_VALUE: usize = 512;

/// What a batch holds of the budget; a small one nothing.
pub(super) struct BatchMemory {
    budget: MemoryBudget,
    client: IpAddr,
    deadline: Instant,
    /// For the operations and the results of the writes.
    needed: usize,
    reserved: Option<Reservation>,
}

impl BatchMemory {
    /// Reserves what the operations take, and their results without the values that are yet to be read, in addition
    /// to what was `reserved` for the body.
    ///
    /// # Errors
    /// There is none in time.
    pub(super) async fn reserve(
        budget: MemoryBudget,
        Arrival {
            client, deadline, ..
        }: Arrival,
        operations: &[KeyOperation],
        reserved: Option<Reservation>,
    ) -> Result<Self, Error> {
        let of_one = |operation: &KeyOperation| {
            let value = match operation {
                KeyOperation::Read { .. } => 0,
                KeyOperation::Write(write) => write.value().len(),
            };
            // Once in the operation, and once in the result.
            2 * (operation.key().as_str().len() + value) + BESIDE_VALUE
        };
        let mut memory = Self {
            budget,
            client,
            deadline,
            needed: operations.iter().map(of_one).sum(),
            reserved,
        };
        memory.grow(memory.needed).await?;
        Ok(memory)
    }

    /// Reserves memory for the values that are read, and for their texts.
    ///
    /// # Errors
    /// There is none in time. What was reserved before is kept.
    pub(super) async fn add_values(
        &mut self,
        value_bytes: usize,
        text_bytes: usize,
    ) -> Result<(), Error> {
        self.grow(self.needed + value_bytes + text_bytes).await
    }

    /// The same, however long it takes: for what is done already.
    ///
    /// # Errors
    /// Never, as far as anybody knows.
    pub(super) async fn add_values_at_last(
        &mut self,
        value_bytes: usize,
        text_bytes: usize,
    ) -> Result<(), Error> {
        let bytes = self.needed + value_bytes + text_bytes;
        if let Some(reserved) = self.reserved.clone() {
            self.reserved = Some(reserved.grow_at_last(bytes).await?);
        }
        Ok(())
    }

    async fn grow(&mut self, bytes: usize) -> Result<(), Error> {
        if bytes <= EXEMPT_BYTES {
            return Ok(());
        }
        let (client, deadline) = (self.client, self.deadline);
        self.reserved = Some(match &self.reserved {
            Some(reserved) => reserved.clone().grow(bytes, deadline).await?,
            None => self.budget.reserve(client, bytes, deadline).await?,
        });
        Ok(())
    }

    /// For a call that may outlive its request.
    pub(super) fn kept(&self) -> Option<KeptMemory> {
        self.for_calls()()
    }

    /// The same for any number of calls, while more is reserved.
    pub(super) fn for_calls(&self) -> impl Fn() -> Option<KeptMemory> + use<> {
        let reserved = self.reserved.clone();
        move || {
            let memory = reserved.clone();
            memory.map(|memory| Box::new(memory) as KeptMemory)
        }
    }

    /// For the answer.
    pub(super) fn into_reserved(self) -> Option<Reservation> {
        self.reserved
    }
}
