//! The limit of requests for each client.
//!
//! [`window`] is the arithmetic, [`RateLimiter`] keeps a log for each client, [`middleware`] asks it.

pub mod middleware;
pub mod window;

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use foldhash::quality::RandomState;
use moka::{notification::RemovalCause, policy::EvictionPolicy, sync::Cache};
use prometheus::IntCounter;

use self::window::{Decision, Log, Quota};

/// The logs of all clients, in a bounded cache that forgets idle clients.
///
/// Exact while no more clients are live than it may hold. Beyond that the one that has been silent
/// the longest is forgotten first, and `evictions` counts it if its window was not over.
pub struct RateLimiter {
    quota: Quota,
    max_clients: u64,
    /// All times are spans since this moment.
    epoch: Instant,
    clients: Cache<IpAddr, Arc<Mutex<Client>>, RandomState>,
    /// How often something was put into the cache.
    insertions: AtomicU64,
}

#[derive(Default)]
struct Client {
    log: Log,
    refreshed: Refreshed,
}

/// When a client was last put into the cache.
#[derive(Clone, Copy, Default)]
struct Refreshed {
    at: Duration,
    insertions: u64,
}

impl RateLimiter {
    pub fn new(quota: Quota, max_clients: u64, evictions: IntCounter) -> Self {
        let epoch = Instant::now();
        let clients = Cache::builder()
            .max_capacity(max_clients)
            // The default policy keeps frequent clients and drops new ones, which would then be
            // without limit.
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(quota.window)
            .eviction_listener(move |_, client: Arc<Mutex<Client>>, cause| {
                if cause == RemovalCause::Size {
                    let client = client.lock().unwrap_or_else(PoisonError::into_inner);
                    evictions.inc_by(client.log.is_live(epoch.elapsed(), quota).into());
                }
            })
            // Seeded, so that nobody can choose addresses that collide.
            .build_with_hasher(RandomState::default());
        Self {
            quota,
            max_clients,
            epoch,
            clients,
            insertions: AtomicU64::new(1),
        }
    }

    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Decides about a request of this client now.
    pub fn admit(&self, address: IpAddr) -> Decision {
        let client = self.clients.get_with(address, Arc::default);
        let (decision, is_fresh) = {
            let mut client = client.lock().unwrap_or_else(PoisonError::into_inner);
            let now = self.epoch.elapsed();
            let insertions = self.insertions.load(Ordering::Relaxed);
            let is_fresh = self.is_fresh(client.refreshed, now, insertions);
            if !is_fresh {
                client.refreshed = Refreshed {
                    at: now,
                    insertions,
                };
            }
            (client.log.admit(now, self.quota), is_fresh)
        };
        if !is_fresh {
            self.insertions.fetch_add(1, Ordering::Relaxed);
            self.clients.insert(address, client);
        }
        decision
    }

    /// Whether the client is far from being evicted or forgotten.
    ///
    /// The cache may miss that an entry was read, or learn it late, but not that it was put in. So
    /// who goes on sending is put in again before a quarter of the cache is newer, or of the time
    /// is over.
    fn is_fresh(&self, refreshed: Refreshed, now: Duration, insertions: u64) -> bool {
        refreshed.insertions > 0
            && insertions - refreshed.insertions < self.max_clients.div_ceil(4)
            && now.saturating_sub(refreshed.at) < self.quota.window / 4
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

    #[test]
    fn threads_together_get_no_more_than_the_limit() {
        let (limiter, _) = limiter(100);
        let total: u32 = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| admitted(&limiter, client(1), 50)))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(total, QUOTA.limit);
    }

    #[test]
    fn every_client_has_a_window_of_its_own() {
        let (limiter, evictions) = limiter(1000);
        for number in 0..1000 {
            assert_eq!(admitted(&limiter, client(number), 61), 60, "{number}");
        }
        limiter.clients.run_pending_tasks();
        assert_eq!(limiter.clients(), 1000);
        assert_eq!(evictions.get(), 0);
    }

    #[test]
    fn a_client_that_goes_on_sending_is_not_the_one_evicted() {
        let (limiter, evictions) = limiter(100);
        let mut busy = 0;
        for number in 0..5000 {
            if number % 50 == 0 {
                busy += admitted(&limiter, client(u32::MAX), 1);
            }
            limiter.admit(client(number));
        }
        limiter.clients.run_pending_tasks();
        assert_eq!(busy, QUOTA.limit, "its window was lost");
        assert!(evictions.get() > 4000, "{}", evictions.get());
        assert!(limiter.clients() <= 100);
    }
}
