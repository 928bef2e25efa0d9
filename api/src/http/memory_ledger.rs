//! The book that the memory budget keeps: what each client holds, which requests wait, and which of them may
//! have more.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    net::IpAddr,
};

use tokio::sync::oneshot;

/// A client holds at most the budget divided by this.
const SHARES: usize = 4;

/// What is held of all `bytes`, and the requests that wait to be granted some of them as a `T`.
pub(super) struct Ledger<T> {
    bytes: usize,
    held: usize,
    /// What each client holds that holds anything.
    clients: HashMap<IpAddr, usize>,
    /// In the order of their coming.
    waiting: VecDeque<Waiting<T>>,
}

/// A request that waits for memory.
pub(super) struct Waiting<T> {
    pub client: IpAddr,
    /// How much more it needs.
    pub bytes: usize,
    /// What it holds already.
    pub own: usize,
    pub granted: oneshot::Sender<T>,
}

impl<T> Ledger<T> {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            bytes,
            held: 0,
            clients: HashMap::new(),
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Takes more for a request of a client that holds `own` already, if it may have it now.
    pub(super) fn try_take(&mut self, client: IpAddr, own: usize, more: usize) -> bool {
        let held = self.clients.get(&client).copied().unwrap_or_default();
        // Always one of its own, however large.
        let within_share = held == own || held + more <= self.bytes / SHARES;
        let fits = within_share && self.held + more <= self.bytes;
        if fits {
            self.take(client, more);
        }
        fits
    }

    /// Takes more, whether there is room or not.
    pub(super) fn take(&mut self, client: IpAddr, more: usize) {
        if more > 0 {
            self.held += more;
            *self.clients.entry(client).or_default() += more;
        }
    }

    pub(super) fn release(&mut self, client: IpAddr, bytes: usize) {
        self.held -= bytes;
        if let Some(held) = self.clients.get_mut(&client) {
            *held -= bytes;
            if *held == 0 {
                self.clients.remove(&client);
            }
        }
    }

    pub(super) fn wait(&mut self, waiting: Waiting<T>) {
        self.waiting.push_back(waiting);
    }

    /// How many wait; those that gave up are forgotten.
    pub(super) fn still_waiting(&mut self) -> usize {
        self.waiting.retain(|waiting| !waiting.granted.is_closed());
        self.waiting.len()
    }

    /// Takes what those that wait may have now, in the order of their coming. One that needs much keeps
    /// nothing from those behind it: that would only help clients that do not take what they have.
    pub(super) fn take_for_waiting(&mut self) -> Vec<Waiting<T>> {
        let mut granted = Vec::new();
        for waiting in mem::take(&mut self.waiting) {
            if waiting.granted.is_closed() {
                continue;
            }
            if self.try_take(waiting.client, waiting.own, waiting.bytes) {
                granted.push(waiting);
            } else {
                self.waiting.push_back(waiting);
            }
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn a_client_has_a_quarter_but_always_one_of_its_own() {
        let mut ledger = Ledger::<()>::new(400);
        assert!(ledger.try_take(client(1), 0, 60) && ledger.try_take(client(1), 0, 40));
        assert!(!ledger.try_take(client(1), 0, 1));
        assert!(!ledger.try_take(client(1), 60, 1), "another one is there");
        assert!(ledger.try_take(client(2), 0, 250), "more than a quarter");
        assert!(!ledger.try_take(client(2), 0, 1));
        assert!(ledger.try_take(client(2), 250, 50), "for the same request");
        assert!(!ledger.try_take(client(3), 0, 1), "all is held");
        ledger.release(client(1), 100);
        assert!(!ledger.clients.contains_key(&client(1)));
        assert!(ledger.try_take(client(3), 0, 100));
        assert_eq!(ledger.held(), ledger.clients.values().sum::<usize>());
    }
}
