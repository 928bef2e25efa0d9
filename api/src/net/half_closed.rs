//! Clients that have closed their sending side and wait for an answer.
//!
//! Whether such a client still listens cannot be told before it is answered. Many that do not must not keep the
//! database from everybody else, so only some of their requests are worked on: those that had ended when they came
//! take turns, and of those whose clients end later some are given up.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::activity::Activity;

/// Those of all listeners.
pub(super) struct HalfClosed {
    most: usize,
    /// For clients that had ended when their request came.
    turns: Semaphore,
    /// Those that have ended since, the one that waits for longest first.
    waiting: Mutex<Vec<(IpAddr, Activity)>>,
}

impl HalfClosed {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            turns: Semaphore::new(most),
            waiting: Mutex::default(),
        }
    }

    /// One more. If there are too many, the client with the most loses the one that waits for longest.
    fn enter(&self, client: IpAddr, activity: Activity) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push((client, activity));
        if waiting.len() <= self.most {
            return;
        }
        waiting.retain(|(_, activity)| activity.awaits_answer());
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
}

/// Where a connection tells that its client has closed its sending side.
#[derive(Clone)]
pub(super) struct EndOfInput {
    pub list: Arc<HalfClosed>,
    /// What counts as its client.
    pub client: IpAddr,
}

impl EndOfInput {
    /// Its turn, after those of all who have ended before.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // They are never closed.
        self.list.turns.acquire().await.ok()
    }

    /// The client has closed its sending side while it waited.
    pub(super) fn tell(&self, activity: &Activity) {
        self.list.enter(self.client, activity.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    fn waiting() -> Activity {
        let activity = Activity::default();
        activity.request_came();
        activity
    }

    #[test]
    fn the_client_with_the_most_loses_the_one_that_waits_for_longest() {
        let list = HalfClosed::new(3);
        let of = |client: &str| (client.parse().unwrap(), waiting());
        let all = ["192.0.2.2", "192.0.2.1", "192.0.2.1", "192.0.2.1"].map(of);
        for (client, activity) in &all {
            list.enter(*client, activity.clone());
        }
        let given_up = all.map(|(_, activity)| activity.is_given_up());
        assert_eq!(given_up, [false, true, false, false]);
    }

    #[tokio::test]
    async fn those_that_had_ended_take_turns() {
        let list = Arc::new(HalfClosed::new(1));
        let client = "192.0.2.1".parse().unwrap();
        let ended = EndOfInput { list, client };
        let first = ended.turn().await;
        let mut second = pin!(ended.turn());
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert!(second.await.is_some());
    }

    #[test]
    fn those_that_are_answered_do_not_count() {
        let list = HalfClosed::new(1);
        let client = "192.0.2.1".parse().unwrap();
        let (answered, next) = (waiting(), waiting());
        list.enter(client, answered.clone());
        answered.answer_begins(0, false);
        list.enter(client, next.clone());
        assert!(!answered.is_given_up() && !next.is_given_up());
    }
}
