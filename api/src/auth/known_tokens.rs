//! The tokens of requests: what is remembered of them, else what the database says.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use database::Session;
use entity::token::{FoundToken, Secret, find_token};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use prometheus::IntCounterVec;
use sea_orm::DbErr;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout_at},
};

use super::token_cache::{REMEMBERED, Recalled, TokenCache};
use crate::{
    store::{Error, ReadQuery, Store},
    telemetry::{Metrics, within_request},
};

/// The most tokens that are looked up or wait for it …
const MOST_WAITING: usize = 1024;
/// … and of requests that the limiter counts only after their answer. They have a queue of their own, so that a client
/// that is over its limit keeps no other waiting.
const MOST_UNCOUNTED: usize = 16;
/// Look-ups take at most this part of the sessions, so that requests with known tokens find one.
const SHARE: usize = 4;
/// How long after a refresh that failed the token is asked for again.
const PAUSE: Duration = Duration::from_millis(500);

type FindResult = Result<Option<Arc<FoundToken>>, Error>;
/// A look-up that all requests with the same token wait for, and when it began.
type SharedLookup = Shared<BoxFuture<'static, (Instant, FindResult)>>;

#[derive(Clone)]
pub(crate) struct KnownTokens(Arc<SharedTokens>);

struct SharedTokens {
    store: Store,
    cache: TokenCache,
    counted: LookupQueue,
    uncounted: LookupQueue,
    lookups: IntCounterVec,
}

/// In which queue a token is looked up.
#[derive(Clone, Copy)]
pub(super) enum Lane {
    /// The limiter has let the request in.
    Counted,
    /// It looks at the request only after the answer.
    Uncounted,
}

/// The look-ups that are under way, or wait for their turn.
struct LookupQueue {
    under_way: Mutex<HashMap<[u8; 32], SharedLookup>>,
    /// How many there may be …
    most: usize,
    /// … and how many at a time.
    turns: Semaphore,
}

impl KnownTokens {
    /// `sessions` is how many the database has for kvd.
    pub(crate) fn new(store: Store, sessions: usize, metrics: &Metrics) -> Self {
        Self(Arc::new(SharedTokens {
            store,
            cache: TokenCache::default(),
            counted: LookupQueue::new(MOST_WAITING, (sessions / SHARE).max(1)),
            uncounted: LookupQueue::new(MOST_UNCOUNTED, 1),
            lookups: metrics.counters(
                "kvd_token_lookups_total",
                "Tokens that the database was asked for, and what it said: live, unknown (also ended or revoked), failed.",
                &["result"],
            ),
        }))
    }

    /// What is remembered of a secret: its token, or that it has none that is live. `None` if nothing is.
    pub(super) fn recall(&self, secret: &Secret) -> Option<Option<Arc<FoundToken>>> {
        match self.0.cache.recall(secret) {
            Recalled::Live { token, stale } => {
                if stale {
                    self.refresh(secret.clone());
                }
                Some(Some(token))
            }
            Recalled::NotLive => Some(None),
            Recalled::Nothing => None,
        }
    }

    /// The token of a secret, if it is live, as the database says.
    ///
    /// # Errors
    /// It cannot be asked.
    pub(super) async fn look_up(
        &self,
        secret: &Secret,
        lane: Lane,
        deadline: Instant,
    ) -> FindResult {
        if self.0.queue(lane).is_full() {
            return Err(Error::Overloaded);
        }
        loop {
            let looked_up = timeout_at(deadline, self.join(secret, lane)).await;
            let (asked, found) = looked_up.map_err(|_| Error::Silent)?;
            // It may have begun long before this request came.
            if found.is_err() || asked.elapsed() < REMEMBERED {
                return found;
            }
        }
    }

    /// Asks for a token again, beside the requests that are let in meanwhile. Only tokens that are live get here.
    fn refresh(&self, secret: Secret) {
        let this = self.clone();
        tokio::spawn(within_request(async move {
            let (_, found) = this.join(&secret, Lane::Counted).await;
            if found.is_err() {
                sleep(PAUSE).await;
                this.0.cache.ask_again(&secret);
            }
        }));
    }

    /// The look-up of this token that is under way, or a new one.
    fn join(&self, secret: &Secret, lane: Lane) -> SharedLookup {
        let hash = secret.sha256();
        let mut under_way = self.0.queue(lane).under_way();
        if let Some(looked_up) = under_way.get(&hash) {
            return looked_up.clone();
        }
        let place = QueuePlace {
            tokens: self.0.clone(),
            lane,
            hash,
        };
        let secret = secret.clone();
        // In a task of its own: whoever asked first may hang up.
        let task = tokio::spawn(within_request(async move { place.ask(secret).await }));
        let looked_up = async move {
            let lost = |_| (Instant::now(), Err(Error::Lost));
            task.await.unwrap_or_else(lost)
        };
        let looked_up = looked_up.boxed().shared();
        under_way.insert(hash, looked_up.clone());
        looked_up
    }
}

impl SharedTokens {
    fn queue(&self, lane: Lane) -> &LookupQueue {
        match lane {
            Lane::Counted => &self.counted,
            Lane::Uncounted => &self.uncounted,
        }
    }
}

impl LookupQueue {
    fn new(most: usize, turns: usize) -> Self {
        Self {
            under_way: Mutex::default(),
            most,
            turns: Semaphore::new(turns),
        }
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<[u8; 32], SharedLookup>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self) -> bool {
        self.under_way().len() >= self.most
    }
}

/// The place of a look-up in its queue, which it leaves when this is dropped.
struct QueuePlace {
    tokens: Arc<SharedTokens>,
    lane: Lane,
    hash: [u8; 32],
}

impl QueuePlace {
    async fn ask(self, secret: Secret) -> (Instant, FindResult) {
        let SharedTokens {
            store,
            cache,
            lookups,
            ..
        } = &*self.tokens;
        // It is never closed.
        let _turn = self.tokens.queue(self.lane).turns.acquire().await;
        let asked = Instant::now();
        let found = store.sessions().read(&AskToken(secret.clone())).await;
        let result = match &found {
            Ok(Some(_)) => "live",
            Ok(None) => "unknown",
            Err(_) => "failed",
        };
        lookups.with_label_values(&[result]).inc();
        let found = found.map(|found| found.map(Arc::new));
        if let Ok(found) = &found {
            cache.remember(&secret, asked, found.clone());
        }
        (asked, found.map_err(Error::Failed))
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        self.tokens.queue(self.lane).under_way().remove(&self.hash);
    }
}

struct AskToken(Secret);

impl ReadQuery for AskToken {
    type Answer = Option<FoundToken>;
    const PLANNED_ONCE: bool = true;

    async fn ask(&self, session: &Session) -> Result<Option<FoundToken>, DbErr> {
        find_token(session, &self.0).await
    }
}
