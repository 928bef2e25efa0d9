//! Reads that requests share: all requests that ask for the same read before it begins get its answer. A read begins
//! when it has its turn.

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

/// A request that asks for a read.
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

/// The reads that have not begun yet, each with the requests that ask for it. A read that has begun stays here with
/// none until [`Self::let_next_begin`] is called, so that no second one begins beside it before.
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

    /// Adds a request to those that ask for a read. It returns whether this is the first of them; then the caller has to
    /// [`Self::begin`] the read.
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

    /// Waits for the turn of this read, and takes all requests that ask for it; later ones wait for the next read.
    /// Requests whose time to wait for a turn ends first are turned away. It returns `None` if no request is left.
    pub(crate) async fn begin(&self, read: &K) -> Option<(Vec<A>, ListTurn<'_>)> {
        let turn_away = |last| {
            for asker in self.take(read, |asker| self.last_turn(asker) <= last) {
                asker.into_reply().failed(Error::Overloaded);
            }
        };
        let turn = self.turns.acquire();
        let turn = unless_all_turned_away(turn, || self.first_last_turn(read), turn_away).await?;
        let askers = self.take(read, |_| true);
        (!askers.is_empty()).then_some((askers, turn))
    }

    /// Allows the same read to begin again. It returns whether requests wait for that; then the caller has to
    /// [`Self::begin`] it.
    #[must_use]
    pub(crate) fn let_next_begin(&self, read: &K) -> bool {
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

/// Waits on behalf of several requests, each of which may wait until a time of its own. `first` tells the earliest of
/// these times, at which `turn_away` refuses the requests that may wait no longer. It returns `None` if no request is
/// left.
///
/// `first` is asked again only at that time, so a request that joins the others later, and may wait less long than they,
/// is refused late.
pub(crate) async fn unless_all_turned_away<T>(
    awaited: impl Future<Output = T>,
    mut first: impl FnMut() -> Option<Instant>,
    mut turn_away: impl FnMut(Instant),
) -> Option<T> {
    let mut awaited = pin!(awaited);
    loop {
        let last = first()?;
        match timeout_at(last, awaited.as_mut()).await {
            Ok(done) => return Some(done),
            Err(_) => turn_away(last),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{reply::Incoming, settings::RequestTime},
        *,
    };

    const TIME: Duration = Duration::from_millis(100);

    fn reads() -> SharedReads<&'static str, Reply<()>> {
        SharedReads::new(Arc::new(ListTurns::of(1, RequestTime(TIME))))
    }

    fn asker(time: Duration) -> (Reply<()>, Incoming<()>) {
        Reply::new(Instant::now() + time, None, |_| ())
    }

    #[tokio::test]
    async fn all_that_ask_before_it_begins_get_it_and_who_comes_later_the_next() {
        let reads = reads();
        let (first, _waits) = asker(TIME * 1000);
        let (second, _waits_too) = asker(TIME * 1000);
        let (gone, _) = asker(TIME * 1000);
        assert!(reads.join(&"a", first));
        assert!(!reads.join(&"a", second) && !reads.join(&"a", gone));
        let (askers, turn) = reads.begin(&"a").await.unwrap();
        assert_eq!(askers.len(), 2);
        let (later, _waits_longer) = asker(TIME * 1000);
        assert!(!reads.join(&"a", later), "the first has not let it begin");
        assert!(reads.let_next_begin(&"a"), "somebody waits");
        drop(turn);
        assert_eq!(reads.begin(&"a").await.unwrap().0.len(), 1);
        assert!(!reads.let_next_begin(&"a"));
        let (last, _waits_alone) = asker(TIME * 1000);
        assert!(reads.join(&"a", last), "nothing is left of it");
    }

    #[tokio::test]
    async fn each_is_turned_away_at_its_own_time() {
        let reads = reads();
        let turn = reads.turns.acquire().await;
        let (patient, _waits) = asker(TIME * 1000);
        let (hasty, answer) = asker(TIME);
        assert!(reads.join(&"a", patient));
        assert!(!reads.join(&"a", hasty));
        let release = async {
            let refused = answer.await.unwrap().unwrap_err().heard();
            assert!(matches!(refused, Error::Overloaded));
            drop(turn);
        };
        let (begun, ()) = tokio::join!(reads.begin(&"a"), release);
        assert_eq!(begun.unwrap().0.len(), 1);
    }

    #[tokio::test]
    async fn nothing_begins_when_all_are_turned_away() {
        let reads = reads();
        let _turn = reads.turns.acquire().await;
        let (hasty, _answer) = asker(TIME);
        assert!(reads.join(&"a", hasty));
        assert!(reads.begin(&"a").await.is_none());
        assert!(!reads.let_next_begin(&"a"));
    }
}
