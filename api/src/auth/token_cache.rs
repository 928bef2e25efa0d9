//! What the database said of tokens lately, so that a request costs no query.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use entity::token::{FoundToken, Secret};
use moka::sync::Cache;
use tokio::time::Instant;

/// How long an answer is remembered, from the beginning of its look-up on: as long as a revocation takes at most.
pub(super) const REMEMBERED: Duration = Duration::from_secs(5);
/// A token that is used and was asked for longer ago is asked for again, beside the request, so that none has to wait.
const REFRESHED: Duration = Duration::from_secs(2);
/// How many tokens are found at once: moka's `get` writes what other threads read. A power of two, at most 256.
const FRONT: usize = 256;
/// The most tokens of each kind. Those that are not live have a place of their own: whoever makes some up pushes no
/// good one out.
const MOST: u64 = 10_000;

type Hash = [u8; 32];

/// The tokens that were looked up lately, by their hashes.
pub struct TokenCache {
    /// Live tokens that were found lately, each in the place of its hash, which another one may take.
    front: Box<[ArcSwapOption<LiveToken>]>,
    live: Cache<Hash, Arc<LiveToken>>,
    /// When the look-up began.
    others: Cache<Hash, Instant>,
}

struct LiveToken {
    hash: Hash,
    token: Arc<FoundToken>,
    asked: Instant,
    refreshing: AtomicBool,
}

/// What is known of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recalled {
    /// It is live. If it is `stale`, this caller is the one that is to ask again.
    Live {
        token: Arc<FoundToken>,
        stale: bool,
    },
    /// There is none, or it has ended or is revoked.
    NotLive,
    Nothing,
}

impl Default for TokenCache {
    fn default() -> Self {
        Self {
            front: (0..FRONT).map(|_| ArcSwapOption::empty()).collect(),
            live: cache(),
            others: cache(),
        }
    }
}

fn cache<T: Clone + Send + Sync + 'static>() -> Cache<Hash, T> {
    Cache::builder()
        .max_capacity(MOST)
        .time_to_live(REMEMBERED)
        .build()
}

impl TokenCache {
    pub fn recall(&self, secret: &Secret) -> Recalled {
        let hash = secret.sha256();
        let place = self.place(&hash);
        if let Some(found) = place.load().as_ref().filter(|found| found.hash == hash)
            && let Some(recalled) = found.recall()
        {
            return recalled;
        }
        if let Some(known) = self.live.get(&hash)
            && let Some(recalled) = known.recall()
        {
            place.store(Some(known));
            return recalled;
        }
        let other = self.others.get(&hash);
        match other.is_some_and(|asked| asked.elapsed() < REMEMBERED) {
            true => Recalled::NotLive,
            false => Recalled::Nothing,
        }
    }

    fn place(&self, hash: &Hash) -> &ArcSwapOption<LiveToken> {
        &self.front[usize::from(hash[0]) & (FRONT - 1)]
    }

    /// Lets the next caller ask for a live token again, as the one before was in vain.
    pub(super) fn ask_again(&self, secret: &Secret) {
        if let Some(known) = self.live.get(&secret.sha256()) {
            known.refreshing.store(false, Ordering::Relaxed);
        }
    }

    /// Remembers the answer of a look-up that began at `asked`, unless one is remembered that began later.
    pub fn remember(&self, secret: &Secret, asked: Instant, found: Option<Arc<FoundToken>>) {
        let hash = secret.sha256();
        let known = self.live.get(&hash).map(|known| known.asked);
        if known
            .max(self.others.get(&hash))
            .is_some_and(|newer| newer > asked)
        {
            return;
        }
        match found {
            Some(token) => {
                self.others.invalidate(&hash);
                let refreshing = AtomicBool::new(false);
                let known = LiveToken {
                    hash,
                    token,
                    asked,
                    refreshing,
                };
                let known = Arc::new(known);
                self.live.insert(hash, known.clone());
                self.place(&hash).store(Some(known));
            }
            None => {
                self.live.invalidate(&hash);
                let place = self.place(&hash);
                if place
                    .load()
                    .as_ref()
                    .is_some_and(|found| found.hash == hash)
                {
                    place.store(None);
                }
                self.others.insert(hash, asked);
            }
        }
    }
}

impl LiveToken {
    /// `None` if it is too old.
    fn recall(&self) -> Option<Recalled> {
        let age = self.asked.elapsed();
        (age < REMEMBERED).then(|| Recalled::Live {
            token: self.token.clone(),
            stale: age >= REFRESHED && !self.refreshing.swap(true, Ordering::Relaxed),
        })
    }
}

#[cfg(test)]
mod tests {
    use entity::token::Rules;

    use super::*;

    fn secret() -> Secret {
        Secret::generate().expect("random bytes")
    }

    fn found() -> Arc<FoundToken> {
        let rules: Rules =
            serde_json::from_str(r#"[{"prefix":"","access":"read"}]"#).expect("rules");
        Arc::new(FoundToken {
            name: "app".to_owned(),
            rules,
            expires_at: None,
        })
    }

    fn live(stale: bool) -> Recalled {
        let token = found();
        Recalled::Live { token, stale }
    }

    #[test]
    fn an_answer_is_as_old_as_the_beginning_of_its_look_up() {
        let cache = TokenCache::default();
        let (secret, now) = (secret(), Instant::now());
        assert_eq!(cache.recall(&secret), Recalled::Nothing);
        cache.remember(&secret, now, Some(found()));
        assert_eq!(cache.recall(&secret), live(false));
        cache.remember(&secret, now, None);
        assert_eq!(cache.recall(&secret), Recalled::NotLive);
        let ago = |age| {
            let cache = TokenCache::default();
            cache.remember(&secret, now - age, Some(found()));
            cache
        };
        let stale = ago(REFRESHED);
        assert_eq!(stale.recall(&secret), live(true), "it is to be asked for");
        assert_eq!(stale.recall(&secret), live(false), "by one only");
        stale.ask_again(&secret);
        assert_eq!(stale.recall(&secret), live(true), "that was in vain");
        assert_eq!(ago(REMEMBERED).recall(&secret), Recalled::Nothing);
        let cache = TokenCache::default();
        cache.remember(&secret, now - REMEMBERED, None);
        assert_eq!(cache.recall(&secret), Recalled::Nothing);
    }

    #[test]
    fn an_older_answer_changes_no_newer_one() {
        let (secret, now) = (secret(), Instant::now());
        let before = now - Duration::from_secs(1);
        let cache = TokenCache::default();
        cache.remember(&secret, now, Some(found()));
        cache.remember(&secret, before, None);
        assert_eq!(cache.recall(&secret), live(false));
        let cache = TokenCache::default();
        cache.remember(&secret, now, None);
        cache.remember(&secret, before, Some(found()));
        assert_eq!(cache.recall(&secret), Recalled::NotLive);
    }

    #[test]
    fn made_up_tokens_are_bounded_and_push_no_live_one_out() {
        let cache = TokenCache::default();
        let good = secret();
        // However long the machine takes, it is not old.
        let asked = Instant::now() + Duration::from_hours(1);
        cache.remember(&good, asked, Some(found()));
        for _ in 0..2 * MOST {
            cache.remember(&secret(), Instant::now(), None);
        }
        cache.others.run_pending_tasks();
        assert!(cache.others.entry_count() <= MOST);
        assert_eq!(cache.recall(&good), live(false));
    }
}
