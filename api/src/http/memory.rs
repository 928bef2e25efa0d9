//! One budget of memory for what may be large: bodies being received, values being answered, pages.
//!
//! A request reserves what it is going to need, waits while there is too little, and gives it back when
//! the last byte of its answer is with the kernel, or when its client is gone. No client holds more than
//! a quarter, so that clients that do not take their answers keep nothing from the others.
//!
//! Bodies and answers of at most [`EXEMPT_BYTES`] reserve nothing. They are bounded by the number of
//! connections, and the requests that are the most frequent meet no lock.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{
    client_address::client_network, first_fit::Ticket, memory_ledger::Ledger, problem::Problem,
    problem_code::Code,
};
use crate::telemetry::Metrics;

/// A body or an answer of at most this many bytes is not part of the budget.
pub(crate) const EXEMPT_BYTES: usize = 8 << 10;

/// What an item takes beside its value, as text or not: a key of which each byte is escaped, a tag, two
/// times, the names of the members.
pub(crate) const BESIDE_VALUE: usize = 4 << 10;

/// What all requests share.
#[derive(Clone)]
pub(crate) struct MemoryBudget(Arc<SharedBudget>);

struct SharedBudget {
    bytes: usize,
    /// The end of a request's time, in which it is too late to begin.
    margin: Duration,
    ledger: Mutex<Ledger>,
}

/// There was no memory in time.
#[derive(Debug)]
pub(crate) struct NoMemory;

impl From<NoMemory> for Problem {
    fn from(NoMemory: NoMemory) -> Self {
        let detail =
            "Other answers and bodies take the memory that this needs. Nothing was written.";
        Self::new(Code::Overloaded, detail)
    }
}

impl MemoryBudget {
    /// The most bytes that one item can need: its text, of which each byte may be escaped, beside its value.
    pub(crate) fn of_one_request(max_value_bytes: usize) -> usize {
        entity::max_json_bytes(max_value_bytes) + max_value_bytes + BESIDE_VALUE
    }

    /// `margin` is the part of a request's time that is left for doing it when it gets memory last.
    pub(crate) fn new(bytes: usize, margin: Duration) -> Self {
        Self(Arc::new(SharedBudget {
            bytes,
            margin,
            ledger: Mutex::new(Ledger::new(bytes)),
        }))
    }

    /// Registers what is asked for at each scrape.
    pub(crate) fn watch(&self, metrics: &Metrics) {
        let budget = metrics.gauge(
            "kvd_memory_budget_bytes",
            "The most memory for bodies, values and pages.",
        );
        budget.set(i64::try_from(self.0.bytes).unwrap_or(i64::MAX));
        let shared = self.0.clone();
        metrics.scraped_gauge(
            "kvd_memory_held_bytes",
            "Memory of the budget that bodies, values and pages hold.",
            move || shared.ledger().held(),
        );
        let shared = self.0.clone();
        metrics.scraped_gauge(
            "kvd_memory_waiting_requests",
            "Requests that wait for memory of the budget.",
            move || shared.ledger().waiting(),
        );
    }

    /// Reserves this many bytes, or all there is, for a request of this client with this deadline. Waits until
    /// the client and all others hold little enough.
    ///
    /// # Errors
    /// There was no memory in time.
    pub(crate) async fn reserve(
        &self,
        client: IpAddr,
        bytes: usize,
        deadline: Instant,
    ) -> Result<Reservation, NoMemory> {
        let none = self.none(client);
        none.grow(bytes, deadline).await
    }

    /// The same, however long it takes.
    pub(crate) async fn reserve_at_last(
        &self,
        client: IpAddr,
        bytes: usize,
    ) -> Result<Reservation, NoMemory> {
        self.none(client).grow_at_last(bytes).await
    }

    /// Reserves this many bytes, or all there is, if they are there at once.
    pub(crate) fn try_reserve(&self, client: IpAddr, bytes: usize) -> Option<Reservation> {
        self.none(client).try_grow(bytes).ok()
    }

    fn none(&self, client: IpAddr) -> Reservation {
        Reservation::new(self.0.clone(), client_network(client), 0)
    }
}

impl SharedBudget {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, client: IpAddr, bytes: usize) {
        if bytes > 0 {
            self.ledger().release(client, bytes);
        }
    }
}

/// A part of the budget, given back when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Reservation(Arc<HeldMemory>);

struct HeldMemory {
    budget: Arc<SharedBudget>,
    client: IpAddr,
    /// Changed by the request only; clones just keep it.
    bytes: AtomicUsize,
}

impl Reservation {
    fn new(budget: Arc<SharedBudget>, client: IpAddr, bytes: usize) -> Self {
        Self(Arc::new(HeldMemory {
            budget,
            client,
            bytes: bytes.into(),
        }))
    }

    /// Enlarges it to this many bytes, or to all there is; waits as [`MemoryBudget::reserve`] does.
    ///
    /// # Errors
    /// There was no memory in time.
    pub(crate) async fn grow(self, bytes: usize, deadline: Instant) -> Result<Self, NoMemory> {
        let last = deadline - self.0.budget.margin;
        let grown = timeout_at(last, self.grow_at_last(bytes)).await;
        grown.unwrap_or(Err(NoMemory))
    }

    /// The same, however long it takes.
    pub(crate) async fn grow_at_last(self, bytes: usize) -> Result<Self, NoMemory> {
        let reservation = match self.try_grow(bytes) {
            Ok(grown) => return Ok(grown),
            Err(reservation) => reservation,
        };
        let mut place = reservation.wait_for(bytes);
        let granted = (&mut place.granted).await;
        drop(place);
        match granted {
            Ok(()) => Ok(reservation),
            Err(_) => Err(NoMemory),
        }
    }

    /// Enlarges it to this many bytes, or to all there is, if they are there at once.
    ///
    /// # Errors
    /// They are not there: the reservation as it was.
    pub(crate) fn try_grow(self, bytes: usize) -> Result<Self, Self> {
        let (more, own) = (self.missing(bytes), self.bytes());
        let HeldMemory { budget, client, .. } = &*self.0;
        if !budget.ledger().try_take(*client, own, more) {
            return Err(self);
        }
        self.0.bytes.fetch_add(more, Ordering::Relaxed);
        Ok(self)
    }

    fn wait_for(&self, bytes: usize) -> WaitingPlace<'_> {
        let (more, own) = (self.missing(bytes), self.bytes());
        let HeldMemory { budget, client, .. } = &*self.0;
        let (ticket, granted) = budget.ledger().wait(*client, own, more);
        WaitingPlace {
            memory: &self.0,
            more,
            ticket,
            granted,
        }
    }

    fn missing(&self, bytes: usize) -> usize {
        bytes.min(self.0.budget.bytes).saturating_sub(self.bytes())
    }

    fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// A text that keeps its memory until the last copy of it is sent, and no more than it needs. A text
    /// that needs more than was reserved has it at once: it is there already.
    pub(crate) fn hold<T: AsRef<[u8]> + Send + 'static>(self, text: T) -> Bytes {
        let HeldMemory { budget, client, .. } = &*self.0;
        let needed = text.as_ref().len();
        let reserved = self.0.bytes.swap(needed, Ordering::Relaxed);
        match reserved.checked_sub(needed) {
            Some(spare) => budget.give_back(*client, spare),
            None => budget.ledger().take(*client, needed - reserved),
        }
        Bytes::from_owner(HeldText {
            text,
            _reservation: self,
        })
    }
}

/// The place of a reservation among those that wait for more. What was granted is the reservation's when the
/// place is left, also if its request has given up: the reservation then gives it back with all else.
struct WaitingPlace<'a> {
    memory: &'a HeldMemory,
    more: usize,
    ticket: Ticket,
    granted: oneshot::Receiver<()>,
}

impl Drop for WaitingPlace<'_> {
    fn drop(&mut self) {
        let HeldMemory {
            budget,
            client,
            bytes,
        } = self.memory;
        let gave_up = budget.ledger().leave(*client, self.ticket);
        if !gave_up {
            bytes.fetch_add(self.more, Ordering::Relaxed);
        }
    }
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        self.budget.give_back(self.client, bytes);
    }
}

struct HeldText<T> {
    text: T,
    _reservation: Reservation,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for HeldText<T> {
    fn as_ref(&self) -> &[u8] {
        self.text.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const BUDGET: usize = 400;
    /// A second of which the last tenth is too late.
    const TIME: Duration = Duration::from_secs(1);

    fn budget() -> MemoryBudget {
        MemoryBudget::new(BUDGET, TIME / 10)
    }

    fn client(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    fn deadline() -> Instant {
        Instant::now() + TIME
    }

    fn held(budget: &MemoryBudget) -> usize {
        budget.0.ledger().held()
    }

    #[tokio::test]
    async fn memory_is_given_back_when_the_last_copy_of_the_text_is_sent() {
        let budget = budget();
        let large = budget.try_reserve(client(1), usize::MAX).unwrap();
        assert_eq!(held(&budget), BUDGET);
        assert!(budget.try_reserve(client(2), 1).is_none());
        let kept = large.clone();
        let text = large.hold(b"small".to_vec());
        assert_eq!(held(&budget), 5);
        let copy = text.clone();
        drop((text, kept));
        assert_eq!(held(&budget), 5);
        drop(copy);
        assert_eq!(held(&budget), 0);
    }

    #[tokio::test]
    async fn a_text_that_turns_out_longer_is_counted_as_it_is() {
        let budget = budget();
        let all = budget.try_reserve(client(1), BUDGET).unwrap();
        let text = all.hold(vec![b'x'; 2 * BUDGET]);
        assert_eq!(held(&budget), 2 * BUDGET);
        assert!(budget.try_reserve(client(2), 1).is_none());
        drop(text);
        assert_eq!(held(&budget), 0);
    }

    #[tokio::test]
    async fn a_network_of_ipv6_is_one_client() {
        let budget = budget();
        let [one, other, third] = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]
            .map(|address| address.parse::<IpAddr>().unwrap());
        let _held = budget.try_reserve(one, 100).unwrap();
        assert!(budget.try_reserve(other, 1).is_none());
        assert!(budget.try_reserve(third, 1).is_some());
    }

    #[tokio::test]
    async fn those_that_wait_are_served_in_their_order_as_far_as_there_is_room() {
        let budget = budget();
        let most = budget.try_reserve(client(1), 350).unwrap();
        let mut all = Box::pin(budget.reserve(client(2), BUDGET, deadline()));
        let mut own = Box::pin(budget.reserve(client(1), 50, deadline()));
        let mut other = Box::pin(budget.reserve(client(3), 60, deadline()));
        assert!((&mut all).now_or_never().is_none());
        assert!((&mut own).now_or_never().is_none());
        assert!((&mut other).now_or_never().is_none());
        assert_eq!(budget.0.ledger().waiting(), 3);
        drop(most);
        let own = own.now_or_never();
        assert!(own.is_none(), "the one that came first has all");
        let all = all.now_or_never().unwrap().unwrap();
        assert_eq!(held(&budget), BUDGET);
        drop(all);
        let other = other.now_or_never().unwrap().unwrap();
        assert_eq!(held(&budget), 60);
        drop(other);
        assert_eq!(held(&budget), 0);
    }

    #[tokio::test]
    async fn a_request_that_waits_in_vain_leaves_nothing_behind() {
        let budget = budget();
        let all = budget.try_reserve(client(1), BUDGET).unwrap();
        let too_late = Instant::now() + TIME / 10;
        assert!(budget.reserve(client(2), 1, too_late).await.is_err());
        assert_eq!(budget.0.ledger().waiting(), 0);
        let mut given_up = Box::pin(budget.reserve(client(2), 1, deadline()));
        assert!((&mut given_up).now_or_never().is_none());
        drop(all);
        assert_eq!(held(&budget), 1, "granted");
        drop(given_up);
        assert_eq!(held(&budget), 0, "and not taken");
    }

    #[tokio::test]
    async fn a_body_that_grows_waits_for_its_own_client_too() {
        let budget = budget();
        let one = budget.try_reserve(client(1), 50).unwrap();
        let other = budget.try_reserve(client(1), 50).unwrap();
        let mut growing = Box::pin(one.grow(200, deadline()));
        assert!((&mut growing).now_or_never().is_none());
        drop(other);
        let grown = growing.now_or_never().unwrap().unwrap();
        assert_eq!((grown.bytes(), held(&budget)), (200, 200));
        drop(grown);
        assert_eq!(held(&budget), 0);
    }
}
