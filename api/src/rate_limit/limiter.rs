//! A log for each client, in a bounded cache.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use foldhash::quality::RandomState;
use moka::{notification::RemovalCause, policy::EvictionPolicy, sync::Cache};
use prometheus::IntCounter;

use super::{
    client::{Client, nanoseconds},
    recently_seen::RecentlySeen,
    window::{Decision, Quota},
};

/// The cache counts late: after up to six rounds of 384 entries, while 384 more wait, and those of
/// threads that wait with them.
const COUNTED_LATE: u64 = 3072;

/// The logs of all clients. The cache forgets idle ones.
///
/// Exact while no more clients than it may hold have sent something in the last window and a quarter.
/// Beyond that the one that has been silent the longest is forgotten first, and `evictions` counts it
/// if its window was not over.
pub struct RateLimiter {
    quota: Quota,
    max_clients: u64,
    /// All times are spans since this moment.
    epoch: Instant,
    clients: Cache<IpAddr, Arc<Client>, RandomState>,
    recent: Arc<RecentlySeen>,
    /// How often something was put into the cache.
    insertions: AtomicU64,
}

impl RateLimiter {
    pub fn new(quota: Quota, max_clients: u64, evictions: IntCounter) -> Self {
        let epoch = Instant::now();
        let recent = Arc::new(RecentlySeen::new(max_clients));
        let remembered = recent.clone();
        let clients = Cache::builder()
            .max_capacity(max_clients)
            // The default policy keeps frequent clients and drops new ones, which would then be
            // without limit.
            .eviction_policy(EvictionPolicy::lru())
            // A client that goes on sending may have been put in a quarter of a window before.
            .time_to_idle(quota.window + quota.window / 4)
            .eviction_listener(move |_, client: Arc<Client>, cause| {
                if cause == RemovalCause::Size {
                    let is_live = client.log().is_live(epoch.elapsed(), quota);
                    evictions.inc_by(is_live.into());
                }
                if cause != RemovalCause::Replaced {
                    remembered.forget(&client);
                }
            })
            // Seeded, so that no client can choose addresses that collide.
            .build_with_hasher(RandomState::default());
        Self {
            quota,
            max_clients,
            epoch,
            clients,
            recent,
            insertions: AtomicU64::new(0),
        }
    }

    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Decides about a request of this client now.
    pub fn admit(&self, address: IpAddr) -> Decision {
        let now = self.epoch.elapsed();
        let found = self.recent.find(address);
        let found = found.as_deref().and_then(Option::as_deref);
        match found.filter(|client| self.is_fresh(client, now)) {
            Some(client) => client.admit(now, self.quota),
            None => self.refreshed(address, now).admit(now, self.quota),
        }
    }

    /// The client as the cache has it, put in again if it is not fresh.
    fn refreshed(&self, address: IpAddr, now: Duration) -> Arc<Client> {
        let new = || {
            let before = self.insertions.fetch_add(1, Ordering::Relaxed);
            Arc::new(Client::new(address, now, before))
        };
        let client = self.clients.get_with(address, new);
        if !self.is_fresh(&client, now) {
            let before = self.insertions.fetch_add(1, Ordering::Relaxed);
            client.insertions.store(before, Ordering::Relaxed);
            client.put_in.store(nanoseconds(now), Ordering::Relaxed);
            self.clients.insert(address, client.clone());
        }
        self.recent.put(client.clone());
        client
    }

    /// Whether the client is far from being evicted or forgotten.
    ///
    /// The cache does not learn of a client that is found without it. So a client that goes on sending is
    /// put in again before a quarter of the time is over, or a quarter of the cache is newer. With half of
    /// the cache free it does not matter what is newer: that many more would have to come before the first
    /// is evicted.
    fn is_fresh(&self, client: &Client, now: Duration) -> bool {
        let put_in = Duration::from_nanos(client.put_in.load(Ordering::Relaxed));
        let insertions = self.insertions.load(Ordering::Relaxed);
        let newer = insertions.saturating_sub(client.insertions.load(Ordering::Relaxed));
        let has_room = || self.clients.entry_count() + COUNTED_LATE < self.max_clients / 2;
        now.saturating_sub(put_in) < self.quota.window / 4
            && (newer < self.max_clients.div_ceil(4) || has_room())
    }

    /// How many clients are remembered.
    pub fn clients(&self) -> u64 {
        self.clients.run_pending_tasks();
        self.clients.entry_count()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const QUOTA: Quota = Quota {
        limit: 60,
        window: Duration::from_mins(1),
    };

    fn limiter(max_clients: u64) -> (RateLimiter, IntCounter) {
        let evictions = IntCounter::new("evictions", "in this test").unwrap();
        (
            RateLimiter::new(QUOTA, max_clients, evictions.clone()),
            evictions,
        )
    }

    fn client(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    fn admitted(limiter: &RateLimiter, client: IpAddr, requests: u32) -> u32 {
        let is_admitted = |_: &u32| matches!(limiter.admit(client), Decision::Admitted { .. });
        (0..requests).filter(is_admitted).count() as u32
    }

    /// A small one, and one that has room.
    fn both() -> [RateLimiter; 2] {
        [limiter(100).0, limiter(100_000).0]
    }

    #[test]
    fn threads_together_get_no_more_than_the_limit() {
        for limiter in both() {
            let total: u32 = thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|_| scope.spawn(|| admitted(&limiter, client(1), 50)))
                    .collect();
                threads.into_iter().map(|t| t.join().unwrap()).sum()
            });
            assert_eq!(total, QUOTA.limit);
        }
    }

    #[test]
    fn who_is_refused_is_told_when_to_come_back_also_when_asking_again() {
        for limiter in both() {
            assert_eq!(admitted(&limiter, client(1), 61), 60);
            let mut last = QUOTA.window;
            for _ in 0..3 {
                let Decision::Refused { retry_after } = limiter.admit(client(1)) else {
                    panic!("the window is full");
                };
                assert!(retry_after < last && retry_after > QUOTA.window / 2);
                last = retry_after;
            }
        }
    }

    #[test]
    fn every_client_has_a_window_of_its_own() {
        for max_clients in [1000, 100_000] {
            let (limiter, evictions) = limiter(max_clients);
            for _ in 0..30 {
                for number in 0..1000 {
                    assert_eq!(admitted(&limiter, client(number), 2), 2, "{number}");
                }
            }
            for number in 0..1000 {
                assert_eq!(admitted(&limiter, client(number), 1), 0, "{number}");
            }
            assert_eq!(limiter.clients(), 1000);
            assert_eq!(evictions.get(), 0);
        }
    }

    #[test]
    fn known_clients_are_found_without_the_cache() {
        for max_clients in [100, 100_000] {
            let (limiter, _) = limiter(max_clients);
            let now = limiter.epoch.elapsed();
            let known = Arc::new(Client::new(client(1), now, 0));
            let spent = (0..QUOTA.limit)
                .filter(|_| matches!(known.admit(now, QUOTA), Decision::Admitted { .. }));
            assert_eq!(spent.count() as u32, QUOTA.limit);
            limiter.recent.put(known);
            assert_eq!(admitted(&limiter, client(1), 1), 0);
            assert_eq!(limiter.clients(), 0);
        }
    }

    #[test]
    fn a_client_that_goes_on_sending_is_not_the_one_evicted() {
        for max_clients in [100, 10_000] {
            let (limiter, evictions) = limiter(max_clients);
            let mut busy = 0;
            for number in 0..10 * max_clients as u32 {
                if number % 10 == 0 {
                    busy += admitted(&limiter, client(u32::MAX), 1);
                }
                limiter.admit(client(number));
            }
            assert_eq!(busy, QUOTA.limit, "its window was lost");
            assert!(limiter.clients() <= max_clients);
            assert!(evictions.get() > 8 * max_clients, "{}", evictions.get());
        }
    }

    #[test]
    fn whom_the_cache_forgets_is_forgotten_everywhere() {
        let (limiter, _) = limiter(1000);
        for number in 0..5000 {
            limiter.admit(client(number));
        }
        assert_eq!(limiter.clients(), 1000);
        for number in 0..5000 {
            if limiter.recent.find(client(number)).is_some() {
                assert!(limiter.clients.contains_key(&client(number)), "{number}");
            }
        }
    }
}
