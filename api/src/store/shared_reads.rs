//! Reads that requests share: all that ask for the same one before it begins get its answer. It begins when it
//! has its turn.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::{Instant, timeout_at};

use super::{
    error::Error,
    list_turns::{ListTurn, ListTurns},
    reply::Reply,
};

/// Who asks for a read.
pub(crate) trait Asker {
    type Answer;

    fn reply(&self) -> &Reply<Self::Answer>;
    fn into_reply(self) -> Reply<Self::Answer>;
}

impl<T> Asker for Reply<T> {
    type Answer = T;

    fn reply(&self) -> &Self {
        self
    }

    fn into_reply(self) -> Self {
        self
    }
}

/// What is asked for and has not begun, and who asks for it. A read stays here, without any who ask for it, until
/// [`Self::next`] is called.
pub(crate) struct SharedReads<K, A> {
    turns: Arc<ListTurns>,
    askers: Mutex<HashMap<K, Vec<A>>>,
}

impl<K: Eq + Hash + Clone, A: Asker> SharedReads<K, A> {
    pub(crate) fn new(turns: Arc<ListTurns>) -> Self {
        Self {
            turns,
            askers: Mutex::default(),
        }
    }

    /// Whether this is the first that asks for it, who has to have it read: [`Self::begin`].
    #[must_use]
    pub(crate) fn join(&self, read: &K, asker: A) -> bool {
        match self.askers().entry(read.clone()) {
            Entry::Occupied(mut askers) => {
                askers.get_mut().push(asker);
                false
            }
            Entry::Vacant(place) => {
                place.insert(vec![asker]);
                true
            }
        }
    }

    /// Waits for the turn of this read, and takes all that ask for it: who comes later waits for the next one. Those
    /// whose time for a turn is over before are turned away. `None` if nobody is left.
    pub(crate) async fn begin(&self, read: &K) -> Option<(Vec<A>, ListTurn<'_>)> {
        let mut turn = pin!(self.turns.acquire());
        loop {
            let last = self.first_last_turn(read)?;
            if let Ok(turn) = timeout_at(last, turn.as_mut()).await {
                let askers = self.take(read, |_| true);
                return (!askers.is_empty()).then_some((askers, turn));
            }
            for asker in self.take(read, |asker| self.last_turn(asker) <= last) {
                asker.into_reply().failed(Error::Overloaded);
            }
        }
    }

    /// Lets the next read of the same begin. Whether somebody waits for it, so that the caller has to have it read.
    #[must_use]
    pub(crate) fn next(&self, read: &K) -> bool {
        let mut reads = self.askers();
        let waits = reads.get(read).is_some_and(|askers| !askers.is_empty());
        if !waits {
            reads.remove(read);
        }
        waits
    }

    /// The earliest time until which one of them may wait for a turn.
    fn first_last_turn(&self, read: &K) -> Option<Instant> {
        let reads = self.askers();
        let askers = reads.get(read)?.iter();
        askers.map(|asker| self.last_turn(asker)).min()
    }

    fn last_turn(&self, asker: &A) -> Instant {
        self.turns.last(asker.reply().deadline())
    }

    /// Takes these askers, but for those that are gone.
    fn take(&self, read: &K, these: impl Fn(&A) -> bool) -> Vec<A> {
        let mut reads = self.askers();
        let Some(askers) = reads.get_mut(read) else {
            return Vec::new();
        };
        let taken = askers.extract_if(.., |asker| these(asker));
        taken.filter(|asker| !asker.reply().is_gone()).collect()
    }

    fn askers(&self) -> MutexGuard<'_, HashMap<K, Vec<A>>> {
        self.askers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
