//! The connections that are open, and which of them makes room for a new one.
//!
//! It is one of the client with the most idle and half-open connections, so that a crowd from one address makes
//! room for everybody else. A crowd whose bodies do not come, or whose answers it does not take, makes room with
//! these, if they are more than what any client has idle or half-open. Nothing is counted while there is room: the
//! connections are looked at when there is none, and only for a tenth of the time, however many clients come.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus::IntGauge;
use tokio::{
    sync::{Notify, futures::Notified},
    time::Instant,
};

use super::{
    activity::Activity,
    activity_times::Unused,
    half_closed::{EndOfInput, HalfClosed},
};
use crate::telemetry::{InFlight, Metrics};

/// How many times as long as it took to make is the order good in which connections make room.
const ORDER_IS_GOOD: u32 = 10;
/// A head that began later is probably on its way: it is waited for, unless its client is a crowd.
const HEAD_IS_NEW: Duration = Duration::from_millis(200);
/// A client with more than this part of all connections is a crowd …
const CROWD: usize = 8;
/// … if they are more than these.
const FEW: usize = 8;

/// The open connections of all listeners.
#[derive(Clone)]
pub(crate) struct OpenConnections(Arc<SharedConnections>);

struct SharedConnections {
    settings: OpenConnectionsSettings,
    gauge: IntGauge,
    list: Mutex<HashMap<u64, OpenConnection>>,
    closed: Notify,
    half_closed: Arc<HalfClosed>,
}

pub(crate) struct OpenConnectionsSettings {
    /// The most connections that there are descriptors for.
    pub descriptors: usize,
    /// The most requests that are worked on whose clients had closed their sending side, and the most that wait whose
    /// clients close it later.
    pub half_closed: usize,
    /// What counts as one client.
    pub client: fn(IpAddr) -> IpAddr,
}

#[derive(Clone)]
struct OpenConnection {
    listener: SocketAddr,
    client: IpAddr,
    activity: Activity,
}

impl OpenConnections {
    pub(crate) fn new(settings: OpenConnectionsSettings, metrics: &Metrics) -> Self {
        let gauge = metrics.gauge("kvd_http_connections", "Client connections that are open.");
        Self(Arc::new(SharedConnections {
            half_closed: Arc::new(HalfClosed::new(settings.half_closed)),
            settings,
            gauge,
            list: Mutex::default(),
            closed: Notify::new(),
        }))
    }

    /// A new connection, open until what is returned is dropped.
    pub(super) fn enter(&self, listener: SocketAddr, peer: SocketAddr) -> Registered {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let activity = Activity::default();
        let client = (self.0.settings.client)(peer.ip());
        let connection = OpenConnection {
            listener,
            client,
            activity: activity.clone(),
        };
        self.list().insert(number, connection);
        Registered {
            connections: self.clone(),
            number,
            activity: activity.clone(),
            end_of_input: EndOfInput {
                list: self.0.half_closed.clone(),
                peer: client,
                activity,
            },
            _counted: InFlight::enter(&self.0.gauge),
        }
    }

    /// Whether there is a descriptor for one more.
    pub(super) fn has_descriptors(&self) -> bool {
        self.list().len() < self.0.settings.descriptors
    }

    /// Completes when a connection closes after this call.
    pub(super) fn closed(&self) -> Notified<'_> {
        self.0.closed.notified()
    }

    /// Those of one listener, or of all, in the order in which they make room.
    fn in_order(&self, listener: Option<SocketAddr>, now: Instant) -> VecDeque<(Unused, Activity)> {
        let of = |open: &&OpenConnection| listener.is_none_or(|one| open.listener == one);
        let open: Vec<_> = self.list().values().filter(of).cloned().collect();
        let all = open.len();
        let unused = open.into_iter().filter_map(|open| {
            let unused = open.activity.could_be_dismissed()?;
            Some((open.client, unused, open.activity))
        });
        let (stopped, unused): (Vec<_>, Vec<_>) =
            unused.partition(|(_, unused, _)| matches!(unused, Unused::Stopped(_)));
        let stopped_first = most_of_one(&stopped) > most_of_one(&unused);
        let (stopped, unused) = (in_order(stopped, all, now), in_order(unused, all, now));
        match stopped_first && !stopped.is_empty() || unused.is_empty() {
            true => stopped,
            false => unused,
        }
    }

    fn list(&self) -> MutexGuard<'_, HashMap<u64, OpenConnection>> {
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection on the list of those that are open.
pub(super) struct Registered {
    connections: OpenConnections,
    number: u64,
    pub activity: Activity,
    pub end_of_input: EndOfInput,
    _counted: InFlight,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.activity.ends();
        self.connections.list().remove(&self.number);
        self.connections.0.closed.notify_waiters();
    }
}

/// The connections that make room, in their order, as they were a moment ago.
pub(super) struct Dismissals {
    order: VecDeque<(Unused, Activity)>,
    /// Which listener they are of; `None` is all.
    listener: Option<SocketAddr>,
    good_until: Instant,
}

impl Dismissals {
    pub(super) fn new() -> Self {
        Self {
            order: VecDeque::new(),
            listener: None,
            good_until: Instant::now(),
        }
    }

    /// Ends a connection of this listener, or of any; says whether there was one that could be ended.
    pub(super) fn dismiss_one(
        &mut self,
        connections: &OpenConnections,
        listener: Option<SocketAddr>,
    ) -> bool {
        let now = Instant::now();
        if self.listener != listener || now >= self.good_until {
            self.order = connections.in_order(listener, now);
            self.listener = listener;
            self.good_until = Instant::now() + now.elapsed() * ORDER_IS_GOOD;
        }
        while let Some((unused, activity)) = self.order.pop_front() {
            if activity.dismiss(unused) {
                return true;
            }
        }
        false
    }
}

/// How many of these the client has that has most.
fn most_of_one<T>(connections: &[(IpAddr, Unused, T)]) -> usize {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for (client, ..) in connections {
        *counts.entry(*client).or_default() += 1;
    }
    counts.into_values().max().unwrap_or_default()
}

/// The order in which unused connections, each with its client, make room. `all` is how many connections there
/// are, those in use included.
fn in_order<T>(
    connections: impl IntoIterator<Item = (IpAddr, Unused, T)>,
    all: usize,
    now: Instant,
) -> VecDeque<(Unused, T)> {
    let mut clients: HashMap<IpAddr, Vec<(Unused, T)>> = HashMap::new();
    for (client, unused, connection) in connections {
        let of_client = clients.entry(client).or_default();
        of_client.push((unused, connection));
    }
    let mut clients: Vec<_> = clients.into_values().collect();
    let mut most = BinaryHeap::new();
    let mut is_crowd = Vec::new();
    for (index, of_client) in clients.iter_mut().enumerate() {
        is_crowd.push(of_client.len() > (all / CROWD).max(FEW));
        // The last one makes room first.
        of_client.sort_by_key(|(unused, _)| Reverse(*unused));
        most.extend(place(index, of_client));
    }
    let largest = most.peek().map_or(0, |(count, ..)| *count);
    let mut order = VecDeque::new();
    while let Some((count, Reverse(unused), index)) = most.pop() {
        // Those who come meanwhile may have made it a crowd again, so the others are not ended for its sake.
        if count * 2 < largest {
            break;
        }
        if is_waited_for(unused, is_crowd[index], now) {
            continue;
        }
        order.extend(clients[index].pop());
        most.extend(place(index, &clients[index]));
    }
    order
}

/// Whether it is probably about to be of use.
fn is_waited_for(unused: Unused, is_crowd: bool, now: Instant) -> bool {
    match unused {
        Unused::Idle(_) | Unused::Draining(_) => false,
        Unused::HalfOpen(since) => !is_crowd && now.saturating_duration_since(since) < HEAD_IS_NEW,
        // It has a deadline of its own.
        Unused::Stopped(_) => !is_crowd,
    }
}

/// The place of a client among the others: by how many connections it has, then by which one comes next.
fn place<T>(index: usize, of_client: &[(Unused, T)]) -> Option<(usize, Reverse<Unused>, usize)> {
    let (next, _) = of_client.last()?;
    Some((of_client.len(), Reverse(*next), index))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CROWD: &str = "192.0.2.1";
    const OTHER: &str = "192.0.2.2";

    /// A connection with its client and how many milliseconds ago it became unused.
    type Connection = (&'static str, fn(Instant) -> Unused, u64);

    fn order(connections: &[Connection], all: usize) -> Vec<usize> {
        let now = Instant::now() + Duration::from_hours(1);
        let open = connections.iter().enumerate();
        let open = open.map(|(index, (client, unused, ago))| {
            let since = now - Duration::from_millis(*ago);
            (client.parse().unwrap(), unused(since), index)
        });
        let order = in_order(open, all, now);
        order.into_iter().map(|(_, index)| index).collect()
    }

    #[test]
    fn the_client_with_the_most_makes_room_until_it_has_no_more_than_others() {
        let half = Unused::HalfOpen;
        let connections: [Connection; 5] = [
            (OTHER, Unused::Idle, 60_000),
            (CROWD, half, 1000),
            (CROWD, half, 3000),
            (CROWD, half, 2000),
            (OTHER, half, 9000),
        ];
        assert_eq!(order(&connections, 5), [2, 0, 3]);
    }

    #[test]
    fn a_crowd_is_looked_at_again_before_it_is_as_few_as_others() {
        let mut connections: Vec<Connection> = vec![(CROWD, Unused::HalfOpen, 1000); 100];
        connections.push((OTHER, Unused::Idle, 60_000));
        let order = order(&connections, 101);
        assert_eq!(order.len(), 51);
        assert!(!order.contains(&100));
    }

    #[test]
    fn of_one_client_the_longest_idle_goes_before_the_oldest_head() {
        let connections: [Connection; 4] = [
            (OTHER, Unused::HalfOpen, 9000),
            (OTHER, Unused::Idle, 10),
            (OTHER, Unused::HalfOpen, 5000),
            (OTHER, Unused::Idle, 20),
        ];
        assert_eq!(order(&connections, 4), [3, 1, 0]);
    }

    /// Connections of a crowd; the first one is the youngest.
    fn crowd(unused: fn(Instant) -> Unused, count: u64) -> Vec<Connection> {
        (0..count).map(|ago| (CROWD, unused, ago)).collect()
    }

    #[test]
    fn only_a_crowd_loses_what_has_stopped() {
        let mut stopped = crowd(Unused::Stopped, 9);
        stopped.push((OTHER, Unused::Stopped, 3));
        assert_eq!(order(&stopped, 64), [8, 7, 6, 5, 4]);
        assert_eq!(order(&stopped, 72), Vec::<usize>::new());
        assert_eq!(order(&stopped[1..], 8), Vec::<usize>::new(), "they are few");
    }

    #[test]
    fn a_head_that_is_new_is_waited_for_unless_its_client_is_a_crowd() {
        let mut heads = crowd(Unused::HalfOpen, 9);
        heads.push((OTHER, Unused::HalfOpen, 3));
        assert_eq!(order(&heads, 64), [8, 7, 6, 5, 4]);
        assert_eq!(order(&heads, 72), Vec::<usize>::new());
        heads[0] = (OTHER, Unused::Idle, 3);
        let few = order(&heads[..2], 3);
        assert_eq!(few, [0], "the others are not waited for");
    }
}
