//! Writes. Those that arrive while others are under way are committed together, each with its own outcome. A
//! write goes alone where another session has its key locked, and where one of several keeps the others from
//! being done.
//!
//! SQLite has one lock for all keys. While other software has it, all writes wait together.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use database::{Engine, Failure, PooledSession};
use entity::{
    Key,
    write::{Atomic, Claim, Done, KeyOperation, Outcome, Write, WriteError, write_together},
};
use prometheus::Histogram;
use tokio::time::{Instant, sleep, timeout};

use super::{
    atomic_batch::AtomicBatch,
    batch::{Call, Limits},
    batcher::{Batcher, Work},
    error::Error,
    lone_writes::{Change, Gaps, KeptMemory, LoneWrites, WritingCall, failure_of},
    reply::Reply,
    sessions::{Sessions, silent},
    settings::StoreSettings,
    write_turns::WriteTurns,
};

/// The most writes of one statement.
const MOST_WRITES: usize = 128;
/// The most bytes of their keys and values.
const MOST_BYTES: usize = 4 << 20;

#[derive(Clone)]
pub(super) struct Writes {
    sessions: Arc<Sessions>,
    alone: LoneWrites,
    batcher: Batcher<Commit>,
    /// Whether a batch waits for the lock of all keys.
    all_locked: Arc<AtomicBool>,
}

impl Call for Change {
    fn conflict_key(&self) -> Option<&str> {
        Some(self.write.key.as_str())
    }

    fn bytes(&self) -> usize {
        self.write.key.as_str().len() + self.write.value().len()
    }
}

impl Writes {
    pub(super) fn new(
        sessions: Arc<Sessions>,
        turns: WriteTurns,
        settings: &StoreSettings,
        sizes: Histogram,
    ) -> Self {
        let engine = settings.url.engine();
        let connections = settings.connections as usize;
        let limits = Limits {
            calls: MOST_WRITES,
            bytes: MOST_BYTES,
            batches: match engine {
                Engine::Sqlite => 1,
                Engine::Postgres | Engine::MySql => connections.div_ceil(4),
            },
            // One has the processors while the other waits for the disk.
            at_once: 2,
            beside: None,
        };
        let alone = LoneWrites::new(sessions.clone(), turns.clone(), engine, connections);
        let all_locked = Arc::new(AtomicBool::new(false));
        let commit = Commit {
            sessions: sessions.clone(),
            alone: alone.clone(),
            turns,
            locks_all: engine == Engine::Sqlite,
            all_locked: all_locked.clone(),
        };
        Self {
            sessions,
            alone,
            batcher: Batcher::new(limits, sizes, commit),
            all_locked,
        }
    }

    /// How many wait for their keys.
    pub(super) fn waiting(&self) -> usize {
        self.alone.waiting()
    }

    pub(super) async fn write(
        &self,
        write: Write,
        memory: Option<KeptMemory>,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let claim = Arc::new(Claim::new());
        let submit = |reply| {
            let call = self.call(claim.clone(), reply, memory, deadline);
            self.submit([Change { write, call }]);
        };
        let answer = self.sessions.call(deadline, submit).await;
        told(answer, &claim)
    }

    /// The same for each of several writes, of different keys.
    pub(super) async fn write_each(
        &self,
        writes: Vec<Write>,
        mut memory: impl FnMut() -> Option<KeptMemory>,
        deadline: Instant,
    ) -> Vec<Result<Outcome, Error>> {
        let claims: Vec<Arc<Claim>> = writes.iter().map(|_| Arc::new(Claim::new())).collect();
        let count = writes.len();
        let submit = |replies: Vec<_>| {
            let changes = writes.into_iter().zip(&claims).zip(replies);
            self.submit(changes.map(|((write, claim), reply)| Change {
                write,
                call: self.call(claim.clone(), reply, memory(), deadline),
            }));
        };
        let answers = self.sessions.call_each(deadline, count, submit).await;
        let answers = answers.into_iter().zip(&claims);
        answers.map(|(answer, claim)| told(answer, claim)).collect()
    }

    /// Does all of the operations, or none. A value of more than `most_value_bytes` bytes is not read.
    pub(super) async fn write_atomically(
        &self,
        operations: Arc<Vec<KeyOperation>>,
        most_value_bytes: usize,
        memory: Option<KeptMemory>,
        deadline: Instant,
    ) -> Result<Atomic, Error> {
        let claim = Arc::new(Claim::new());
        let submit = |reply| {
            let call = self.call(claim.clone(), reply, memory, deadline);
            let batch = AtomicBatch {
                operations,
                most_value_bytes,
            };
            self.alone.send_all(batch, call);
        };
        let answer = self.sessions.call(deadline, submit).await;
        told(answer, &claim)
    }

    fn call<T>(
        &self,
        claim: Arc<Claim>,
        reply: Reply<T>,
        memory: Option<KeptMemory>,
        deadline: Instant,
    ) -> WritingCall<T> {
        WritingCall {
            claim,
            reply,
            waits: false,
            deadline: deadline.min(Instant::now() + self.sessions.time().lock()),
            _memory: memory,
        }
    }

    /// Has the changes committed together with others, but for those that are to go alone.
    fn submit(&self, changes: impl IntoIterator<Item = Change>) {
        let mut together = Vec::new();
        for mut change in changes {
            if self.alone.has(&change.write.key) {
                self.alone.send(change);
                continue;
            }
            if self.all_locked.load(Ordering::Relaxed)
                && let Err(error) = self.alone.make_wait(&mut change.call)
            {
                change.call.reply.failed(error);
                continue;
            }
            together.push(change);
        }
        self.batcher.submit(together);
    }
}

/// What is told of a write that has this answer.
fn told<T>(answer: Result<T, Error>, claim: &Claim) -> Result<T, Error> {
    match answer {
        Err(Error::Lost) => Err(Error::Unknown(None)),
        Err(Error::Silent) if !claim.abandon() => Err(Error::Unknown(None)),
        answer => answer,
    }
}

/// Commits the writes of a batch at once.
struct Commit {
    sessions: Arc<Sessions>,
    alone: LoneWrites,
    turns: WriteTurns,
    /// Whether a lock is of all keys.
    locks_all: bool,
    all_locked: Arc<AtomicBool>,
}

impl Work for Commit {
    type Call = Change;
    type Answers = ();

    async fn send(&self, changes: Vec<Change>, batcher: &Batcher<Self>) {
        let mut gaps = Gaps::default();
        let mut left = self.send_once(changes, batcher).await;
        while !left.is_empty() {
            self.all_locked.store(true, Ordering::Relaxed);
            left = self.still_wait(left);
            sleep(gaps.next()).await;
            left = self.send_once(left, batcher).await;
        }
        self.all_locked.store(false, Ordering::Relaxed);
    }

    fn answer(&self, (): ()) {}
}

impl Commit {
    /// Those that cannot be committed with the others go on alone. Returns those that wait for the lock of all keys.
    async fn send_once(&self, changes: Vec<Change>, batcher: &Batcher<Self>) -> Vec<Change> {
        let turn = self.turns.turn().await;
        let session = match self.begin().await {
            Ok(session) => session,
            Err(error) => return fail(changes, &error),
        };
        // A request that gave up in the meantime has its answer.
        let is_wanted = |change: &Change| !change.call.claim.is_abandoned();
        let changes: Vec<Change> = changes.into_iter().filter(is_wanted).collect();
        let begun = Instant::now();
        let done = self.commit(&session, &changes).await;
        let failed = failure_of(&done);
        // Of all of them, if it is the statement's own time that was over.
        let in_time = begun.elapsed() < self.sessions.time().statement() / 2;
        self.sessions.put_back(session, failed);
        drop(turn);
        match done {
            Ok(done) => {
                for (change, done) in changes.into_iter().zip(done) {
                    match done {
                        Some(Ok(done)) => change.done(done),
                        Some(Err(error)) => change.call.reply.failed(error.into()),
                        None => self.alone.send_again(change),
                    }
                }
                Vec::new()
            }
            Err(WriteError::NotWritten(_)) if failed == Some(Failure::Locked) && self.locks_all => {
                changes
            }
            Err(WriteError::NotWritten(_))
                if failed.is_some_and(|failed| is_of_one(failed, changes.len(), in_time)) =>
            {
                self.send_each_alone(changes, failed, batcher);
                Vec::new()
            }
            Err(error) => fail(changes, &error.into()),
        }
    }

    fn send_each_alone(
        &self,
        changes: Vec<Change>,
        failed: Option<Failure>,
        batcher: &Batcher<Self>,
    ) {
        let same = match failed {
            Some(Failure::Locked) => of_same_keys(&changes, batcher),
            _ => Vec::new(),
        };
        for change in changes {
            self.alone.send_again(change);
        }
        for change in same {
            self.alone.send(change);
        }
    }

    /// Those that have time left to wait for a lock, and room. The others are told.
    fn still_wait(&self, changes: Vec<Change>) -> Vec<Change> {
        let mut waiting = Vec::new();
        for mut change in changes {
            change.call.claim.give_back();
            if change.call.reply.is_gone() {
                continue;
            }
            let may_wait = match Instant::now() < change.call.deadline {
                true => self.alone.make_wait(&mut change.call),
                false => Err(Error::Locked),
            };
            match may_wait {
                Ok(()) => waiting.push(change),
                Err(error) => change.call.reply.failed(error),
            }
        }
        waiting
    }

    /// A session that is ready to send a statement.
    async fn begin(&self) -> Result<PooledSession, Error> {
        let session = self.sessions.acquire(true).await.map_err(Error::Failed)?;
        match self.sessions.in_time(session.begin_pooled()).await {
            Ok(()) => Ok(session),
            Err(error) => {
                self.sessions.put_back(session, Some(Failure::of(&error)));
                Err(Error::Failed(error))
            }
        }
    }

    async fn commit(
        &self,
        session: &PooledSession,
        changes: &[Change],
    ) -> Result<Vec<Option<Result<Done, WriteError>>>, WriteError> {
        match changes {
            [] => Ok(Vec::new()),
            [only] => {
                let done = self.alone.send_once(session, &only.write, &only.call.claim);
                done.await.map(|done| vec![Some(Ok(done))])
            }
            several => {
                let writes: Vec<&Write> = several.iter().map(|change| &change.write).collect();
                let done = write_together(session, &writes, || claim_all(several));
                match timeout(self.sessions.time().0, done).await {
                    Ok(done) => done,
                    Err(_) if several.iter().all(|change| change.call.claim.abandon()) => {
                        Err(WriteError::NotWritten(silent()))
                    }
                    Err(_) => Err(WriteError::Unknown(silent())),
                }
            }
        }
    }
}

/// Claims all of them, or none.
fn claim_all(changes: &[Change]) -> bool {
    let claimed = changes.iter().take_while(|change| change.call.claim.take());
    let claimed = claimed.count();
    if claimed < changes.len() {
        for change in &changes[..claimed] {
            change.call.claim.give_back();
        }
    }
    claimed == changes.len()
}

/// Those that wait to be sent together with others, for one of the keys of which some are locked.
fn of_same_keys(changes: &[Change], batcher: &Batcher<Commit>) -> Vec<Change> {
    let keys: HashSet<&Key> = changes.iter().map(|change| &change.write.key).collect();
    batcher.take_back(|change| keys.contains(&change.write.key))
}

/// Whether one of several writes is why all of them were taken back.
fn is_of_one(failure: Failure, writes: usize, in_time: bool) -> bool {
    match failure {
        Failure::Locked | Failure::RolledBack => true,
        // A trigger, a constraint, a policy, or a right that only some writes need; or one of them
        // needs more than is left.
        Failure::Refused
        | Failure::NoRight
        | Failure::Unreadable
        | Failure::Duplicate
        | Failure::NoRoom => writes > 1,
        // By a trigger, if there is time left to send each alone.
        Failure::Cancelled => writes > 1 && in_time,
        Failure::NoConnection | Failure::ReadOnly | Failure::NotMigrated | Failure::Unknown => {
            false
        }
    }
}

/// None of them is left.
fn fail(changes: Vec<Change>, error: &Error) -> Vec<Change> {
    for change in changes {
        change.call.reply.failed(error.clone());
    }
    Vec::new()
}
