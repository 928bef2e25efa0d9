//! The queues of writes that are sent alone, in turn: one for each key.
//!
//! The database lets a write wait only briefly for a lock of another session. A write that then still
//! finds its key locked tries again and again, in one of a few places, so that most sessions stay free
//! for other calls. The next writes of its key wait behind it.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use database::Engine;
use entity::Key;
use tokio::sync::{MutexGuard as TurnGuard, OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::error::Error;

pub(super) struct KeyQueues {
    queues: Mutex<HashMap<Option<Key>, Arc<Queue>>>,
    places: Semaphore,
    /// For the writes that wait.
    room: Arc<Semaphore>,
    most_waiting: usize,
    /// SQLite has one lock for all keys.
    one_for_all: bool,
}

/// The write whose turn it is has it locked.
type Queue = tokio::sync::Mutex<Turn>;

/// The right to send a write of the key.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Whether the database said that the key is locked.
    pub is_locked: bool,
}

/// One of the few places to try a locked key once more.
pub(super) type Place<'a> = SemaphorePermit<'a>;

/// A write in the queue of its key.
pub(super) struct Queued<'a> {
    queue: Arc<Queue>,
    key: Option<Key>,
    queues: &'a KeyQueues,
}

impl KeyQueues {
    pub(super) fn new(engine: Engine, connections: usize, most_waiting: usize) -> Self {
        Self {
            queues: Mutex::default(),
            places: Semaphore::new((connections / 4).max(1)),
            room: Arc::new(Semaphore::new(most_waiting)),
            most_waiting,
            one_for_all: engine == Engine::Sqlite,
        }
    }

    /// Whether a write of the key is sent alone, or waits to be. Where one lock is for all keys, none has to go
    /// behind those that do.
    pub(super) fn has(&self, key: &Key) -> bool {
        !self.one_for_all && self.queues().contains_key(&self.queue_of(key))
    }

    /// How many writes wait.
    pub(super) fn waiting(&self) -> usize {
        self.most_waiting - self.room.available_permits()
    }

    pub(super) fn join(&self, key: &Key) -> Queued<'_> {
        let key = self.queue_of(key);
        let queue = self.queues().entry(key.clone()).or_default().clone();
        Queued {
            queue,
            key,
            queues: self,
        }
    }

    /// The right to wait.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if too many writes wait.
    pub(super) fn room(&self) -> Result<OwnedSemaphorePermit, Error> {
        let room = self.room.clone().try_acquire_owned();
        room.map_err(|_| Error::Overloaded)
    }

    /// A place to try a locked key once more, in turn.
    pub(super) async fn place(&self) -> Option<Place<'_>> {
        // Only a closed semaphore has none, and this one is never closed.
        self.places.acquire().await.ok()
    }

    fn queue_of(&self, key: &Key) -> Option<Key> {
        (!self.one_for_all).then(|| key.clone())
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<Option<Key>, Arc<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queued<'_> {
    /// The turn, if no other write of the key has it.
    pub(super) fn try_turn(&self) -> Option<TurnGuard<'_, Turn>> {
        self.queue.try_lock().ok()
    }

    /// Waits for the turn.
    pub(super) async fn turn(&self) -> TurnGuard<'_, Turn> {
        self.queue.lock().await
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let mut queues = self.queues.queues();
        // While the map is locked: two writes that leave at once would each see the other still in it.
        drop(mem::take(&mut self.queue));
        if queues
            .get(&self.key)
            .is_some_and(|queue| Arc::strong_count(queue) == 1)
        {
            queues.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str) -> Key {
        Key::new(key).unwrap()
    }

    #[test]
    fn a_key_has_a_queue_while_a_write_is_in_it() {
        let queues = KeyQueues::new(Engine::Postgres, 16, 2);
        assert!(!queues.has(&key("a")));
        let first = queues.join(&key("a"));
        let turn = first.try_turn().unwrap();
        let second = queues.join(&key("a"));
        assert!(queues.has(&key("a")) && !queues.has(&key("b")));
        assert!(second.try_turn().is_none() && queues.join(&key("b")).try_turn().is_some());
        drop(turn);
        drop(first);
        assert!(second.try_turn().is_some() && queues.has(&key("a")));
        drop(second);
        assert!(!queues.has(&key("a")));
    }

    #[test]
    fn writes_of_sqlite_are_one_queue() {
        let queues = KeyQueues::new(Engine::Sqlite, 16, 2);
        let first = queues.join(&key("a"));
        let _turn = first.try_turn().unwrap();
        assert!(queues.join(&key("b")).try_turn().is_none());
    }

    #[test]
    fn a_bounded_number_of_writes_waits() {
        let queues = KeyQueues::new(Engine::Postgres, 16, 2);
        let rooms = [(); 3].map(|()| queues.room());
        assert_eq!(rooms.each_ref().map(Result::is_ok), [true, true, false]);
        assert_eq!(queues.waiting(), 2);
        drop(rooms);
        assert_eq!(queues.waiting(), 0);
    }
}
