//! The body of a request, received into memory of the budget.

use std::{io, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, combinators::BoxBody};
use tokio::time::timeout_at;

use super::{
    arrival::Arrival,
    memory::{BESIDE_VALUE, EXEMPT_BYTES, MemoryBudget, Reservation},
    problem::Problem,
    problem_code::Code,
};

/// What the body of a request may take.
#[derive(Clone)]
pub(crate) struct BodyLimits {
    pub bytes: usize,
    /// The most of the value in it.
    pub value_bytes: usize,
    /// The time from the head of the request on, which only the text of an error names.
    pub time: Duration,
    pub memory: MemoryBudget,
}

impl BodyLimits {
    pub(super) fn too_large(&self) -> Problem {
        let detail = format!("The body has more than {} bytes.", self.bytes);
        Problem::new(Code::ValueTooLarge, detail)
    }

    /// The memory for the text of a body of this length and the value read from it, and then for the value and
    /// the text of the answer: what a client may write shorter, the answer writes as short.
    fn memory_for(&self, body_bytes: usize) -> usize {
        body_bytes + body_bytes.min(self.value_bytes) + BESIDE_VALUE
    }
}

/// A body that has come.
pub(super) struct ReceivedBody {
    pub text: Vec<u8>,
    /// For the body and all that becomes of it, unless it is small.
    pub memory: Option<Reservation>,
}

/// Receives the body of a request with this `Content-Length`, if it has one.
///
/// # Errors
/// It is too long, it does not come in time or not at all, or there is no memory for it.
pub(super) async fn receive(
    body: BoxBody<Bytes, io::Error>,
    declared: Option<usize>,
    limits: &BodyLimits,
    arrival: Arrival,
) -> Result<ReceivedBody, Problem> {
    if declared.is_some_and(|bytes| bytes > limits.bytes) {
        return Err(limits.too_large());
    }
    let receiving = collect(body, declared.unwrap_or_default(), limits, arrival);
    let received = timeout_at(arrival.deadline, receiving).await;
    received.unwrap_or_else(|_| {
        let detail = format!("It must come within {:?}.", limits.time);
        Err(Problem::new(Code::RequestTimeout, detail))
    })
}

/// Collects a body, in memory that grows in steps where its length is not known.
async fn collect(
    mut body: BoxBody<Bytes, io::Error>,
    declared: usize,
    limits: &BodyLimits,
    arrival: Arrival,
) -> Result<ReceivedBody, Problem> {
    let mut received = ReceivedBody {
        text: Vec::new(),
        memory: None,
    };
    received.make_room(declared, limits, arrival).await?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::invalid("The body cannot be read."))?;
        // Trailers are of no interest.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let bytes = received.text.len() + data.len();
        if bytes > limits.bytes {
            return Err(limits.too_large());
        }
        if bytes > received.text.capacity() {
            let step = bytes.max(2 * received.text.len()).min(limits.bytes);
            received.make_room(step, limits, arrival).await?;
        }
        received.text.extend_from_slice(&data);
    }
    Ok(received)
}

impl ReceivedBody {
    /// Makes room for a text of this many bytes.
    async fn make_room(
        &mut self,
        bytes: usize,
        limits: &BodyLimits,
        Arrival {
            client, deadline, ..
        }: Arrival,
    ) -> Result<(), Problem> {
        if bytes > EXEMPT_BYTES {
            let needed = limits.memory_for(bytes);
            self.memory = Some(match self.memory.take() {
                Some(memory) => memory.grow(needed, deadline).await?,
                None => limits.memory.reserve(client, needed, deadline).await?,
            });
        }
        self.text.reserve_exact(bytes - self.text.len());
        Ok(())
    }
}
