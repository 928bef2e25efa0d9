//! Writes that are sent alone, each in the queue of its key.

use std::{future::Future, sync::Arc, time::Duration};

use database::{Engine, Failure, PooledSession, Session};
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
    write_turns::WriteTurns,
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

/// A call that writes, which may have to wait for locks of other sessions.
pub(super) struct WritingCall<T> {
    pub claim: Arc<Claim>,
    pub reply: Reply<T>,
    /// Whether it has the right to wait for a lock.
    pub waits: bool,
    /// Until when it is tried again while another session has locked what it writes.
    pub deadline: Instant,
    /// That of what it writes.
    pub _memory: Option<KeptMemory>,
}

/// A write, and what its request is told of it.
pub(super) struct Change {
    pub write: Write,
    pub call: WritingCall<Outcome>,
}

impl Change {
    pub(super) fn done(self, done: Done) {
        self.call.reply.done(done.outcome(self.write));
    }
}

/// What a call sends, once for each try.
pub(super) trait Attempt: Sync {
    type Done: Send;

    fn send(
        &self,
        session: &Session,
        claim: &Claim,
    ) -> impl Future<Output = Result<Self::Done, WriteError>> + Send;
}

impl Attempt for Write {
    type Done = Done;

    async fn send(&self, session: &Session, claim: &Claim) -> Result<Done, WriteError> {
        write(session, self, claim, OnLocked::Fail).await
    }
}

#[derive(Clone)]
pub(super) struct LoneWrites(Arc<LoneWriter>);

struct LoneWriter {
    sessions: Arc<Sessions>,
    queues: KeyQueues,
    turns: WriteTurns,
}

impl LoneWrites {
    pub(super) fn new(
        sessions: Arc<Sessions>,
        turns: WriteTurns,
        engine: Engine,
        connections: usize,
    ) -> Self {
        let queues = KeyQueues::new(engine, connections, sessions.most_calls());
        Self(Arc::new(LoneWriter {
            sessions,
            queues,
            turns,
        }))
    }

    /// How many wait for their keys.
    pub(super) fn waiting(&self) -> usize {
        self.0.queues.waiting()
    }

    /// Whether a write of the key is sent alone, or waits to be.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.0.queues.has(key)
    }

    /// Gives the call the right to wait for a lock, in place of that to wait for a session.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if too many calls wait.
    pub(super) fn make_wait<T>(&self, call: &mut WritingCall<T>) -> Result<(), Error> {
        self.0.make_wait(call)
    }

    pub(super) fn send(&self, mut change: Change) {
        let writer = self.0.clone();
        tokio::spawn(async move {
            match writer.send_in_turn(&mut change).await {
                Ok(done) => change.done(done),
                Err(error) => change.call.reply.failed(error),
            }
        });
    }

    /// Sends a write that the server has definitely taken back.
    pub(super) fn send_again(&self, change: Change) {
        change.call.claim.give_back();
        self.send(change);
    }

    /// Sends what writes several keys and so waits in the queue of none.
    pub(super) fn send_all<A: Attempt + Send + 'static>(
        &self,
        attempt: A,
        mut call: WritingCall<A::Done>,
    ) {
        let writer = self.0.clone();
        tokio::spawn(async move {
            let done = writer.send(&attempt, &mut call, &mut false).await;
            drop(attempt);
            call.reply.conclude(done);
        });
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
    fn make_wait<T>(&self, call: &mut WritingCall<T>) -> Result<(), Error> {
        if !call.waits {
            call.reply.hold(self.queues.room()?);
            call.waits = true;
        }
        Ok(())
    }

    /// Sends a write when it is its turn.
    async fn send_in_turn(&self, Change { write, call }: &mut Change) -> Result<Done, Error> {
        let queue = self.queues.join(&write.key);
        let mut turn = match queue.try_turn() {
            Some(turn) => turn,
            None => {
                self.make_wait(call)?;
                let turn = timeout_at(call.deadline, queue.turn()).await;
                turn.map_err(|_| Error::Locked)?
            }
        };
        self.send(write, call, &mut turn.is_locked).await
    }

    /// Sends it, and again while another session has locked what it writes. A call that has to wait makes room for
    /// others.
    async fn send<A: Attempt, T>(
        &self,
        attempt: &A,
        call: &mut WritingCall<T>,
        is_locked: &mut bool,
    ) -> Result<A::Done, Error> {
        let mut gaps = Gaps::default();
        loop {
            let place = self.place(*is_locked, call.deadline).await?;
            // The request has an answer by then, and must not get another one; nor is a session taken
            // from those that do wait.
            if call.reply.is_gone() {
                return Err(Error::Silent);
            }
            let turn = self.turns.turn().await;
            let session = self.sessions.acquire(true).await.map_err(Error::Failed)?;
            let begun = Instant::now();
            let done = self.send_once(&session, attempt, &call.claim).await;
            let failed = failure_of(&done);
            self.sessions.put_back(session, failed);
            drop((turn, place));
            *is_locked = failed == Some(Failure::Locked);
            if !*is_locked || Instant::now() >= call.deadline {
                return done.map_err(Error::from);
            }
            call.claim.give_back();
            self.make_wait(call)?;
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

    async fn send_once<A: Attempt>(
        &self,
        session: &PooledSession,
        attempt: &A,
        claim: &Claim,
    ) -> Result<A::Done, WriteError> {
        match timeout(self.sessions.time().0, attempt.send(session, claim)).await {
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
