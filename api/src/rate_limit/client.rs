//! What the limiter remembers of one client.

use std::{
    net::IpAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::window::{Decision, Log, Quota};

/// One client, with the log of its requests.
pub(super) struct Client {
    pub(super) address: IpAddr,
    /// When it was last put into the cache, in nanoseconds, and how many were put there before.
    pub(super) put_in: AtomicU64,
    pub(super) insertions: AtomicU64,
    /// Until then, in nanoseconds, the log is full, so that it need not be locked to say no.
    full_until: AtomicU64,
    log: Mutex<Log>,
}

impl Client {
    pub(super) fn new(address: IpAddr, now: Duration, insertions: u64) -> Self {
        Self {
            address,
            put_in: nanoseconds(now).into(),
            insertions: insertions.into(),
            full_until: AtomicU64::new(0),
            log: Mutex::default(),
        }
    }

    /// Decides about a request at `now`.
    pub(super) fn admit(&self, now: Duration, quota: Quota) -> Decision {
        let full_until = Duration::from_nanos(self.full_until.load(Ordering::Relaxed));
        if now < full_until {
            let retry_after = full_until - now;
            return Decision::Refused { retry_after };
        }
        let decision = self.log().admit(now, quota);
        if let Decision::Refused { retry_after } = decision {
            let full_until = nanoseconds(now + retry_after);
            self.full_until.store(full_until, Ordering::Relaxed);
        }
        decision
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A span of at most 584 years.
pub(super) fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
