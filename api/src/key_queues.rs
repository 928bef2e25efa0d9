//! The queues of writes that are sent alone: for each key one, in turn.
//!
//! The database lets a write wait only briefly for a lock of somebody else's. Who then still finds its
//! key locked tries again and again, in one of a few places, so that most connections stay free for
//! everybody else; the next writes of its key wait behind it.

use std::{
    collections::HashMap,
    mem,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use database::Engine;
use entity::Key;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::problem::Problem;

pub struct KeyQueues {
    queues: Mutex<HashMap<Option<Key>, Arc<Queue>>>,
    places: Semaphore,
    /// For those that wait.
    room: Arc<Semaphore>,
    most: usize,
    /// SQLite has one lock for all keys.
    one: bool,
}

/// Whose turn it is has it locked, and knows whether the database said that the key is.
type Queue = tokio::sync::Mutex<bool>;

/// A write in the queue of its key.
pub struct Queued<'a> {
    queue: Arc<Queue>,
    key: Option<Key>,
    all: &'a KeyQueues,
}

impl KeyQueues {
    /// For so many connections. At most `most` writes wait.
    pub fn new(engine: Engine, connections: usize, most: usize) -> Self {
        Self {
            queues: Mutex::default(),
            places: Semaphore::new((connections / 4).max(1)),
            room: Arc::new(Semaphore::new(most)),
            most,
            one: engine == Engine::Sqlite,
        }
    }

    /// Whether a write of the key is sent alone, or waits to be.
    pub fn has(&self, key: &Key) -> bool {
        self.queues().contains_key(&self.queue_of(key))
    }

    /// How many writes wait.
    pub fn waiting(&self) -> usize {
        self.most - self.room.available_permits()
    }

    pub fn join(&self, key: &Key) -> Queued<'_> {
        let key = self.queue_of(key);
        let queue = self.queues().entry(key.clone()).or_default().clone();
        Queued {
            queue,
            key,
            all: self,
        }
    }

    /// Exchanges the right of a call for the right to wait.
    ///
    /// # Errors
    /// Too many wait.
    pub fn make_room(&self, permit: &mut OwnedSemaphorePermit) -> Result<(), Problem> {
        let room = self.room.clone().try_acquire_owned();
        *permit = room.map_err(|_| Problem::overloaded())?;
        Ok(())
    }

    /// A place to try a locked key once more, in turn.
    pub async fn place(&self) -> Option<SemaphorePermit<'_>> {
        // Only a closed semaphore has none, and this one is never closed.
        self.places.acquire().await.ok()
    }

    fn queue_of(&self, key: &Key) -> Option<Key> {
        (!self.one).then(|| key.clone())
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<Option<Key>, Arc<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Queued<'_> {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        &self.queue
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let mut queues = self.all.queues();
        // While the map is locked, or two who leave at once would each see the other still in it.
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
    fn a_key_has_a_queue_while_somebody_is_in_it() {
        let queues = KeyQueues::new(Engine::Postgres, 16, 2);
        assert!(!queues.has(&key("a")));
        let first = queues.join(&key("a"));
        let turn = first.try_lock().unwrap();
        let second = queues.join(&key("a"));
        assert!(queues.has(&key("a")) && !queues.has(&key("b")));
        assert!(second.try_lock().is_err() && queues.join(&key("b")).try_lock().is_ok());
        drop(turn);
        drop(first);
        assert!(second.try_lock().is_ok() && queues.has(&key("a")));
        drop(second);
        assert!(!queues.has(&key("a")));
    }

    #[test]
    fn writes_of_sqlite_are_one_queue() {
        let queues = KeyQueues::new(Engine::Sqlite, 16, 2);
        let first = queues.join(&key("a"));
        let _turn = first.try_lock().unwrap();
        assert!(queues.join(&key("b")).try_lock().is_err());
    }

    #[test]
    fn there_is_room_for_so_many() {
        let queues = KeyQueues::new(Engine::Postgres, 16, 2);
        let calls = Arc::new(Semaphore::new(3));
        let call = || calls.clone().try_acquire_owned().unwrap();
        let mut permits = [call(), call(), call()];
        let waiting = permits
            .each_mut()
            .map(|permit| queues.make_room(permit).is_ok());
        assert_eq!(waiting, [true, true, false]);
        assert_eq!((queues.waiting(), calls.available_permits()), (2, 2));
    }
}
