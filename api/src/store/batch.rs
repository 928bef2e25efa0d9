//! What a batch is, and how large it may be.

use std::time::Duration;

/// A batch of reads or writes that takes longer does not keep the next one waiting.
pub(super) const LATE: Duration = Duration::from_millis(20);

/// One call that waits to be sent.
pub(super) trait Call {
    /// What no two calls under way may share; `None` if they may share everything.
    fn conflict_key(&self) -> Option<&str>;
    /// What it adds to a batch.
    fn bytes(&self) -> usize;
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The most of one batch. A single call may have more bytes.
    pub calls: usize,
    pub bytes: usize,
    /// The most batches under way, also when they are late.
    pub batches: usize,
    /// The most batches under way, unless they are late.
    pub at_once: usize,
    /// So many calls that wait are sent beside another batch, and fewer wait for its end. `None`: half of all that
    /// there have been at once lately, so that two batches share them.
    pub beside: Option<usize>,
}

/// Calls sent together.
#[derive(Debug)]
pub(super) struct Batch<C> {
    pub calls: Vec<C>,
    /// No task looks whether batches are late: the sender of this one starts [`BatchQueue::watch`].
    pub unwatched: bool,
    pub(super) ticket: u64,
    pub(super) conflict_keys: Vec<String>,
}
