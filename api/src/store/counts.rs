//! Totals of prefixes. Those who wait for the same one share a count, which begins after the last of them came.

use std::{pin::pin, sync::Arc};

use database::Session;
use entity::{Prefix, read};
use prometheus::Histogram;
use sea_orm::DbErr;
use tokio::time::{Instant, timeout};

use super::{
    error::Error,
    list_turns::ListTurns,
    reply::Reply,
    sessions::{ReadQuery, Sessions},
    shared_reads::SharedReads,
};

#[derive(Clone)]
pub(crate) struct Counts(Arc<Counter>);

/// The number of items of a prefix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub items: u64,
    /// When the count began: of two, the later one is good for whoever asked for either.
    pub begun: Instant,
}

struct Counter {
    sessions: Arc<Sessions>,
    reads: SharedReads<Prefix, Reply<Counted>>,
    /// How many shared a count.
    sizes: Histogram,
}

impl Counts {
    pub(super) fn new(sessions: Arc<Sessions>, turns: Arc<ListTurns>, sizes: Histogram) -> Self {
        Self(Arc::new(Counter {
            sessions,
            reads: SharedReads::new(turns),
            sizes,
        }))
    }

    /// Counts the items of a prefix; it begins after the call.
    ///
    /// # Errors
    /// Never [`Error::Unknown`].
    pub(crate) async fn count(&self, prefix: &Prefix, deadline: Instant) -> Result<Counted, Error> {
        let counter = &self.0;
        let submit = |reply| {
            if counter.reads.join(prefix, reply) {
                tokio::spawn(counter.clone().count(prefix.clone()));
            }
        };
        counter.sessions.call(deadline, submit).await
    }
}

impl Counter {
    async fn count(self: Arc<Self>, prefix: Prefix) {
        let next = NextCount(&self, &prefix);
        let Some((replies, _turn)) = self.reads.begin(&prefix).await else {
            return;
        };
        self.sizes.observe(replies.len() as f64);
        let begun = Instant::now();
        let query = Total(&prefix);
        let mut count = pin!(self.sessions.read(&query));
        // Its session may be dead, so it does not keep the next one waiting for ever.
        let in_time = timeout(self.sessions.time().late_count(), count.as_mut()).await;
        drop(next);
        let counted = match in_time {
            Ok(counted) => counted,
            Err(_) => count.await,
        };
        for reply in replies {
            let counted = counted.clone().map(|items| Counted { items, begun });
            reply.conclude(counted.map_err(Error::Failed));
        }
    }
}

/// Once it is dropped, the next count of a prefix may begin.
struct NextCount<'a>(&'a Arc<Counter>, &'a Prefix);

impl Drop for NextCount<'_> {
    fn drop(&mut self) {
        let Self(counter, prefix) = *self;
        if counter.reads.let_next_begin(prefix) {
            tokio::spawn(counter.clone().count(prefix.clone()));
        }
    }
}

struct Total<'a>(&'a Prefix);

impl ReadQuery for Total<'_> {
    type Answer = u64;
    const PLANNED_ONCE: bool = false;

    async fn ask(&self, session: &Session) -> Result<u64, DbErr> {
        session.plan_for_values().await?;
        read::count(session, self.0).await
    }
}
