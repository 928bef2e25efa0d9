//! Clients that were found lately, to be found again at once.
//!
//! moka's `get` touches half a dozen cache lines and keeps a log of what was read, which later calls have
//! to work off: most of a decision, with a million clients. Here a client is two lines away, and
//! looking for it writes nothing that other threads read. It is only a short cut: a client that
//! is not here is looked for in the cache, and one that the cache forgets is forgotten here.

use std::{
    hash::BuildHasher,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use arc_swap::{ArcSwapOption, Guard};
use foldhash::quality::RandomState;

use super::client::Client;

/// This many clients, with their tags, fill a cache line.
const SLOTS: usize = 7;

/// 16 MiB, for more than a million clients.
const MOST_BUCKETS: usize = 1 << 18;

pub(super) struct RecentlySeen {
    /// A power of two.
    buckets: Box<[Bucket]>,
    /// Seeded, so that no client can choose addresses that share a bucket.
    hasher: RandomState,
}

#[derive(Default)]
#[repr(align(64))]
struct Bucket {
    /// A part of the hash of each client's address, so that hardly any other client is looked at.
    tags: [AtomicU8; SLOTS],
    clients: [ArcSwapOption<Client>; SLOTS],
}

impl RecentlySeen {
    /// For most of this many clients; of more, some of each bucket.
    pub(super) fn new(clients: u64) -> Self {
        let buckets = usize::try_from(clients / 8).unwrap_or(MOST_BUCKETS);
        let buckets = buckets.next_power_of_two().min(MOST_BUCKETS);
        Self {
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
            hasher: RandomState::default(),
        }
    }

    pub(super) fn find(&self, address: IpAddr) -> Option<Guard<Option<Arc<Client>>>> {
        let (bucket, tag) = self.place(address);
        bucket
            .tagged(tag)
            .map(|slot| bucket.clients[slot].load())
            .find(|found| found.as_ref().is_some_and(|c| c.address == address))
    }

    /// Puts a client in its own slot, else in a free one, else in any.
    pub(super) fn put(&self, client: Arc<Client>) {
        let (bucket, tag) = self.place(client.address);
        let holds = |slot: &usize, wanted: Option<IpAddr>| {
            bucket.clients[*slot].load().as_ref().map(|c| c.address) == wanted
        };
        let own = bucket
            .tagged(tag)
            .find(|slot| holds(slot, Some(client.address)));
        let slot = own
            .or_else(|| (0..SLOTS).find(|slot| holds(slot, None)))
            .unwrap_or_else(|| fastrand::usize(..SLOTS));
        // Two threads may mix their tags and clients here; these are then not found.
        bucket.tags[slot].store(tag, Ordering::Relaxed);
        bucket.clients[slot].store(Some(client));
    }

    /// Forgets this client, but not another one with the same address.
    pub(super) fn forget(&self, client: &Arc<Client>) {
        let (bucket, _) = self.place(client.address);
        for slot in &bucket.clients {
            let held = slot.load();
            if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, client)) {
                slot.compare_and_swap(&held, None);
            }
        }
    }

    fn place(&self, address: IpAddr) -> (&Bucket, u8) {
        let [tag, rest @ ..] = self.hasher.hash_one(address).to_le_bytes();
        let [a, b, c, d, ..] = rest;
        let bucket = u32::from_le_bytes([a, b, c, d]) as usize & (self.buckets.len() - 1);
        (&self.buckets[bucket], tag)
    }
}

impl Bucket {
    fn tagged(&self, tag: u8) -> impl Iterator<Item = usize> {
        (0..SLOTS).filter(move |slot| self.tags[*slot].load(Ordering::Relaxed) == tag)
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;

    fn client(number: u32) -> Arc<Client> {
        Arc::new(Client::new(IpAddr::V4(number.into()), Duration::ZERO, 0))
    }

    fn found(recent: &RecentlySeen, client: &Arc<Client>) -> Option<bool> {
        let found = recent.find(client.address)?;
        found.as_ref().map(|found| Arc::ptr_eq(found, client))
    }

    #[test]
    fn a_bucket_is_one_cache_line() {
        assert_eq!(size_of::<Bucket>(), 64);
    }

    #[test]
    fn a_client_that_was_put_here_is_found_until_forgotten() {
        let recent = RecentlySeen::new(1000);
        let clients: Vec<_> = (0..100).map(client).collect();
        for client in &clients {
            recent.put(client.clone());
            recent.put(client.clone());
        }
        assert!(clients.iter().all(|c| found(&recent, c) == Some(true)));
        assert_eq!(found(&recent, &client(100)), None);
        for client in &clients {
            recent.forget(client);
            assert_eq!(found(&recent, client), None);
            assert_eq!(Arc::strong_count(client), 1, "nothing holds it any more");
        }
    }

    #[test]
    fn another_client_with_the_same_address_takes_its_place_and_is_not_forgotten_for_it() {
        let recent = RecentlySeen::new(1);
        let (first, second) = (client(1), client(1));
        recent.put(first.clone());
        recent.put(second.clone());
        recent.forget(&first);
        assert_eq!(found(&recent, &second), Some(true));
        assert_eq!(Arc::strong_count(&first), 1);
    }

    #[test]
    fn where_there_are_too_many_the_newest_are_found() {
        let recent = RecentlySeen::new(1);
        let clients: Vec<_> = (0..50).map(client).collect();
        for client in &clients {
            recent.put(client.clone());
            assert_eq!(found(&recent, client), Some(true));
        }
        let here = clients.iter().filter(|c| found(&recent, c).is_some());
        assert_eq!(here.count(), SLOTS);
    }

    #[test]
    fn threads_that_mix_find_no_other_client() {
        let recent = RecentlySeen::new(1);
        let clients: Vec<_> = (0..20).map(client).collect();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..20_000 {
                        let client = &clients[n * 7 % 20];
                        assert_ne!(found(&recent, client), Some(false));
                        recent.put(client.clone());
                        if n % 5 == 0 {
                            recent.forget(client);
                        }
                    }
                });
            }
        });
        for client in &clients {
            recent.forget(client);
            assert_eq!(Arc::strong_count(client), 1, "nothing holds it any more");
        }
    }
}
