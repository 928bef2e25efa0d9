//! Keys that somebody else has locked, and the writes that wait for them.
//!
//! The database lets a write wait only briefly. Whoever then still finds its key locked tries again
//! and again, in one of a few places, so that most connections stay free for everybody else. While
//! a key is known to be locked, the next writes of it go there at once.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use entity::{Engine, Key};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::problem::Problem;

pub struct LockedKeys {
    waiting: Mutex<HashMap<Key, usize>>,
    places: Semaphore,
    /// The most writes that wait.
    room: Semaphore,
    /// SQLite has one lock for all: its writes always queue here instead of in the database.
    always: bool,
}

/// A write that waits for its key.
pub struct Waiting<'a> {
    keys: &'a LockedKeys,
    key: Key,
    _room: SemaphorePermit<'a>,
}

impl LockedKeys {
    /// For so many connections. At most `room` writes wait.
    pub fn new(engine: Engine, connections: usize, room: usize) -> Self {
        let always = engine == Engine::Sqlite;
        let places = if always { 1 } else { (connections / 4).max(1) };
        Self {
            waiting: Mutex::default(),
            places: Semaphore::new(places),
            room: Semaphore::new(room),
            always,
        }
    }

    /// Whether the key, as far as is known, is locked.
    pub fn knows(&self, key: &Key) -> bool {
        self.always || self.waiting().contains_key(key)
    }

    /// How many writes wait.
    pub fn writes(&self) -> usize {
        self.waiting().values().sum()
    }

    /// `None` if the key, as far as is known, is free.
    ///
    /// # Errors
    /// Too many wait.
    pub fn wait_if_locked(&self, key: &Key) -> Result<Option<Waiting<'_>>, Problem> {
        self.knows(key).then(|| self.wait(key)).transpose()
    }

    /// The key was found locked.
    ///
    /// # Errors
    /// Too many wait.
    pub fn wait(&self, key: &Key) -> Result<Waiting<'_>, Problem> {
        let room = self.room.try_acquire();
        let room = room.map_err(|_| Problem::overloaded())?;
        *self.waiting().entry(key.clone()).or_default() += 1;
        Ok(Waiting {
            keys: self,
            key: key.clone(),
            _room: room,
        })
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Key, usize>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Waiting<'a> {
    /// A place to try once more, in turn.
    pub async fn place(&self) -> Option<SemaphorePermit<'a>> {
        // Only a closed semaphore has none, and this one is never closed.
        self.keys.places.acquire().await.ok()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.keys.waiting();
        if let Some(count) = waiting.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_locked_while_somebody_waits_for_it() {
        let keys = LockedKeys::new(Engine::Postgres, 16, 2);
        let (a, b) = (Key::new("a").unwrap(), Key::new("b").unwrap());
        assert!(keys.wait_if_locked(&a).unwrap().is_none());
        let first = keys.wait(&a).unwrap();
        let second = keys.wait_if_locked(&a).unwrap();
        assert!(second.is_some() && keys.wait_if_locked(&b).unwrap().is_none());
        assert!(keys.wait(&b).is_err(), "there is room for two");
        drop(first);
        assert!(keys.wait_if_locked(&a).unwrap().is_some());
        drop(second);
        assert!(keys.wait_if_locked(&a).unwrap().is_none());
    }

    #[test]
    fn writes_of_sqlite_queue_before_they_meet() {
        let keys = LockedKeys::new(Engine::Sqlite, 16, 2);
        assert!(
            keys.wait_if_locked(&Key::new("a").unwrap())
                .unwrap()
                .is_some()
        );
    }
}
