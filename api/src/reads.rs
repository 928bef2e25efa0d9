//! Reads of keys. Those that arrive while one is under way are sent together.

use std::{mem, sync::Arc};

use database::Session;
use entity::{Item, Key, read};
use prometheus::Histogram;
use sea_orm::DbErr;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use crate::{
    config::Config,
    database::{Line, Query, Waiting},
    gather::{Batch, Call, Gather, Limits, unless_it_panics},
    metrics::Metrics,
    problem::Problem,
};

/// The most keys of one statement.
const MOST_KEYS: usize = 256;
/// So many keys are worth a second statement beside the first: fewer cost more than they save, and
/// with more there is too often nothing to do.
const BESIDE: usize = 16;
/// The most bytes of all values that one statement may bring.
const MOST_BYTES: usize = 64 << 20;

#[derive(Clone)]
pub struct Reads(Arc<Inner>);

struct Inner {
    line: Arc<Line>,
    gather: Gather<Lookup>,
    /// Their sizes.
    batches: Histogram,
}

struct Lookup {
    key: Key,
    waiting: Waiting<Option<Item>>,
    _permit: OwnedSemaphorePermit,
}

impl Call for Lookup {
    fn excludes(&self) -> Option<&str> {
        None
    }

    fn bytes(&self) -> usize {
        self.key.as_str().len()
    }
}

impl Reads {
    pub fn new(line: Arc<Line>, config: &Config, metrics: &Metrics) -> Self {
        // Values may be bounded to nothing at all.
        let largest = (config.max_value_bytes as usize).max(1);
        let limits = Limits {
            calls: (MOST_BYTES / largest).clamp(1, MOST_KEYS),
            bytes: MOST_BYTES,
            batches: config.database_max_connections.div_ceil(2) as usize,
            beside: Some(BESIDE),
        };
        let gather = Gather::new(limits);
        let batches = metrics.read_batches.clone();
        Self(Arc::new(Inner {
            line,
            gather,
            batches,
        }))
    }

    pub async fn find(&self, key: Key) -> Result<Option<Item>, Problem> {
        let inner = &self.0;
        let (waiting, told) = Waiting::new();
        let lookup = Lookup {
            key,
            waiting,
            _permit: inner.line.enter()?,
        };
        if let Some(batch) = inner.gather.add(lookup) {
            inner.clone().start(batch);
        }
        match timeout(inner.line.timeout, told).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Problem::internal()),
            Err(_) => Err(Problem::database_silent()),
        }
    }
}

impl Inner {
    fn start(self: Arc<Self>, batch: Batch<Lookup>) {
        // On the heap, since the runtime moves a task several times, and this one is large.
        tokio::spawn(Box::pin(async move {
            let mut next = Some(batch);
            while let Some(mut batch) = next {
                if batch.unwatched {
                    self.clone().watch();
                }
                let mut lookups = mem::take(&mut batch.calls);
                self.batches.observe(lookups.len() as f64);
                lookups.sort_unstable_by(|a, b| a.key.as_str().cmp(b.key.as_str()));
                let found = unless_it_panics(self.find_all(&lookups)).await;
                // The next ones first: these have their answers.
                next = self.gather.ended(&batch);
                // Who gets no answer says that something went wrong.
                if let Some(found) = found {
                    answer(lookups, found);
                }
            }
        }));
    }

    fn watch(self: Arc<Self>) {
        tokio::spawn(async move {
            let start = |batch| self.clone().start(batch);
            self.gather.watch(start).await;
        });
    }

    /// Each item once; `lookups` are in the order of their keys.
    async fn find_all(&self, lookups: &[Lookup]) -> Result<Vec<Item>, DbErr> {
        let mut keys: Vec<&str> = lookups.iter().map(|lookup| lookup.key.as_str()).collect();
        keys.dedup();
        self.line.read(&Keys(keys)).await
    }
}

struct Keys<'a>(Vec<&'a str>);

impl Query for Keys<'_> {
    type Answer = Vec<Item>;

    async fn ask(&self, session: &Session) -> Result<Vec<Item>, DbErr> {
        read::find_many(session, &self.0).await
    }
}

/// Gives each of `lookups`, which are in the order of their keys, its item. Only who asks for the
/// same key as somebody else gets a copy.
fn answer(lookups: Vec<Lookup>, found: Result<Vec<Item>, DbErr>) {
    let mut found = match found {
        Ok(found) => found,
        Err(error) => {
            for lookup in lookups {
                lookup.waiting.failed(|| Problem::not_written(&error));
            }
            return;
        }
    };
    found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let mut items = found.into_iter().peekable();
    let mut lookups = lookups.into_iter().peekable();
    while let Some(lookup) = lookups.next() {
        let key = lookup.key.as_str();
        let again = lookups.peek().is_some_and(|next| next.key.as_str() == key);
        let item = if again {
            items.peek().filter(|item| item.key == key).cloned()
        } else {
            items.next_if(|item| item.key == key)
        };
        lookup.waiting.done(item);
    }
}
