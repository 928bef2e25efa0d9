//! Writes. On PostgreSQL those that arrive while others are under way are committed together, each
//! with its own outcome. A write goes alone on the other engines, where another session has its key
//! locked, and where one of several keeps the others from being done.

use std::{collections::HashSet, sync::Arc};

use database::{Engine, Failure, PooledSession};
use entity::{
    Key,
    write::{Claim, Done, Outcome, Write, WriteError, write_together},
};
use prometheus::Histogram;
use tokio::time::{Instant, timeout};

use super::{
    batch_queue::{Call, Limits},
    batcher::{Batcher, Work},
    error::Error,
    lone_writes::{Change, KeptMemory, LoneWrites, failure_of},
    sessions::{Sessions, silent},
    settings::StoreSettings,
};

/// The most writes of one statement.
const MOST_WRITES: usize = 128;
/// The most bytes of their keys and values.
const MOST_BYTES: usize = 4 << 20;

#[derive(Clone)]
pub(super) struct Writes {
    sessions: Arc<Sessions>,
    alone: LoneWrites,
    /// Where the engine takes writes together.
    batcher: Option<Batcher<Commit>>,
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
    pub(super) fn new(sessions: Arc<Sessions>, settings: &StoreSettings, sizes: Histogram) -> Self {
        let engine = settings.url.engine();
        let connections = settings.connections as usize;
        let limits = Limits {
            calls: MOST_WRITES,
            bytes: MOST_BYTES,
            batches: connections.div_ceil(4),
            // The disk is slower than anything that could be done meanwhile.
            beside: None,
        };
        let alone = LoneWrites::new(sessions.clone(), engine, connections);
        let commit = Commit {
            sessions: sessions.clone(),
            alone: alone.clone(),
        };
        Self {
            sessions,
            alone,
            batcher: (engine == Engine::Postgres).then(|| Batcher::new(limits, sizes, commit)),
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
            let change = Change {
                write,
                _memory: memory,
                claim: claim.clone(),
                reply,
                deadline: deadline.min(Instant::now() + self.sessions.time().lock()),
            };
            match &self.batcher {
                Some(batcher) if !self.alone.has(&change.write.key) => batcher.submit(change),
                _ => self.alone.send(change),
            }
        };
        match self.sessions.call(deadline, submit).await {
            Err(Error::Lost) => Err(Error::Unknown(None)),
            Err(Error::Silent) if !claim.abandon() => Err(Error::Unknown(None)),
            answer => answer,
        }
    }
}

/// Commits the writes of a batch at once.
struct Commit {
    sessions: Arc<Sessions>,
    alone: LoneWrites,
}

impl Work for Commit {
    type Call = Change;
    type Answers = ();

    /// Those that cannot be committed with the others go on alone.
    async fn send(&self, changes: Vec<Change>, batcher: &Batcher<Self>) {
        let session = match self.begin().await {
            Ok(session) => session,
            Err(error) => return fail(changes, &error),
        };
        // Only now, that there is a session. A request that gave up in the meantime has its answer.
        let changes: Vec<Change> = changes.into_iter().filter(|c| c.claim.take()).collect();
        let begun = Instant::now();
        let done = self.commit(&session, &changes).await;
        let failed = failure_of(&done);
        // Of all of them, if it is the statement's own time that was over.
        let in_time = begun.elapsed() < self.sessions.time().statement() / 2;
        self.sessions.put_back(session, failed);
        match done {
            Ok(done) => {
                for (change, done) in changes.into_iter().zip(done) {
                    match done {
                        Some(done) => change.done(done),
                        None => self.alone.send_again(change),
                    }
                }
            }
            Err(WriteError::NotWritten(_))
                if failed.is_some_and(|failed| is_of_one(failed, changes.len(), in_time)) =>
            {
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
            Err(error) => fail(changes, &error.into()),
        }
    }

    fn answer(&self, (): ()) {}
}

impl Commit {
    /// A session that is ready to send a statement.
    async fn begin(&self) -> Result<PooledSession, Error> {
        let session = self.sessions.acquire().await.map_err(Error::Failed)?;
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
    ) -> Result<Vec<Option<Done>>, WriteError> {
        match changes {
            [] => Ok(Vec::new()),
            [only] => {
                let done = self.alone.send_once(session, &only.write, &only.claim);
                done.await.map(|done| vec![Some(done)])
            }
            several => {
                let writes: Vec<&Write> = several.iter().map(|change| &change.write).collect();
                let done = timeout(self.sessions.time().0, write_together(session, &writes)).await;
                done.unwrap_or_else(|_| Err(WriteError::Unknown(silent())))
            }
        }
    }
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

fn fail(changes: Vec<Change>, error: &Error) {
    for change in changes {
        change.reply.failed(error.clone());
    }
}
