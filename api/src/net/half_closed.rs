//! Clients that have closed their sending side and wait for an answer.
//!
//! Whether such a client still listens cannot be told before it is answered. Many that do not must not keep the
//! database from others, so only some of their requests are worked on at a time. A request that had ended before it
//! began waits for its turn; of the requests whose clients end later some are given up.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Context,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::activity::Activity;

/// One client has at most this part of all turns.
const SHARE: usize = 4;

/// The half-closed clients of all listeners.
pub(super) struct HalfClosed {
    most: usize,
    /// The turns that are free.
    turns: Arc<Semaphore>,
    /// Of these, those that a client may take. A client that has taken none is not among them.
    shares: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
    /// The requests whose clients have ended since, the one that waits for longest first.
    waiting: Mutex<Vec<(IpAddr, Activity)>>,
}

impl HalfClosed {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            turns: Arc::new(Semaphore::new(most)),
            shares: Mutex::default(),
            waiting: Mutex::default(),
        }
    }

    /// One more that waits. If there are too many, the client with the most loses the one that waits for longest.
    fn enter(&self, client: IpAddr, activity: Activity) {
        activity.enters_list();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push((client, activity));
        if waiting.len() <= self.most {
            return;
        }
        waiting.retain(|(_, activity)| activity.may_be_given_up());
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for (client, _) in &*waiting {
            *counts.entry(*client).or_default() += 1;
        }
        let crowd = counts.into_iter().max_by_key(|(_, count)| *count);
        if waiting.len() > self.most
            && let Some((crowd, _)) = crowd
            && let Some(first) = waiting.iter().position(|(client, _)| *client == crowd)
        {
            waiting.remove(first).1.give_up();
        }
    }

    fn shares(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<Semaphore>>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request is told of its client's sending side.
#[derive(Clone)]
pub(crate) struct EndOfInput {
    pub(super) list: Arc<HalfClosed>,
    /// What counts as the client at the other end of the connection.
    pub(super) peer: IpAddr,
    pub(super) activity: Activity,
}

impl EndOfInput {
    /// A turn for a request of this client, at once if the client has not closed its sending side. Else the request
    /// waits for others of its client, if these have their share of all turns, and then for those of all clients.
    pub(crate) async fn turn(&self, client: IpAddr) -> Option<WorkingTurn> {
        if !self.activity.is_half_closed() {
            return None;
        }
        let share = ClientShare::new(self.list.clone(), client);
        // Neither is ever closed.
        let own = share.turns.clone()?.acquire_owned().await.ok()?;
        let any = self.list.turns.clone().acquire_owned().await.ok()?;
        Some(WorkingTurn {
            _permits: [own, any],
            _share: share,
        })
    }

    /// Whether the request is given up, because its client has closed its sending side since and too many wait.
    /// Giving up wakes the task that asked last.
    pub(crate) fn is_given_up(&self, context: &Context<'_>) -> bool {
        self.activity.is_given_up(context)
    }

    /// The client has closed its sending side.
    pub(super) fn tell(&self) {
        if self.activity.half_closes() && self.activity.awaits_answer() {
            self.list.enter(self.peer, self.activity.clone());
        }
    }
}

/// A turn, over when it is dropped.
pub(crate) struct WorkingTurn {
    // Given back before the share is looked at.
    _permits: [OwnedSemaphorePermit; 2],
    _share: ClientShare,
}

/// A client's share of all turns, which is forgotten when no request uses it.
struct ClientShare {
    list: Arc<HalfClosed>,
    client: IpAddr,
    /// Nothing only while it is being dropped.
    turns: Option<Arc<Semaphore>>,
}

impl ClientShare {
    fn new(list: Arc<HalfClosed>, client: IpAddr) -> Self {
        let new = || Arc::new(Semaphore::new(list.most.div_ceil(SHARE)));
        let turns = list.shares().entry(client).or_insert_with(new).clone();
        Self {
            list,
            client,
            turns: Some(turns),
        }
    }
}

impl Drop for ClientShare {
    fn drop(&mut self) {
        let mut shares = self.list.shares();
        self.turns = None;
        let is_unused = |share: &Arc<Semaphore>| Arc::strong_count(share) == 1;
        if shares.get(&self.client).is_some_and(is_unused) {
            shares.remove(&self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn waiting() -> Activity {
        let activity = Activity::default();
        activity.request_came();
        activity
    }

    fn is_given_up(activity: &Activity) -> bool {
        activity.is_given_up(&Context::from_waker(std::task::Waker::noop()))
    }

    /// A request that had ended before it began.
    fn ended(list: &Arc<HalfClosed>) -> EndOfInput {
        let input = EndOfInput {
            list: list.clone(),
            peer: address(1),
            activity: Activity::default(),
        };
        input.tell();
        input
    }

    #[test]
    fn the_client_with_the_most_loses_the_one_that_waits_for_longest() {
        let list = HalfClosed::new(3);
        let all = [2, 1, 1, 1].map(|client| (address(client), waiting()));
        for (client, activity) in &all {
            list.enter(*client, activity.clone());
        }
        let given_up = all.map(|(_, activity)| is_given_up(&activity));
        assert_eq!(given_up, [false, true, false, false]);
    }

    #[test]
    fn those_that_are_answered_or_gone_do_not_count() {
        let list = HalfClosed::new(1);
        let (answered, gone, last) = (waiting(), waiting(), waiting());
        list.enter(address(1), answered.clone());
        answered.answer_begins(0, false);
        answered.request_came();
        list.enter(address(1), gone.clone());
        gone.ends();
        list.enter(address(1), last.clone());
        assert!(!is_given_up(&answered) && !is_given_up(&last));
        list.enter(address(1), waiting());
        assert!(is_given_up(&last));
    }

    #[tokio::test]
    async fn a_client_takes_its_share_and_no_more_and_is_forgotten() {
        let list = Arc::new(HalfClosed::new(2 * SHARE));
        let input = ended(&list);
        let first = input.turn(address(1)).await.expect("a turn");
        let second = input.turn(address(1)).await;
        {
            let mut third = pin!(input.turn(address(1)));
            assert!(third.as_mut().now_or_never().is_none());
            let other = input.turn(address(2)).now_or_never();
            assert!(other.flatten().is_some(), "there are turns for others");
            drop(first);
            assert!(third.now_or_never().flatten().is_some());
        }
        drop(second);
        assert!(list.shares().is_empty());
        assert_eq!(list.turns.available_permits(), list.most);
    }

    #[tokio::test]
    async fn a_client_that_has_not_ended_needs_no_turn() {
        let list = Arc::new(HalfClosed::new(0));
        let input = EndOfInput {
            list,
            peer: address(1),
            activity: waiting(),
        };
        assert!(input.turn(address(1)).await.is_none());
        input.tell();
        let is_given_up = is_given_up(&input.activity);
        assert!(is_given_up, "nothing may wait here");
    }
}
