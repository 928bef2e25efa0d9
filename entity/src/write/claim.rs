//! One atomic step decides whether a write is sent or given up.

use std::sync::atomic::{AtomicU8, Ordering};

const WAITING: u8 = 0;
const CLAIMED: u8 = 1;
const ABANDONED: u8 = 2;

/// A write is *waiting* until one atomic step ends that. Either the task that sends it *claims* it, or
/// the client's request *abandons* it when its time is up. An abandoned write was never sent.
#[derive(Debug, Default)]
pub struct Claim(AtomicU8);

impl Claim {
    /// The claim of a waiting write.
    pub fn new() -> Self {
        Self::default()
    }

    /// Claims the write, if it was not abandoned. Tells whether it may be sent.
    pub fn take(&self) -> bool {
        self.change(WAITING, CLAIMED) || self.0.load(Ordering::Acquire) == CLAIMED
    }

    /// Makes a claimed write wait again, after the server has certainly rolled it back.
    pub fn give_back(&self) {
        self.change(CLAIMED, WAITING);
    }

    /// Whether the write was given up before it was sent.
    pub fn is_abandoned(&self) -> bool {
        self.0.load(Ordering::Acquire) == ABANDONED
    }

    /// Gives the write up, if it was not claimed. Tells whether it is certain never to be sent.
    pub fn abandon(&self) -> bool {
        self.change(WAITING, ABANDONED) || self.is_abandoned()
    }

    fn change(&self, from: u8, to: u8) -> bool {
        self.0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_claimed_or_abandoned_never_both() {
        let claim = Claim::new();
        assert!(claim.take() && claim.take(), "a claimed write is run again");
        assert!(!claim.abandon() && !claim.is_abandoned());

        let claim = Claim::new();
        assert!(claim.take());
        claim.give_back();
        assert!(
            claim.abandon() && !claim.take(),
            "taken back, then abandoned"
        );

        let claim = Claim::new();
        assert!(claim.abandon() && claim.is_abandoned());
        claim.give_back();
        assert!(!claim.take(), "abandoned for ever");
    }
}
