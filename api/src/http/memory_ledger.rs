//! The book that the memory budget keeps: what each client holds, which requests wait, and which of them may
//! have more.
//!
//! Clients take turns: each has one request granted, its first that fits, and then the next client has its turn. A
//! request that needs much keeps nothing from those behind it: that would only help clients that do not take what
//! they have. Nothing here walks through all requests that wait, since there may be thousands.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use tokio::sync::oneshot;

use super::first_fit::{FirstFit, NEVER, Ticket};

/// A client holds at most the budget divided by this.
const SHARES: usize = 4;

/// What is held of all `bytes`, and the requests that wait for some of them.
pub(super) struct Ledger {
    bytes: usize,
    held: usize,
    waiting: usize,
    /// The clients that hold something or wait.
    clients: HashMap<IpAddr, Account>,
    /// The clients that wait, each with the least need of those of its requests that its share allows.
    turns: FirstFit<IpAddr>,
}

/// What one client holds, and its requests that wait.
#[derive(Default)]
struct Account {
    held: usize,
    waiting: FirstFit<Waiting>,
    /// Those of them that hold something: how much, and how much more they need.
    growing: BTreeMap<(usize, Ticket), usize>,
    /// What these hold together.
    growing_held: usize,
    /// Its place among all clients that wait.
    turn: Option<Ticket>,
}

/// A request that holds `own`, and waits for `more`.
struct Waiting {
    own: usize,
    more: usize,
    granted: oneshot::Sender<()>,
}

impl Ledger {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            bytes,
            held: 0,
            waiting: 0,
            clients: HashMap::new(),
            turns: FirstFit::default(),
        }
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// How many requests wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Takes more for a request of a client that holds `own` already, if it may have it now.
    pub(super) fn try_take(&mut self, client: IpAddr, own: usize, more: usize) -> bool {
        let account = self.clients.get(&client);
        let allowed = account.map_or(self.bytes, |account| account.allowed(own, self.bytes));
        let fits = more == 0 || more <= allowed.min(self.room());
        if fits {
            self.take(client, more);
        }
        fits
    }

    /// Takes more, whether there is room or not.
    pub(super) fn take(&mut self, client: IpAddr, more: usize) {
        self.held += more;
        self.clients.entry(client).or_default().held += more;
        self.settle(client);
    }

    /// Takes back what a client held, and grants it to requests that wait.
    pub(super) fn release(&mut self, client: IpAddr, bytes: usize) {
        self.held -= bytes;
        if let Some(account) = self.clients.get_mut(&client) {
            account.held -= bytes;
            self.settle(client);
        }
        self.grant();
    }

    /// Puts a request that holds `own` among those that wait for `more`. It is told when it has that.
    pub(super) fn wait(
        &mut self,
        client: IpAddr,
        own: usize,
        more: usize,
    ) -> (Ticket, oneshot::Receiver<()>) {
        let (granted, told) = oneshot::channel();
        let waiting = Waiting { own, more, granted };
        let ticket = self.clients.entry(client).or_default().enter(waiting);
        self.waiting += 1;
        self.settle(client);
        // Something may have been given back since it was refused, when it did not wait yet.
        self.grant();
        (ticket, told)
    }

    /// Ends the waiting of a request. Returns whether it waited still; else it has what it waited for.
    pub(super) fn leave(&mut self, client: IpAddr, ticket: Ticket) -> bool {
        let account = self.clients.get_mut(&client);
        let waited = account.is_some_and(|account| account.leave(ticket).is_some());
        if waited {
            self.waiting -= 1;
            self.settle(client);
        }
        waited
    }

    fn room(&self) -> usize {
        self.bytes.saturating_sub(self.held)
    }

    /// Writes down what the client now needs to have its turn.
    fn settle(&mut self, client: IpAddr) {
        let Some(account) = self.clients.get_mut(&client) else {
            return;
        };
        if !account.waiting.is_empty() {
            let need = account.need(self.bytes);
            match account.turn {
                Some(turn) => self.turns.change(turn, need),
                None => account.turn = Some(self.turns.push(need, client)),
            }
            return;
        }
        if let Some(turn) = account.turn.take() {
            self.turns.remove(turn);
        }
        if account.held == 0 {
            self.clients.remove(&client);
        }
    }

    /// Gives what is free to requests that wait.
    fn grant(&mut self) {
        while let Some((turn, client)) = self.turns.first_within(self.room()) {
            let client = *client;
            self.turns.remove(turn);
            let (room, bytes) = (self.room(), self.bytes);
            let account = self.clients.get_mut(&client);
            let granted = account.and_then(|account| account.grant(room, bytes));
            let Some(Waiting { more, granted, .. }) = granted else {
                continue;
            };
            self.waiting -= 1;
            // This also puts the client behind all others.
            self.take(client, more);
            // A request that gave up meanwhile learns from `leave` that it has something to give back.
            let _ = granted.send(());
        }
    }
}

impl Account {
    /// The most that a request which holds `own` may have more: up to the share of its client, but without
    /// bound for the client's only one.
    fn allowed(&self, own: usize, budget: usize) -> usize {
        match own == self.held {
            true => budget,
            false => (budget / SHARES).saturating_sub(self.held),
        }
    }

    fn enter(&mut self, waiting: Waiting) -> Ticket {
        let Waiting { own, more, .. } = waiting;
        let ticket = self.waiting.push(more, waiting);
        if own > 0 {
            self.growing.insert((own, ticket), more);
            self.growing_held += own;
        }
        ticket
    }

    fn leave(&mut self, ticket: Ticket) -> Option<Waiting> {
        let waiting = self.waiting.remove(ticket)?;
        if self.growing.remove(&(waiting.own, ticket)).is_some() {
            self.growing_held -= waiting.own;
        }
        Some(waiting)
    }

    /// The request that is the only one of its client to go on, if it waits for more, and how much: all that the client
    /// holds is held by requests that wait, and by this one most of it.
    fn alone(&self) -> Option<(Ticket, usize)> {
        let (&(_, ticket), &more) = self.growing.last_key_value()?;
        (self.growing_held == self.held).then_some((ticket, more))
    }

    /// The least need of the requests that may go on as far as their client is concerned.
    fn need(&self, budget: usize) -> usize {
        let least = self.waiting.least();
        let within = match least <= self.allowed(0, budget) {
            true => least,
            false => NEVER,
        };
        self.alone().map_or(within, |(_, more)| more.min(within))
    }

    /// Takes the request out whose turn it is: the only one of its client, else the first that fits.
    fn grant(&mut self, room: usize, budget: usize) -> Option<Waiting> {
        self.turn = None;
        let alone = self.alone().filter(|(_, more)| *more <= room);
        let ticket = match alone {
            Some((ticket, _)) => ticket,
            None => {
                self.waiting
                    .first_within(self.allowed(0, budget).min(room))?
                    .0
            }
        };
        self.leave(ticket)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;

    const BYTES: usize = 400;

    fn client(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn a_client_has_a_quarter_but_always_one_of_its_own() {
        let mut ledger = Ledger::new(BYTES);
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
        let held = ledger.clients.values().map(|account| account.held);
        assert_eq!(ledger.held(), held.sum::<usize>());
    }

    /// Requests that wait, in the order in which they began to.
    #[derive(Default)]
    struct Queue(Vec<(IpAddr, usize, usize, Ticket, oneshot::Receiver<()>)>);

    impl Queue {
        fn wait(&mut self, ledger: &mut Ledger, client: IpAddr, own: usize, more: usize) {
            let (ticket, told) = ledger.wait(client, own, more);
            self.0.push((client, own, more, ticket, told));
        }

        /// Takes out those that were granted: whose they are, what they held, and what they have now.
        fn granted(&mut self, ledger: &mut Ledger) -> Vec<(IpAddr, usize, usize)> {
            let granted = self.0.extract_if(.., |(.., told)| told.try_recv().is_ok());
            let granted = granted.map(|(client, own, more, ticket, _)| {
                assert!(!ledger.leave(client, ticket), "it does not wait any more");
                (client, own, own + more)
            });
            granted.collect()
        }

        fn clients(&mut self, ledger: &mut Ledger) -> Vec<IpAddr> {
            let granted = self.granted(ledger).into_iter();
            granted.map(|(client, ..)| client).collect()
        }
    }

    #[test]
    fn clients_take_turns_and_one_at_its_share_is_passed_over() {
        let mut ledger = Ledger::new(BYTES);
        ledger.take(client(9), BYTES);
        let mut queue = Queue::default();
        for n in [1, 1, 1, 2, 3, 3] {
            queue.wait(&mut ledger, client(n), 0, 40);
        }
        assert_eq!(ledger.waiting(), 6);
        ledger.release(client(9), 120);
        assert_eq!(queue.clients(&mut ledger), [1, 2, 3].map(client));
        ledger.release(client(9), 200);
        let shares = "another one of 1 or 3 would be more than its quarter";
        assert_eq!(queue.clients(&mut ledger), [1, 3].map(client), "{shares}");
        ledger.release(client(9), 80);
        assert!(queue.clients(&mut ledger).is_empty());
        ledger.release(client(1), 40);
        assert_eq!(queue.clients(&mut ledger), [client(1)]);
        assert_eq!((ledger.waiting(), ledger.held()), (0, 200));
    }

    #[test]
    fn one_that_needs_much_keeps_nothing_from_those_behind_it() {
        let mut ledger = Ledger::new(BYTES);
        ledger.take(client(9), BYTES);
        let mut queue = Queue::default();
        queue.wait(&mut ledger, client(1), 0, BYTES);
        queue.wait(&mut ledger, client(1), 0, 30);
        queue.wait(&mut ledger, client(2), 0, 20);
        ledger.release(client(9), 50);
        assert_eq!(queue.clients(&mut ledger), [1, 2].map(client));
        ledger.release(client(1), 30);
        ledger.release(client(2), 20);
        ledger.release(client(9), BYTES - 50);
        assert_eq!(queue.granted(&mut ledger), [(client(1), 0, BYTES)]);
    }

    #[test]
    fn requests_of_a_client_that_all_want_more_go_on_one_after_the_other() {
        let mut ledger = Ledger::new(BYTES);
        let mut queue = Queue::default();
        ledger.take(client(1), 30);
        queue.wait(&mut ledger, client(1), 10, 200);
        assert_eq!(queue.granted(&mut ledger), [], "the others may end");
        queue.wait(&mut ledger, client(1), 20, 150);
        assert_eq!(queue.granted(&mut ledger), [(client(1), 20, 170)]);
        ledger.release(client(1), 170);
        assert_eq!(queue.granted(&mut ledger), [(client(1), 10, 210)]);
    }

    #[test]
    fn the_only_request_of_a_client_grows_beyond_its_share() {
        let mut ledger = Ledger::new(BYTES);
        let mut queue = Queue::default();
        ledger.take(client(1), 90);
        queue.wait(&mut ledger, client(1), 30, 200);
        queue.wait(&mut ledger, client(1), 50, 100);
        assert_eq!(queue.granted(&mut ledger), []);
        let (of, _, _, ticket, _) = queue.0.remove(0);
        assert!(ledger.leave(of, ticket), "it gives up");
        ledger.release(of, 30);
        assert_eq!(queue.granted(&mut ledger), [], "another one is there");
        ledger.release(of, 10);
        assert_eq!(queue.granted(&mut ledger), [(client(1), 50, 150)]);
    }

    proptest! {
        /// Of each step: the client, what to do, to which of the requests there are, and a number of bytes.
        #[test]
        fn nothing_waits_that_could_go_on(steps in vec((0..4u8, 0..4u8, any::<Index>(), 1..=BYTES), 0..100)) {
            let mut ledger = Ledger::new(BYTES);
            let (mut holding, mut queue) = (Vec::<(IpAddr, usize)>::new(), Queue::default());
            for (of, what, nth, bytes) in steps {
                match what {
                    0 if !holding.is_empty() => {
                        let (client, held) = holding.swap_remove(nth.index(holding.len()));
                        ledger.release(client, held);
                    }
                    1 if !queue.0.is_empty() => {
                        let (client, own, _, ticket, _) = queue.0.remove(nth.index(queue.0.len()));
                        prop_assert!(ledger.leave(client, ticket));
                        ledger.release(client, own);
                    }
                    2 if !holding.is_empty() => {
                        let (client, own) = holding.swap_remove(nth.index(holding.len()));
                        let more = bytes.min(BYTES - own);
                        match ledger.try_take(client, own, more) {
                            true => holding.push((client, own + more)),
                            false => queue.wait(&mut ledger, client, own, more),
                        }
                    }
                    _ if ledger.try_take(client(of), 0, bytes) => holding.push((client(of), bytes)),
                    _ => queue.wait(&mut ledger, client(of), 0, bytes),
                }
                let granted = queue.granted(&mut ledger).into_iter();
                holding.extend(granted.map(|(client, _, held)| (client, held)));
                prop_assert_eq!(ledger.waiting(), queue.0.len());
                for (client, own, more, ..) in &queue.0 {
                    prop_assert!(!ledger.try_take(*client, *own, *more));
                }
            }
            while let Some((client, held)) = holding.pop() {
                ledger.release(client, held);
                let granted = queue.granted(&mut ledger).into_iter();
                holding.extend(granted.map(|(client, _, held)| (client, held)));
            }
            let own = queue.0.iter().map(|(_, own, ..)| own);
            prop_assert_eq!(ledger.held(), own.sum::<usize>());
        }
    }
}
