//! Who decides about a write: the one who sends it or the one who gives it up.

use std::sync::atomic::{AtomicU8, Ordering};

const WAITING: u8 = 0;
const CLAIMED: u8 = 1;
const ABANDONED: u8 = 2;

/// A write is *waiting* until, in one atomic step, it is either *claimed* by the task that sends it
/// or *abandoned* by the client's request when its time is up. An abandoned write was never sent.
#[derive(Debug, Default)]
pub struct Claim(AtomicU8);

impl Claim {
    /// A claim that nobody will abandon.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the write may be sent.
    pub fn take(&self) -> bool {
        self.change(WAITING, CLAIMED) || self.0.load(Ordering::Acquire) == CLAIMED
    }

    /// Waiting again if it was claimed, after the server has definitely taken the write back.
    pub fn give_back(&self) {
        self.change(CLAIMED, WAITING);
    }

    /// Whether nobody waits for the write any more, and it was not sent.
    pub fn is_abandoned(&self) -> bool {
        self.0.load(Ordering::Acquire) == ABANDONED
    }

    /// Whether the write is certain never to be sent.
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
