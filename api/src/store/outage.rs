//! Whether the database is there: the log says once that it is lost, and once that it is back.

use std::{
    fmt::Display,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::telemetry::{about_request, target};

/// A failure within this time of an answer on another connection concerns its own connection only.
const SILENCE: Duration = Duration::from_secs(1);

/// Times are milliseconds since `begun`, from 1; 0 is never.
pub(super) struct Outage {
    begun: Instant,
    answered: AtomicU64,
    lost: AtomicU64,
}

impl Default for Outage {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            answered: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }
}

impl Outage {
    /// The database answered, if only that it refuses.
    pub(super) fn answered(&self) {
        let now = self.now();
        self.answered.store(now, Ordering::Relaxed);
        if self.is_lost() {
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                // Another thread may have read the clock later and be here first.
                let seconds = now.saturating_sub(lost) as f64 / 1000.0;
                about_request(
                    || tracing::info!(target: target::OUTAGE, seconds, "the database is back"),
                );
            }
        }
    }

    /// There was no connection, or it broke or fell silent.
    pub(super) fn failed(&self, error: &dyn Display) {
        let now = self.now();
        let answered = self.answered.load(Ordering::Relaxed);
        let others_go_on =
            answered > 0 && now.saturating_sub(answered) < SILENCE.as_millis() as u64;
        let is_news = !others_go_on
            && self
                .lost
                .compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_news {
            about_request(
                || tracing::error!(target: target::OUTAGE, %error, "the database is lost"),
            );
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed) > 0
    }

    fn now(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64 + 1
    }
}
