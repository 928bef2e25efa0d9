//! Calls that arrive while others are under way, and are then sent together.
//!
//! Nothing waits for a timer: with nothing under way a call goes out at once. What arrives meanwhile
//! is the next batch. Where that is allowed, enough calls that wait start another batch beside the
//! first, so that the database has work while answers are given or it waits for its disk. And when the
//! oldest batch under way is late, another one starts whatever waits, so that one dead session does not
//! stall the others.
//!
//! This module only decides which call goes when; it sends nothing.

use std::{
    collections::{HashSet, VecDeque},
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::time::{Instant, sleep_until};

use super::{
    batch::{Batch, Call, LATE, Limits},
    under_way::UnderWay,
};

pub(super) struct BatchQueue<C> {
    state: Mutex<QueueState<C>>,
    limits: Limits,
}

struct QueueState<C> {
    waiting: VecDeque<C>,
    under_way: UnderWay,
    watched: bool,
    conflict_keys: HashSet<String>,
}

impl<C: Call> BatchQueue<C> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            state: Mutex::new(QueueState {
                waiting: VecDeque::new(),
                under_way: UnderWay::default(),
                watched: false,
                conflict_keys: HashSet::new(),
            }),
            limits,
        }
    }

    /// Takes new calls, and returns what is to be sent now, if anything.
    pub(super) fn add(&self, calls: impl IntoIterator<Item = C>) -> Option<Batch<C>> {
        let state = &mut *self.state();
        state.waiting.extend(calls);
        state.under_way.note_waiting(state.waiting.len());
        self.next(state, Instant::now())
    }

    /// Takes note that a batch has ended, and returns what is to be sent next, if anything.
    pub(super) fn ended(&self, ended: &Batch<C>) -> Option<Batch<C>> {
        self.end(ended, Instant::now())
    }

    fn end(&self, ended: &Batch<C>, now: Instant) -> Option<Batch<C>> {
        let mut state = self.state();
        state.under_way.end(ended.ticket);
        for key in &ended.conflict_keys {
            state.conflict_keys.remove(key);
        }
        self.next(&mut state, now)
    }

    /// Gives `start` what is to be sent beside batches that are late, until all of them are.
    ///
    /// One timer for all of them: each would be the next to go off, and setting such a one wakes the
    /// runtime.
    pub(super) async fn watch(&self, start: impl Fn(Batch<C>)) {
        loop {
            // The same moment for both, so that no batch becomes late between them.
            let now = Instant::now();
            if let Some(batch) = self.late(now) {
                start(batch);
            }
            let Some(late) = self.next_late(now) else {
                return;
            };
            sleep_until(late).await;
        }
    }

    /// When the next batch will be late; `None` ends the watch.
    fn next_late(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state();
        let late = |sent| sent + LATE;
        let next = state.under_way.sent().map(late).find(|late| *late > now);
        state.watched = next.is_some();
        next
    }

    /// Takes back what waits, if it is wanted.
    pub(super) fn take_back(&self, wanted: impl Fn(&C) -> bool) -> Vec<C> {
        let mut state = self.state();
        let (wanted, waiting) = mem::take(&mut state.waiting).into_iter().partition(wanted);
        state.waiting = waiting;
        wanted.into()
    }

    fn late(&self, now: Instant) -> Option<Batch<C>> {
        self.next(&mut self.state(), now)
    }

    fn may_start(&self, state: &QueueState<C>, now: Instant) -> bool {
        let Some(oldest) = state.under_way.sent().next() else {
            return true;
        };
        let beside = self
            .limits
            .beside
            .unwrap_or(state.under_way.half_of_calls());
        let enough = state.under_way.count() < self.limits.at_once && state.waiting.len() >= beside;
        let late = now.duration_since(oldest) >= LATE;
        state.under_way.count() < self.limits.batches && (enough || late)
    }

    fn next(&self, state: &mut QueueState<C>, now: Instant) -> Option<Batch<C>> {
        if !self.may_start(state, now) {
            return None;
        }
        let (calls, conflict_keys) = self.gather(state);
        if calls.is_empty() {
            return None;
        }
        let ticket = state.under_way.start(calls.len(), now);
        Some(Batch {
            calls,
            unwatched: !mem::replace(&mut state.watched, true),
            ticket,
            conflict_keys,
        })
    }

    /// Takes as many of the calls that wait as go together now, and marks their conflict keys as under way.
    fn gather(&self, state: &mut QueueState<C>) -> (Vec<C>, Vec<String>) {
        let (mut calls, mut conflict_keys) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        let mut looked_at = 0;
        while looked_at < state.waiting.len() && calls.len() < self.limits.calls {
            let call = &state.waiting[looked_at];
            if call
                .conflict_key()
                .is_some_and(|key| state.conflict_keys.contains(key))
            {
                looked_at += 1;
                continue;
            }
            bytes += call.bytes();
            if bytes > self.limits.bytes && !calls.is_empty() {
                break;
            }
            if let Some(key) = call.conflict_key() {
                state.conflict_keys.insert(key.to_owned());
                conflict_keys.push(key.to_owned());
            }
            calls.extend(state.waiting.remove(looked_at));
        }
        (calls, conflict_keys)
    }

    fn state(&self) -> MutexGuard<'_, QueueState<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;

    #[derive(Debug)]
    struct Put(&'static str, usize);

    impl Call for Put {
        fn conflict_key(&self) -> Option<&str> {
            Some(self.0)
        }

        fn bytes(&self) -> usize {
            self.1
        }
    }

    fn queue() -> BatchQueue<Put> {
        queue_of(1)
    }

    fn queue_of(at_once: usize) -> BatchQueue<Put> {
        BatchQueue::new(Limits {
            calls: 3,
            bytes: 10,
            batches: 2,
            at_once,
            beside: Some(2),
        })
    }

    fn later() -> Instant {
        Instant::now() + LATE
    }

    fn keys(batch: Option<&Batch<Put>>) -> Vec<&'static str> {
        let calls = batch.map_or(&[][..], |batch| &batch.calls);
        calls.iter().map(|put| put.0).collect()
    }

    #[test]
    fn what_arrives_meanwhile_is_the_next_batch() {
        let queue = queue();
        let first = queue.add([Put("a", 1)]).unwrap();
        for key in ["b", "c", "d", "e"] {
            queue.state().waiting.push_back(Put(key, 1));
        }
        let second = queue.ended(&first);
        assert_eq!(keys(second.as_ref()), ["b", "c", "d"], "at most three");
        let third = queue.ended(&second.unwrap());
        assert_eq!(keys(third.as_ref()), ["e"]);
        assert!(queue.ended(&third.unwrap()).is_none());
        assert!(queue.add([Put("f", 1)]).is_some(), "nothing is under way");
    }

    #[test]
    fn what_is_added_together_goes_together() {
        let queue = queue();
        let puts = |keys: [&'static str; 3]| keys.map(|key| Put(key, 1));
        let first = queue.add(puts(["a", "b", "c"]));
        assert_eq!(keys(first.as_ref()), ["a", "b", "c"]);
        assert!(queue.add(puts(["d", "e", "f"])).is_none());
        assert!(queue.add([]).is_none());
        let second = queue.ended(&first.unwrap());
        assert_eq!(keys(second.as_ref()), ["d", "e", "f"]);
    }

    #[test]
    fn enough_that_wait_go_out_beside_the_first() {
        let queue = queue_of(2);
        let first = queue.add([Put("a", 1)]).unwrap();
        assert!(queue.add([Put("b", 1)]).is_none(), "one is not enough");
        let second = queue.add([Put("c", 1)]);
        assert_eq!(keys(second.as_ref()), ["b", "c"]);
        for key in ["d", "e", "f"] {
            assert!(queue.add([Put(key, 1)]).is_none(), "two are under way");
        }
        let third = queue.ended(&first);
        assert_eq!(keys(third.as_ref()), ["d", "e", "f"]);
        assert!(queue.add([Put("g", 1)]).is_none());
        assert!(queue.ended(&second.unwrap()).is_none(), "one is not enough");
        assert_eq!(keys(queue.ended(&third.unwrap()).as_ref()), ["g"]);
    }

    #[test]
    fn half_of_those_there_are_at_once_go_out_beside_the_other_half() {
        let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let queue = BatchQueue::new(Limits {
            calls: 100,
            bytes: 100,
            batches: 2,
            at_once: 2,
            beside: None,
        });
        let mut under_way: VecDeque<_> = keys
            .iter()
            .filter_map(|key| queue.add([Put(key, 1)]))
            .collect();
        let mut sizes = Vec::new();
        // Whoever is answered calls again.
        for _ in 0..20 {
            let ended = under_way.pop_front().unwrap();
            sizes.push(ended.calls.len());
            under_way.extend(queue.ended(&ended));
            under_way.extend(
                ended
                    .calls
                    .iter()
                    .filter_map(|put| queue.add([Put(put.0, 1)])),
            );
        }
        assert_eq!(sizes[16..], [4, 4, 4, 4], "{sizes:?}");
    }

    #[test]
    fn a_key_is_in_one_batch_at_a_time_and_in_it_once() {
        let (queue, begun) = (queue(), Instant::now());
        let first = queue.add([Put("a", 1)]).unwrap();
        for key in ["a", "b", "b"] {
            queue.state().waiting.push_back(Put(key, 1));
        }
        let beside = queue.late(later());
        assert_eq!(keys(beside.as_ref()), ["b"], "a is under way");
        let next = queue.end(&beside.unwrap(), begun);
        assert_eq!(keys(next.as_ref()), [""; 0], "the first is not late");
        let last = queue.ended(&first);
        assert_eq!(keys(last.as_ref()), ["a", "b"]);
    }

    #[test]
    fn a_late_batch_holds_up_no_other_until_there_are_too_many() {
        let (queue, begun) = (queue(), Instant::now());
        let _dead = queue.add([Put("a", 1)]).unwrap();
        for key in ["b", "c"] {
            queue.state().waiting.push_back(Put(key, 1));
        }
        assert!(queue.late(begun).is_none(), "it is not late");
        let beside = queue.late(later());
        assert_eq!(keys(beside.as_ref()), ["b", "c"]);
        queue.state().waiting.push_back(Put("d", 1));
        assert!(queue.late(later()).is_none(), "two are under way");
    }

    #[test]
    fn what_is_taken_back_is_not_sent() {
        let queue = queue();
        let first = queue.add([Put("a", 1)]).unwrap();
        for key in ["b", "c", "b"] {
            assert!(queue.add([Put(key, 1)]).is_none());
        }
        assert_eq!(queue.take_back(|put| put.0 == "b").len(), 2);
        assert_eq!(keys(queue.ended(&first).as_ref()), ["c"]);
    }

    #[test]
    fn a_batch_is_bounded_in_bytes_and_never_empty() {
        let queue = queue();
        let first = queue.add([Put("a", 100)]).unwrap();
        for key in ["b", "c"] {
            queue.state().waiting.push_back(Put(key, 6));
        }
        let second = queue.ended(&first);
        assert_eq!(keys(second.as_ref()), ["b"]);
    }

    #[tokio::test]
    async fn a_watch_starts_another_batch_beside_a_late_one() {
        // Also one that begins to watch when it is late already.
        for pause in [Duration::ZERO, LATE] {
            let queue = queue();
            let first = queue.add([Put("a", 1)]).unwrap();
            assert!(first.unwatched);
            queue.state().waiting.push_back(Put("b", 1));
            thread::sleep(pause);
            let started = Mutex::default();
            let start = |batch| *started.lock().unwrap() = Some(batch);
            queue.watch(start).await;
            let beside = started.into_inner().unwrap().unwrap();
            assert_eq!(keys(Some(&beside)), ["b"]);
            assert!(!beside.unwatched);
            assert!(queue.ended(&first).is_none() && queue.ended(&beside).is_none());
            let next = queue.add([Put("c", 1)]).unwrap();
            assert!(next.unwatched, "nothing was under way any more");
        }
    }

    #[test]
    fn every_batch_is_watched_until_it_is_late() {
        let (queue, begun) = (queue(), Instant::now());
        let oldest = || queue.state().under_way.sent().next().unwrap();
        let first = queue.add([Put("a", 1)]).unwrap();
        let sent = oldest();
        assert_eq!(queue.next_late(begun), Some(sent + LATE));
        queue.state().waiting.push_back(Put("b", 1));
        let second = queue.ended(&first).unwrap();
        assert!(!second.unwatched);
        let sent = oldest();
        assert_eq!(queue.next_late(begun), Some(sent + LATE));
        assert_eq!(queue.next_late(sent + LATE), None);
        assert!(queue.ended(&second).is_none());
        assert!(queue.add([Put("c", 1)]).unwrap().unwatched);
    }
}
