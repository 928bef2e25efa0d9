//! Reads of keys. Those that arrive while one is under way are sent together.

use std::sync::Arc;

use database::Session;
use entity::{
    Key,
    read::{self, FoundItem},
};
use prometheus::Histogram;
use sea_orm::DbErr;
use tokio::{sync::Semaphore, time::Instant};

use super::{
    batch::{Call, Limits},
    batcher::{Batcher, Work},
    error::Error,
    reply::Reply,
    sessions::{ReadQuery, Sessions},
    settings::StoreSettings,
};
use crate::telemetry::within_request;

/// The most keys of one statement.
const MOST_KEYS: usize = 256;
/// This many keys are worth a second statement beside the first: fewer cost more than they save, and
/// with more there is too often nothing to do.
const BESIDE: usize = 16;
/// The most bytes of all values that come with the look-up of their keys: no memory is reserved for these.
/// Each of a batch has its share, and a larger value is read by itself, once there is memory for it.
const MOST_VALUE_BYTES: usize = 4 << 20;
/// Bounds nothing: what the keys of one statement take is little.
const MOST_KEY_BYTES: usize = usize::MAX;

#[derive(Clone)]
pub(crate) struct Reads {
    sessions: Arc<Sessions>,
    batcher: Batcher<Lookups>,
    /// The right to read a large value, for a part of the connections.
    large_turns: Arc<Semaphore>,
}

struct Lookup {
    key: Key,
    reply: Reply<Option<FoundItem>>,
}

impl Call for Lookup {
    fn conflict_key(&self) -> Option<&str> {
        None
    }

    fn bytes(&self) -> usize {
        self.key.as_str().len()
    }
}

impl Reads {
    pub(super) fn new(sessions: Arc<Sessions>, settings: &StoreSettings, sizes: Histogram) -> Self {
        let limits = Limits {
            calls: MOST_KEYS,
            bytes: MOST_KEY_BYTES,
            batches: settings.connections.div_ceil(2) as usize,
            at_once: 2,
            beside: Some(BESIDE),
        };
        let lookups = Lookups(sessions.clone());
        let batcher = Batcher::new(limits, sizes, lookups);
        Self {
            sessions,
            batcher,
            // The other half is for small ones.
            large_turns: Arc::new(Semaphore::new((settings.connections as usize / 2).max(1))),
        }
    }

    /// The item of a key. A large value stays in the database, for [`Self::find_large`].
    ///
    /// # Errors
    /// Never [`Error::Unknown`].
    pub(crate) async fn find(
        &self,
        key: Key,
        deadline: Instant,
    ) -> Result<Option<FoundItem>, Error> {
        let submit = |reply| self.batcher.submit([Lookup { key, reply }]);
        self.sessions.call(deadline, submit).await
    }

    /// The same for each of several keys.
    pub(crate) async fn find_each(
        &self,
        keys: Vec<Key>,
        deadline: Instant,
    ) -> Vec<Result<Option<FoundItem>, Error>> {
        let lookup = |(key, reply)| Lookup { key, reply };
        let count = keys.len();
        let submit = |replies: Vec<_>| {
            let lookups = keys.into_iter().zip(replies).map(lookup);
            self.batcher.submit(lookups);
        };
        self.sessions.call_each(deadline, count, submit).await
    }

    /// The item of a key, with its value unless that has become larger than this. The call keeps `memory`
    /// for it, also when its request is gone, and gives it back with the item.
    ///
    /// # Errors
    /// Never [`Error::Unknown`].
    pub(crate) async fn find_large<M: Send + 'static>(
        &self,
        key: String,
        most_value_bytes: usize,
        memory: M,
        deadline: Instant,
    ) -> Result<(Option<FoundItem>, M), Error> {
        let (sessions, turns) = (self.sessions.clone(), self.large_turns.clone());
        let submit = |reply: Reply<_>| {
            tokio::spawn(within_request(async move {
                // Only a closed semaphore has none, and this one is never closed.
                let Ok(turn) = turns.acquire().await else {
                    return;
                };
                if reply.is_gone() {
                    return;
                }
                let found = sessions.read(&Keys(vec![&key], most_value_bytes)).await;
                drop(turn);
                let found = found.map(|mut found| (found.pop(), memory));
                reply.conclude(found.map_err(Error::Failed));
            }));
        };
        self.sessions.call(deadline, submit).await
    }
}

/// Looks up the keys of a batch in one statement.
struct Lookups(Arc<Sessions>);

impl Work for Lookups {
    type Call = Lookup;
    /// In the order of the keys, with each item that was found once.
    type Answers = (Vec<Lookup>, Result<Vec<FoundItem>, DbErr>);

    async fn send(&self, mut lookups: Vec<Lookup>, _: &Batcher<Self>) -> Self::Answers {
        lookups.sort_unstable_by(|a, b| a.key.as_str().cmp(b.key.as_str()));
        let mut keys: Vec<&str> = lookups.iter().map(|lookup| lookup.key.as_str()).collect();
        keys.dedup();
        let share = MOST_VALUE_BYTES / lookups.len().max(1);
        let found = self.0.read(&Keys(keys, share)).await;
        (lookups, found)
    }

    fn answer(&self, (lookups, found): Self::Answers) {
        match found {
            Ok(items) => give(lookups, items),
            Err(error) => lookups
                .into_iter()
                .for_each(|lookup| lookup.reply.failed(Error::Failed(error.clone()))),
        }
    }
}

/// Keys, and the most bytes of a value that is to come with them.
struct Keys<'a>(Vec<&'a str>, usize);

impl ReadQuery for Keys<'_> {
    type Answer = Vec<FoundItem>;
    const PLANNED_ONCE: bool = true;

    async fn ask(&self, session: &Session) -> Result<Vec<FoundItem>, DbErr> {
        read::find_many(session, &self.0, self.1).await
    }
}

/// Gives each of `lookups`, which are in the order of their keys, its item. An item is copied only where
/// several lookups ask for the same key.
fn give(lookups: Vec<Lookup>, mut items: Vec<FoundItem>) {
    items.sort_unstable_by(|a, b| a.key().cmp(b.key()));
    let mut items = items.into_iter().peekable();
    let mut lookups = lookups.into_iter().peekable();
    while let Some(lookup) = lookups.next() {
        let key = lookup.key.as_str();
        let again = lookups.peek().is_some_and(|next| next.key.as_str() == key);
        let item = if again {
            items.peek().filter(|item| item.key() == key).cloned()
        } else {
            items.next_if(|item| item.key() == key)
        };
        lookup.reply.done(item);
    }
}
