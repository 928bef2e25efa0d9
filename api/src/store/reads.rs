//! Reads of keys. Those that arrive while one is under way are sent together.

use std::sync::Arc;

use database::Session;
use entity::{Item, Key, read};
use prometheus::Histogram;
use sea_orm::DbErr;
use tokio::time::Instant;

use super::{
    batch_queue::{Call, Limits},
    batcher::{Batcher, Work},
    error::Error,
    reply::Reply,
    sessions::{ReadQuery, Sessions},
    settings::StoreSettings,
};

/// The most keys of one statement.
const MOST_KEYS: usize = 256;
/// This many keys are worth a second statement beside the first: fewer cost more than they save, and
/// with more there is too often nothing to do.
const BESIDE: usize = 16;
/// The most bytes of all values that one statement may bring.
const MOST_BYTES: usize = 64 << 20;

#[derive(Clone)]
pub(super) struct Reads {
    sessions: Arc<Sessions>,
    batcher: Batcher<Lookups>,
}

struct Lookup {
    key: Key,
    reply: Reply<Option<Item>>,
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
        // Values may be bounded to nothing at all.
        let largest = settings.max_value_bytes.max(1);
        let limits = Limits {
            calls: (MOST_BYTES / largest).clamp(1, MOST_KEYS),
            bytes: MOST_BYTES,
            batches: settings.connections.div_ceil(2) as usize,
            beside: Some(BESIDE),
        };
        let lookups = Lookups(sessions.clone());
        let batcher = Batcher::new(limits, sizes, lookups);
        Self { sessions, batcher }
    }

    pub(super) async fn find(&self, key: Key, deadline: Instant) -> Result<Option<Item>, Error> {
        let submit = |reply| self.batcher.submit(Lookup { key, reply });
        self.sessions.call(deadline, submit).await
    }
}

/// Looks up the keys of a batch in one statement.
struct Lookups(Arc<Sessions>);

impl Work for Lookups {
    type Call = Lookup;
    /// In the order of the keys, with each item that was found once.
    type Answers = (Vec<Lookup>, Result<Vec<Item>, DbErr>);

    async fn send(&self, mut lookups: Vec<Lookup>, _: &Batcher<Self>) -> Self::Answers {
        lookups.sort_unstable_by(|a, b| a.key.as_str().cmp(b.key.as_str()));
        let mut keys: Vec<&str> = lookups.iter().map(|lookup| lookup.key.as_str()).collect();
        keys.dedup();
        let found = self.0.read(&Keys(keys)).await;
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

struct Keys<'a>(Vec<&'a str>);

impl ReadQuery for Keys<'_> {
    type Answer = Vec<Item>;

    async fn ask(&self, session: &Session) -> Result<Vec<Item>, DbErr> {
        read::find_many(session, &self.0).await
    }
}

/// Gives each of `lookups`, which are in the order of their keys, its item. An item is copied only where
/// several lookups ask for the same key.
fn give(lookups: Vec<Lookup>, mut items: Vec<Item>) {
    items.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let mut items = items.into_iter().peekable();
    let mut lookups = lookups.into_iter().peekable();
    while let Some(lookup) = lookups.next() {
        let key = lookup.key.as_str();
        let again = lookups.peek().is_some_and(|next| next.key.as_str() == key);
        let item = if again {
            items.peek().filter(|item| item.key == key).cloned()
        } else {
            items.next_if(|item| item.key == key)
        };
        lookup.reply.done(item);
    }
}
