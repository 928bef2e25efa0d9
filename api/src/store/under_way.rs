//! The batches that are under way.

use tokio::time::Instant;

#[derive(Debug, Default)]
pub(super) struct UnderWay {
    /// The oldest first.
    batches: Vec<SentBatch>,
    /// How many calls there have been at once, waiting and under way: the most lately.
    most_calls: usize,
    next_ticket: u64,
}

#[derive(Debug)]
struct SentBatch {
    ticket: u64,
    sent: Instant,
    calls: usize,
}

impl UnderWay {
    /// Adds a batch that goes out now, and returns the ticket by which it ends.
    pub(super) fn start(&mut self, calls: usize, now: Instant) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.batches.push(SentBatch {
            ticket,
            sent: now,
            calls,
        });
        ticket
    }

    pub(super) fn end(&mut self, ticket: u64) {
        self.batches.retain(|batch| batch.ticket != ticket);
        self.most_calls -= self.most_calls.div_ceil(16);
    }

    /// Remembers how many calls there are now, if that is the most.
    pub(super) fn note_waiting(&mut self, waiting: usize) {
        let under_way: usize = self.batches.iter().map(|batch| batch.calls).sum();
        self.most_calls = self.most_calls.max(waiting + under_way);
    }

    /// Half of all calls that there have been at once lately.
    pub(super) fn half_of_calls(&self) -> usize {
        self.most_calls.div_ceil(2)
    }

    pub(super) fn count(&self) -> usize {
        self.batches.len()
    }

    /// When they went out, the oldest first.
    pub(super) fn sent(&self) -> impl Iterator<Item = Instant> {
        self.batches.iter().map(|batch| batch.sent)
    }
}
