//! How long an item lasts.

use std::{fmt, time::Duration};

use crate::history::record::{CLOCK_ERROR, End, Expiry, Outcome, Record};

/// An item ends at one moment, which is neither before `soonest` nor after `latest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Life {
    told: End,
    soonest: Duration,
    latest: Duration,
}

impl Life {
    pub(super) fn until(told: End) -> Self {
        let (soonest, latest) = match told {
            End::Never => (Duration::MAX, Duration::MAX),
            End::Untold => (Duration::ZERO, Duration::MAX),
            End::At(time) => (time.saturating_sub(CLOCK_ERROR), time + CLOCK_ERROR),
        };
        Self {
            told,
            soonest,
            latest,
        }
    }

    /// That of the item that a write stores, in place of one with the life `before` or of none.
    pub(super) fn asked(expiry: Expiry, before: Option<Self>) -> Self {
        match expiry {
            Expiry::Never => Self::until(End::Never),
            Expiry::Keep => before.unwrap_or(Self::until(End::Never)),
            Expiry::After(_) | Expiry::At(_) => Self::until(End::Untold),
        }
    }

    /// Itself, as it is known when an answer tells its end; `None` if it cannot end so.
    pub(super) fn told(self, end: End) -> Option<Self> {
        match (self.told, end) {
            (_, End::Untold) => Some(self),
            (End::Untold, End::At(_)) => {
                let told = Self::until(end);
                let soonest = self.soonest.max(told.soonest);
                let latest = self.latest.min(told.latest);
                Self {
                    told: end,
                    soonest,
                    latest,
                }
                .possible()
            }
            (told, end) => (told == end).then_some(self),
        }
    }

    /// Itself, as it is known when an operation finds the item; `None` if that cannot be.
    pub(super) fn found_by(self, record: &Record) -> Option<Self> {
        match record.outcome {
            // It is not made to tell anything: so any other that does the same will do as well, if it was called earlier.
            Outcome::Unknown => (record.called <= self.latest).then_some(self),
            _ => Self {
                soonest: self.soonest.max(record.called),
                ..self
            }
            .possible(),
        }
    }

    /// Itself, as it is known when an operation finds that the item has ended; `None` if that cannot be.
    pub(super) fn missed_by(self, record: &Record) -> Option<Self> {
        match record.outcome {
            Outcome::Unknown => (self.told != End::Never).then_some(self),
            _ => Self {
                latest: self.latest.min(record.returned),
                ..self
            }
            .possible(),
        }
    }

    fn possible(self) -> Option<Self> {
        (self.soonest <= self.latest).then_some(self)
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.told.fmt(f)
    }
}
