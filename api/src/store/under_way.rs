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
    /// Takes note of a batch of so many calls, and gives it a ticket.
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

    /// Takes note that so many calls wait beside those that are under way.
    pub(super) fn beside(&mut self, waiting: usize) {
        let under_way: usize = self.batches.iter().map(|batch| batch.calls).sum();
        self.most_calls = self.most_calls.max(waiting + under_way);
    }

    /// Half of all calls that there have been at once lately.
    pub(super) fn half(&self) -> usize {
        self.most_calls.div_ceil(2)
    }

    pub(super) fn batches(&self) -> usize {
        self.batches.len()
    }

    /// When they went out, the oldest first.
    pub(super) fn sent(&self) -> impl Iterator<Item = Instant> {
        self.batches.iter().map(|batch| batch.sent)
    }
}
