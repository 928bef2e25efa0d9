//! The arithmetic of the limit: an exact sliding log. Knows neither clocks nor clients.

use std::{collections::VecDeque, time::Duration};

/// At most `limit` requests in any `window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    pub limit: u32,
    /// Whole seconds.
    pub window: Duration,
}

/// The times of one client's admitted requests, oldest first; grows only as they come.
///
/// Times are spans since any fixed moment of a monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Log(VecDeque<Duration>);

/// What the limiter says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Admitted {
        /// Requests left in the window.
        remaining: u32,
        /// Until the oldest counted request leaves the window.
        reset: Duration,
    },
    /// Not recorded.
    Refused {
        /// After exactly this time a request is admitted.
        retry_after: Duration,
    },
}

impl Log {
    /// Admits and records a request at `now`, or refuses it.
    ///
    /// A request leaves the window when it is exactly one window old. A `now` before the last
    /// recorded one (two threads may read the clock in one order and get here in the other) counts
    /// as that one.
    pub(super) fn admit(&mut self, now: Duration, quota: Quota) -> Decision {
        let now = self.0.back().map_or(now, |last| now.max(*last));
        while self
            .0
            .front()
            .is_some_and(|first| now - *first >= quota.window)
        {
            self.0.pop_front();
        }
        let until_free = |first: &Duration| *first + quota.window - now;
        if self.0.len() < quota.limit as usize {
            self.0.push_back(now);
            Decision::Admitted {
                remaining: quota.limit - self.0.len() as u32,
                reset: self.0.front().map_or(quota.window, until_free),
            }
        } else {
            Decision::Refused {
                retry_after: self.0.front().map_or(quota.window, until_free),
            }
        }
    }

    /// Whether a recorded request is still in the window.
    pub(super) fn is_live(&self, now: Duration, quota: Quota) -> bool {
        self.0
            .back()
            .is_some_and(|last| now.saturating_sub(*last) < quota.window)
    }
}

/// Whole seconds, rounded up.
pub(super) fn seconds_up(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// What the contract says, without any cleverness: every admitted time ever.
    #[derive(Default)]
    struct Model(Vec<Duration>);

    impl Model {
        fn in_window(&self, now: Duration, quota: Quota) -> Vec<Duration> {
            let live = |at: &Duration| now - *at < quota.window;
            self.0.iter().copied().filter(live).collect()
        }

        fn admit(&mut self, now: Duration, quota: Quota) -> Decision {
            let counted = self.in_window(now, quota);
            if counted.len() < quota.limit as usize {
                self.0.push(now);
                let oldest = counted.first().copied().unwrap_or(now);
                Decision::Admitted {
                    remaining: quota.limit - counted.len() as u32 - 1,
                    reset: oldest + quota.window - now,
                }
            } else {
                Decision::Refused {
                    retry_after: counted[0] + quota.window - now,
                }
            }
        }
    }

    proptest! {
        #[test]
        fn it_decides_as_the_plain_model_does_under_any_schedule(
            limit in 1..=8u32,
            window in 1..=5u64,
            gaps in prop::collection::vec(0..=1500u64, 0..300),
        ) {
            let quota = Quota { limit, window: Duration::from_secs(window) };
            let (mut log, mut model) = (Log::default(), Model::default());
            let mut now = Duration::ZERO;
            for gap in gaps {
                now += ms(gap);
                prop_assert_eq!(log.admit(now, quota), model.admit(now, quota));
            }
            for first in &model.0 {
                let inside = |at: &&Duration| **at >= *first && **at < *first + quota.window;
                prop_assert!(model.0.iter().filter(inside).count() <= limit as usize);
            }
        }

        #[test]
        fn who_waits_exactly_as_told_is_let_in_and_not_a_moment_before(
            limit in 1..=8u32,
            gaps in prop::collection::vec(0..=400u64, 1..60),
        ) {
            let quota = Quota { limit, window: Duration::from_secs(2) };
            let mut log = Log::default();
            let mut now = Duration::ZERO;
            for gap in gaps {
                now += ms(gap);
                if let Decision::Refused { retry_after } = log.admit(now, quota) {
                    prop_assert!(retry_after > Duration::ZERO);
                    let before = now + retry_after - Duration::from_nanos(1);
                    let still_refused = matches!(log.admit(before, quota), Decision::Refused { .. });
                    prop_assert!(still_refused);
                    now += retry_after;
                    let admitted = matches!(log.admit(now, quota), Decision::Admitted { .. });
                    prop_assert!(admitted);
                }
            }
        }
    }

    #[test]
    fn a_clock_read_out_of_order_neither_panics_nor_gives_room() {
        let quota = Quota {
            limit: 2,
            window: ms(1000),
        };
        let mut log = Log::default();
        log.admit(ms(500), quota);
        log.admit(ms(400), quota);
        assert_eq!(
            log.admit(ms(300), quota),
            Decision::Refused {
                retry_after: ms(1000)
            }
        );
    }

    #[test]
    fn seconds_are_rounded_up() {
        assert_eq!(seconds_up(ms(0)), 0);
        assert_eq!(seconds_up(ms(1)), 1);
        assert_eq!(seconds_up(ms(1000)), 1);
        assert_eq!(seconds_up(Duration::from_nanos(1_000_000_001)), 2);
    }
}
