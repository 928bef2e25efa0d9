//! Writes that are sent alone, each in the queue of its key.

use std::{sync::Arc, time::Duration};

use database::{Engine, Failure, PooledSession};
use entity::{
    Key,
    write::{Claim, Done, OnLocked, Outcome, Write, WriteError, write},
};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::{
    error::Error,
    key_queues::{KeyQueues, Place},
    reply::Reply,
    sessions::{Sessions, silent},
};

/// A key that is locked is tried again after this time, then after twice the time, and so on.
const SHORTEST_GAP: Duration = Duration::from_millis(2);
const LONGEST_GAP: Duration = Duration::from_millis(50);

/// The pauses before a locked key is tried again.
pub(super) struct Gaps(Duration);

impl Default for Gaps {
    fn default() -> Self {
        Self(SHORTEST_GAP)
    }
}

impl Gaps {
    pub(super) fn next(&mut self) -> Duration {
        let gap = self.0;
        self.0 = LONGEST_GAP.min(2 * gap);
        gap
    }
}

/// What stands for memory that a call uses, until it is dropped.
pub(crate) type KeptMemory = Box<dyn Send + Sync>;

/// A write, and what its request is told of it.
pub(super) struct Change {
    pub write: Write,
    /// That of the write.
    pub _memory: Option<KeptMemory>,
    pub claim: Arc<Claim>,
    pub reply: Reply<Outcome>,
    /// Whether it has the right to wait for a lock.
    pub waits: bool,
    /// Until when it is tried again while another session has its key locked.
    pub deadline: Instant,
}

impl Change {
    pub(super) fn done(self, done: Done) {
        self.reply.done(done.outcome(self.write));
    }
}

#[derive(Clone)]
pub(super) struct LoneWrites(Arc<LoneWriter>);

struct LoneWriter {
    sessions: Arc<Sessions>,
    queues: KeyQueues,
}

impl LoneWrites {
    pub(super) fn new(sessions: Arc<Sessions>, engine: Engine, connections: usize) -> Self {
        let queues = KeyQueues::new(engine, connections, sessions.most_calls());
        Self(Arc::new(LoneWriter { sessions, queues }))
    }

    /// How many wait for their keys.
    pub(super) fn waiting(&self) -> usize {
        self.0.queues.waiting()
    }

    /// Whether a write of the key is sent alone, or waits to be.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.0.queues.has(key)
    }

    /// Gives the write the right to wait for a lock, in place of that to wait for a session.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if too many writes wait.
    pub(super) fn make_wait(&self, change: &mut Change) -> Result<(), Error> {
        self.0.make_wait(change)
    }

    pub(super) fn send(&self, mut change: Change) {
        let writer = self.0.clone();
        tokio::spawn(async move {
            match writer.send(&mut change).await {
                Ok(done) => change.done(done),
                Err(error) => change.reply.failed(error),
            }
        });
    }

    /// Sends a write that the server has definitely taken back.
    pub(super) fn send_again(&self, change: Change) {
        change.claim.give_back();
        self.send(change);
    }

    /// Sends a write on this session, if it was not abandoned.
    pub(super) async fn send_once(
        &self,
        session: &PooledSession,
        write: &Write,
        claim: &Claim,
    ) -> Result<Done, WriteError> {
        self.0.send_once(session, write, claim).await
    }
}

impl LoneWriter {
    fn make_wait(&self, change: &mut Change) -> Result<(), Error> {
        if !change.waits {
            change.reply.hold(self.queues.room()?);
            change.waits = true;
        }
        Ok(())
    }

    /// Sends it when it is its turn, and again while another session has the key locked. A write that has
    /// to wait makes room for other calls.
    async fn send(&self, change: &mut Change) -> Result<Done, Error> {
        let queue = self.queues.join(&change.write.key);
        let mut turn = match queue.try_turn() {
            Some(turn) => turn,
            None => {
                self.make_wait(change)?;
                let turn = timeout_at(change.deadline, queue.turn()).await;
                turn.map_err(|_| Error::Locked)?
            }
        };
        let mut gaps = Gaps::default();
        loop {
            let place = self.place(turn.is_locked, change.deadline).await?;
            // The request has an answer by then, and must not get another one; nor is a session taken
            // from those that do wait.
            if change.reply.is_gone() {
                return Err(Error::Silent);
            }
            let session = self.sessions.acquire(true).await.map_err(Error::Failed)?;
            let begun = Instant::now();
            let done = self.send_once(&session, &change.write, &change.claim).await;
            let failed = failure_of(&done);
            self.sessions.put_back(session, failed);
            drop(place);
            turn.is_locked = failed == Some(Failure::Locked);
            if !turn.is_locked || Instant::now() >= change.deadline {
                return done.map_err(Error::from);
            }
            change.claim.give_back();
            self.make_wait(change)?;
            sleep_until(begun + gaps.next()).await;
        }
    }

    /// Where the key is known to be locked, a place to try it once more.
    async fn place(&self, is_locked: bool, deadline: Instant) -> Result<Option<Place<'_>>, Error> {
        if !is_locked {
            return Ok(None);
        }
        let place = timeout_at(deadline, self.queues.place()).await;
        place.map_err(|_| Error::Locked)
    }

    async fn send_once(
        &self,
        session: &PooledSession,
        change: &Write,
        claim: &Claim,
    ) -> Result<Done, WriteError> {
        let done = write(session, change, claim, OnLocked::Fail);
        match timeout(self.sessions.time().0, done).await {
            Ok(done) => done,
            Err(_) if claim.abandon() => Err(WriteError::NotWritten(silent())),
            Err(_) => Err(WriteError::Unknown(silent())),
        }
    }
}

/// What a write failed for, as far as the session is concerned.
pub(super) fn failure_of<T>(done: &Result<T, WriteError>) -> Option<Failure> {
    match done {
        Err(WriteError::Unknown(_)) => Some(Failure::Unknown),
        Err(WriteError::NotWritten(error)) => Some(Failure::of(error)),
        Err(WriteError::Abandoned | WriteError::Contended | WriteError::Ignored) | Ok(_) => None,
    }
}
