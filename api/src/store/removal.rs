//! Removes what has expired, beside all else. Any number of kvd may do so on one database.

use std::{convert::Infallible, mem, sync::Arc, time::Duration};

use database::{Failure, Session};
use entity::write::{
    Removable, Removed, WriteError, count_removable, expired_since, remove_expired,
};
use prometheus::{IntCounter, IntGauge};
use sea_orm::DbErr;
use tokio::time::{Instant, sleep, timeout};

use super::{
    lone_writes::failure_of,
    sessions::{ReadQuery, Sessions, silent},
    write_turns::WriteTurns,
};
use crate::telemetry::{Metrics, target};

/// The most rows of a transaction.
const MOST: u32 = 500;
/// How long to wait when there is nothing more to remove.
const PAUSE: Duration = Duration::from_secs(1);
/// How often those that wait are counted. A count of a million takes about a tenth of a second.
const COUNT_PAUSE: Duration = Duration::from_secs(5);
/// The most items that are passed over because the database refuses to delete them, and for how long.
const MOST_REFUSED: usize = 100;
const REFUSED_PAUSE: Duration = Duration::from_mins(1);

#[derive(Clone)]
pub(super) struct Removal {
    sessions: Arc<Sessions>,
    turns: WriteTurns,
    waiting: IntGauge,
    late: IntGauge,
    removed: IntCounter,
}

/// What is known from one search for the next.
#[derive(Default)]
struct RemovalState {
    what: Removable,
    /// Since when items are passed over.
    refused: Option<Instant>,
    /// When those that wait were counted last.
    counted: Option<Instant>,
    /// Whether the log says already that a right is missing.
    told_right: bool,
    /// Whether it says already that an item is not deleted.
    told_refused: bool,
}

impl RemovalState {
    /// Begins at the first item again, also with those that were passed over for long.
    fn begin(&mut self) {
        self.what.from = None;
        if self
            .refused
            .is_some_and(|since| since.elapsed() >= REFUSED_PAUSE)
        {
            self.refused = None;
            self.what.except.clear();
        }
    }

    /// Leaves out an item for a while, since the database does not delete it. Tells whether there is room for that.
    fn pass_over(&mut self, first: Option<i64>) -> bool {
        let Some(id) = first.filter(|_| self.what.except.len() < MOST_REFUSED) else {
            return false;
        };
        self.what.except.push(id);
        self.refused.get_or_insert_with(Instant::now);
        if !mem::replace(&mut self.told_refused, true) {
            tracing::warn!(
                target: target::SERVER,
                id,
                "the database does not delete an item that has expired; it stays in the table, though nobody sees it"
            );
        }
        true
    }
}

/// How many wait.
struct AskCount;

impl ReadQuery for AskCount {
    type Answer = u64;
    const PLANNED_ONCE: bool = false;

    async fn ask(&self, session: &Session) -> Result<u64, DbErr> {
        count_removable(session).await
    }
}

impl Removal {
    pub(super) fn new(sessions: Arc<Sessions>, turns: WriteTurns, metrics: &Metrics) -> Self {
        Self {
            sessions,
            turns,
            waiting: metrics.gauge(
                "kvd_expired_items",
                "Items that have expired and wait for their removal, counted every 5 s.",
            ),
            late: metrics.gauge(
                "kvd_expired_items_late_seconds",
                "How long ago the first of the items expired that wait for their removal.",
            ),
            removed: metrics.counter(
                "kvd_expired_items_removed_total",
                "Items that this kvd has removed since they have expired.",
            ),
        }
    }

    /// Removes what has expired, whenever something has.
    pub(super) async fn run(self) -> Infallible {
        let mut state = RemovalState::default();
        loop {
            let failed = self.all(&mut state).await.err();
            if failed == Some(Failure::NoRight) && !mem::replace(&mut state.told_right, true) {
                tracing::warn!(
                    target: target::SERVER,
                    "the database user has no right to delete what has expired; it stays in the table, though nobody \
                     sees it"
                );
            }
            sleep(PAUSE).await;
        }
    }

    /// Removes all that has expired and is not locked.
    async fn all(&self, state: &mut RemovalState) -> Result<(), Failure> {
        state.begin();
        let mut most = MOST;
        while self.look(&mut state.counted).await? {
            let begun = Instant::now();
            while begun.elapsed() < COUNT_PAUSE {
                let sent = Instant::now();
                let removed = self.some(most, state.what.clone()).await?;
                self.removed.inc_by(removed.items);
                if removed.items < removed.found {
                    // The others are not to wait for what the database does not delete.
                    if most == 1 && !state.pass_over(removed.first) {
                        return Ok(());
                    }
                    most = 1;
                } else if removed.found < u64::from(most) {
                    return Ok(());
                } else {
                    state.what.from = removed.until;
                    most = MOST.min(2 * most);
                }
                // Four fifths of the time are for others.
                sleep(4 * sent.elapsed()).await;
            }
        }
        Ok(())
    }

    /// Whether anything has expired; tells the metrics.
    async fn look(&self, counted: &mut Option<Instant>) -> Result<bool, Failure> {
        let since = self.since().await?;
        let late = since.map_or(0, |since| since.as_secs());
        self.late.set(i64::try_from(late).unwrap_or(i64::MAX));
        if since.is_none() {
            self.waiting.set(0);
        } else if counted.is_none_or(|last| last.elapsed() >= COUNT_PAUSE) {
            let waiting = self.sessions.read(&AskCount).await;
            let waiting = waiting.map_err(|error| Failure::of(&error))?;
            self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
            *counted = Some(Instant::now());
        }
        Ok(since.is_some())
    }

    /// How long ago the first that waits expired. That a session is used for this once a second makes it no fresher for
    /// others.
    async fn since(&self) -> Result<Option<Duration>, Failure> {
        let session = self.sessions.acquire(false).await;
        let session = session.map_err(|error| Failure::of(&error))?;
        let since = self.sessions.in_time(expired_since(&session)).await;
        match since {
            Ok(since) => {
                self.sessions.put_back_unused(session);
                Ok(since)
            }
            Err(error) => {
                let failed = Failure::of(&error);
                self.sessions.put_back(session, Some(failed));
                Err(failed)
            }
        }
    }

    /// In a task of its own: what is sent runs to its end, also when kvd is told to end.
    async fn some(&self, most: u32, what: Removable) -> Result<Removed, Failure> {
        let this = self.clone();
        let removed = tokio::spawn(async move { this.once(most, &what).await }).await;
        let removed = removed.unwrap_or_else(|_| Err(WriteError::Unknown(silent())));
        let failed = failure_of(&removed);
        removed.map_err(|_| failed.unwrap_or(Failure::Unknown))
    }

    async fn once(&self, most: u32, what: &Removable) -> Result<Removed, WriteError> {
        let turn = self.turns.turn().await;
        let session = self.sessions.acquire(false).await;
        let session = session.map_err(WriteError::NotWritten)?;
        let removed = remove_expired(&session, most, what);
        let removed = timeout(self.sessions.time().0, removed).await;
        let removed = removed.unwrap_or_else(|_| Err(WriteError::Unknown(silent())));
        self.sessions.put_back(session, failure_of(&removed));
        drop(turn);
        removed
    }
}
