//! The database as the handlers see it: every call with a deadline, every failure as an [`Error`]. Knows
//! no HTTP.
//!
//! - `sessions` is what all calls go through; `reply`: how they are answered; `outage`: whether the
//!   database is there.
//! - `reads` and `writes` send together, by one `batcher`, what arrives together. `lone_writes` sends
//!   a write alone, in the queue of its key (`key_queues`); where only one may write, in turn (`write_turns`).
//!   An `atomic_batch` goes alone too, and waits in no queue. `removal` removes what has expired.
//! - Lists, and the `counts` of their items, are `shared_reads`, which have their turn one after the other
//!   (`list_turns`).
//! - `settings` divides the time of a request; `metrics`: the instruments of all this.

mod atomic_batch;
mod batch;
mod batch_queue;
mod batcher;
mod counts;
mod error;
mod key_queues;
mod list_turns;
mod lone_writes;
mod metrics;
mod outage;
mod reads;
mod removal;
mod reply;
mod sessions;
mod settings;
mod shared_reads;
mod under_way;
mod write_turns;
mod writes;

use std::{convert::Infallible, sync::Arc};

use database::{Failure, Session};
use entity::write::{Atomic, KeyOperation, Outcome, Write};
use migration::{MissingRight, NeededTable, Right, missing_rights, unless_read_only};
use sea_orm::DbErr;
use tokio::time::Instant;

pub(crate) use self::{
    counts::{Counted, Counts},
    error::Error,
    list_turns::{ListTurn, ListTurns},
    lone_writes::KeptMemory,
    reads::Reads,
    reply::{LogUnheard, Reply},
    sessions::{ReadQuery, Sessions},
    settings::{RequestTime, StoreSettings},
    shared_reads::{Asker, SharedReads, unless_all_turned_away},
};
use self::{metrics::BatchSizes, removal::Removal, write_turns::WriteTurns, writes::Writes};
use crate::telemetry::{Metrics, within_request};

#[derive(Clone)]
pub(crate) struct Store {
    sessions: Arc<Sessions>,
    reads: Reads,
    list_turns: Arc<ListTurns>,
    counts: Counts,
    writes: Writes,
    removal: Removal,
}

impl Store {
    /// `log_unheard` is told each failure for which no request waits any more.
    ///
    /// # Errors
    /// The URL asks for something the driver does not know.
    pub(crate) fn new(
        settings: &StoreSettings,
        metrics: &Metrics,
        log_unheard: LogUnheard,
    ) -> Result<Self, DbErr> {
        let sessions = Arc::new(Sessions::new(settings, log_unheard)?);
        let sizes = BatchSizes::new(metrics);
        let reads = Reads::new(sessions.clone(), settings, sizes.reads);
        let list_turns = Arc::new(ListTurns::new(settings));
        let counts = Counts::new(sessions.clone(), list_turns.clone(), sizes.counts);
        let turns = WriteTurns::new(settings.url.engine());
        let writes = Writes::new(sessions.clone(), turns.clone(), settings, sizes.writes);
        let removal = Removal::new(sessions.clone(), turns, metrics);
        metrics::watch(metrics, &sessions, &writes);
        Ok(Self {
            sessions,
            reads,
            list_turns,
            counts,
            writes,
            removal,
        })
    }

    /// For calls of other parts.
    pub(crate) fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    pub(crate) fn reads(&self) -> &Reads {
        &self.reads
    }

    pub(crate) fn list_turns(&self) -> &Arc<ListTurns> {
        &self.list_turns
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The write keeps `memory` until it is done, also when its request is gone.
    ///
    /// # Errors
    /// [`Error::Unknown`] if the write may have been applied; with any other it was not.
    pub(crate) async fn write(
        &self,
        write: Write,
        memory: Option<KeptMemory>,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        self.writes.write(write, memory, deadline).await
    }

    /// The same for each of several writes, of different keys. Each keeps what `memory` gives it.
    pub(crate) async fn write_each(
        &self,
        writes: Vec<Write>,
        memory: impl FnMut() -> Option<KeptMemory>,
        deadline: Instant,
    ) -> Vec<Result<Outcome, Error>> {
        self.writes.write_each(writes, memory, deadline).await
    }

    /// Does all of the operations, which are of different keys, or none. A value of more than `most_value_bytes` bytes
    /// is not read.
    ///
    /// # Errors
    /// Of all of them: as of one write.
    pub(crate) async fn write_atomically(
        &self,
        operations: Arc<Vec<KeyOperation>>,
        most_value_bytes: usize,
        memory: Option<KeptMemory>,
        deadline: Instant,
    ) -> Result<Atomic, Error> {
        let writes = &self.writes;
        writes
            .write_atomically(operations, most_value_bytes, memory, deadline)
            .await
    }

    /// What the database lacks, and if tokens are asked for lacks for these; asked for also while many calls wait.
    ///
    /// # Errors
    /// Never [`Error::Unknown`].
    pub(crate) async fn lacks(&self, asks_tokens: bool) -> Result<Lacks, Error> {
        let deadline = Instant::now() + self.sessions.time().0;
        let sessions = self.sessions.clone();
        let ask = |reply: Reply<Lacks>| {
            tokio::spawn(within_request(async move {
                let lacks = sessions.read(&AskLacks { asks_tokens }).await;
                reply.conclude(lacks.map_err(Error::Failed));
            }));
        };
        self.sessions.call_unbounded(deadline, ask).await
    }

    /// Removes what has expired, for ever.
    pub(crate) async fn remove_expired(&self) -> Infallible {
        self.removal.clone().run().await
    }

    /// Waits until all sessions are given back, and ends them.
    pub(crate) async fn close(&self) {
        self.sessions.pool().close().await;
    }
}

/// What a database lacks that kvd needs.
pub(crate) enum Lacks {
    Nothing,
    /// These rights of its user.
    Rights(Vec<MissingRight>),
    /// This many migrations.
    Migrations(usize),
}

struct AskLacks {
    asks_tokens: bool,
}

impl ReadQuery for AskLacks {
    type Answer = Lacks;
    const PLANNED_ONCE: bool = false;

    async fn ask(&self, session: &Session) -> Result<Lacks, DbErr> {
        // First, as a table without any right may look as if it were not there.
        let rights = missing_rights(session, NeededTable::Items).await?;
        let mut rights = unless_read_only(rights);
        if self.asks_tokens {
            let of_tokens = missing_rights(session, NeededTable::Tokens).await?;
            // It only reads them.
            let is_read = |missing: &MissingRight| missing.right == Right::Read;
            let is_new = |missing: &MissingRight| is_read(missing) && !rights.contains(missing);
            let new: Vec<_> = of_tokens.into_iter().filter(is_new).collect();
            rights.extend(new);
        }
        if !rights.is_empty() {
            return Ok(Lacks::Rights(rights));
        }
        let status = migration::status(session).await?;
        if self.asks_tokens && status.pending().next().is_none() {
            // A table that was dropped by hand is still recorded.
            match entity::token::probe(session).await {
                Err(error) if Failure::of(&error) == Failure::NotMigrated => {
                    return Ok(Lacks::Migrations(1));
                }
                probed => probed?,
            }
        }
        Ok(match status.pending().count() {
            0 => Lacks::Nothing,
            count => Lacks::Migrations(count),
        })
    }
}
