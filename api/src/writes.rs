//! Writes. On PostgreSQL those that arrive while others are under way are committed together, each
//! with its own outcome. Elsewhere, where somebody else has a key locked, and where one of them keeps
//! the others from being done, each goes alone.

use std::{collections::HashSet, mem, sync::Arc, time::Duration};

use database::{Engine, Failure, PooledSession};
use entity::{
    Key,
    write::{Claim, Done, OnLocked, Outcome, Write, WriteError, write, write_together},
};
use prometheus::Histogram;
use sea_orm::DbErr;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until, timeout, timeout_at},
};

use crate::{
    config::Config,
    database::{Line, Waiting, silent},
    gather::{Batch, Call, Gather, Limits, unless_it_panics},
    key_queues::KeyQueues,
    metrics::Metrics,
    problem::Problem,
};

/// The most writes of one statement.
const MOST_WRITES: usize = 128;
/// The most bytes of their keys and values.
const MOST_BYTES: usize = 4 << 20;

/// A key that is locked is tried again after 2 ms, then after 4 ms and so on, up to this.
const LONGEST_GAP: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub struct Writes(Arc<Inner>);

struct Inner {
    line: Arc<Line>,
    queues: KeyQueues,
    /// Where the engine takes writes together.
    gather: Option<Gather<Change>>,
    /// How many were sent together.
    batches: Histogram,
}

struct Change {
    write: Write,
    claim: Arc<Claim>,
    waiting: Waiting<Outcome>,
    permit: OwnedSemaphorePermit,
    /// Until when it is tried again while somebody else has its key locked.
    deadline: Instant,
}

impl Call for Change {
    fn excludes(&self) -> Option<&str> {
        Some(self.write.key.as_str())
    }

    fn bytes(&self) -> usize {
        self.write.key.as_str().len() + self.write.value().len()
    }
}

impl Writes {
    /// At most `calls` wait for their keys.
    pub fn new(line: Arc<Line>, config: &Config, calls: usize, metrics: &Metrics) -> Self {
        let connections = config.database_max_connections as usize;
        let engine = config.database_url().engine();
        let limits = Limits {
            calls: MOST_WRITES,
            bytes: MOST_BYTES,
            batches: connections.div_ceil(4),
            // The disk is slower than anything that could be done meanwhile.
            beside: None,
        };
        Self(Arc::new(Inner {
            line,
            queues: KeyQueues::new(engine, connections, calls),
            batches: metrics.write_batches.clone(),
            gather: (engine == Engine::Postgres).then(|| Gather::new(limits)),
        }))
    }

    /// How many wait for their keys.
    pub fn waiting(&self) -> usize {
        self.0.queues.waiting()
    }

    /// A 503 if nothing was written, a 504 if that is not known.
    pub async fn write(&self, write: Write, deadline: Instant) -> Result<Outcome, Problem> {
        let inner = &self.0;
        let claim = Arc::new(Claim::new());
        let (waiting, told) = Waiting::new();
        let change = Change {
            write,
            claim: claim.clone(),
            waiting,
            permit: inner.line.enter()?,
            deadline: deadline.min(Instant::now() + inner.line.lock_time),
        };
        match &inner.gather {
            Some(gather) if !inner.queues.has(&change.write.key) => {
                if let Some(batch) = gather.add(change) {
                    inner.clone().start(batch);
                }
            }
            _ => inner.clone().alone(change),
        }
        match timeout_at(deadline, told).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Problem::outcome_unknown()),
            Err(_) if claim.abandon() => Err(Problem::database_silent()),
            Err(_) => Err(Problem::outcome_unknown()),
        }
    }
}

impl Inner {
    fn start(self: Arc<Self>, batch: Batch<Change>) {
        tokio::spawn(async move {
            let Some(gather) = &self.gather else {
                return;
            };
            let mut next = Some(batch);
            while let Some(mut batch) = next {
                if batch.unwatched {
                    self.clone().watch();
                }
                let changes = mem::take(&mut batch.calls);
                self.batches.observe(changes.len() as f64);
                unless_it_panics(self.clone().together(changes)).await;
                next = gather.ended(&batch);
            }
        });
    }

    fn watch(self: Arc<Self>) {
        tokio::spawn(async move {
            if let Some(gather) = &self.gather {
                let start = |batch| self.clone().start(batch);
                gather.watch(start).await;
            }
        });
    }

    /// Commits all of them at once. Those that cannot be go on alone.
    async fn together(self: Arc<Self>, changes: Vec<Change>) {
        let held = match self.line.acquire().await {
            Ok(held) => held,
            Err(error) => return fail(changes, &WriteError::NotWritten(error)),
        };
        if let Err(error) = self.lend(&held).await {
            self.line.put_back(held, Some(Failure::of(&error)));
            return fail(changes, &WriteError::NotWritten(error));
        }
        // Only now, that there is a connection. Who gave up in the meantime has been answered.
        let changes: Vec<Change> = changes.into_iter().filter(|c| c.claim.take()).collect();
        let done = self.send(&held, &changes).await;
        self.line.put_back(held, failure_of(&done));
        match done {
            Ok(done) => {
                for (change, done) in changes.into_iter().zip(done) {
                    match done {
                        Some(done) => change.waiting.done(done.outcome(change.write)),
                        None => self.clone().alone_again(change),
                    }
                }
            }
            Err(WriteError::NotWritten(error)) if is_of_one(Failure::of(&error), changes.len()) => {
                let same = match Failure::of(&error) {
                    Failure::Locked => self.of_same_keys(&changes),
                    _ => Vec::new(),
                };
                for change in changes {
                    self.clone().alone_again(change);
                }
                for change in same {
                    self.clone().alone(change);
                }
            }
            Err(error) => fail(changes, &error),
        }
    }

    /// Those that wait to be sent together with others, for one of the keys of which some are locked.
    fn of_same_keys(&self, changes: &[Change]) -> Vec<Change> {
        let keys: HashSet<&Key> = changes.iter().map(|change| &change.write.key).collect();
        let gather = self.gather.as_ref();
        gather.map_or_else(Vec::new, |gather| {
            gather.take_back(|change| keys.contains(&change.write.key))
        })
    }

    async fn lend(&self, held: &PooledSession) -> Result<(), DbErr> {
        let lent = timeout(self.line.timeout, held.begin_pooled()).await;
        lent.unwrap_or_else(|_| Err(silent()))
    }

    async fn send(
        &self,
        held: &PooledSession,
        changes: &[Change],
    ) -> Result<Vec<Option<Done>>, WriteError> {
        match changes {
            [] => Ok(Vec::new()),
            [only] => {
                let done = self.send_one(held, &only.write, &only.claim);
                done.await.map(|done| vec![Some(done)])
            }
            several => {
                let writes: Vec<&Write> = several.iter().map(|change| &change.write).collect();
                let done = timeout(self.line.timeout, write_together(held, &writes)).await;
                done.unwrap_or_else(|_| Err(WriteError::Unknown(silent())))
            }
        }
    }

    async fn send_one(
        &self,
        held: &PooledSession,
        change: &Write,
        claim: &Claim,
    ) -> Result<Done, WriteError> {
        let done = write(held, change, claim, OnLocked::Fail);
        match timeout(self.line.timeout, done).await {
            Ok(done) => done,
            Err(_) if claim.abandon() => Err(WriteError::NotWritten(silent())),
            Err(_) => Err(WriteError::Unknown(silent())),
        }
    }

    /// The server has definitely taken it back.
    fn alone_again(self: Arc<Self>, change: Change) {
        change.claim.give_back();
        self.alone(change);
    }

    fn alone(self: Arc<Self>, mut change: Change) {
        tokio::spawn(async move {
            match self.send_alone(&mut change).await {
                Ok(Ok(done)) => change.waiting.done(done.outcome(change.write)),
                Ok(Err(error)) => change.waiting.failed(|| Problem::from(&error)),
                Err(problem) => change.waiting.failed(|| problem),
            }
        });
    }

    /// Sends it when it is its turn, and again while somebody else has the key locked. Who has to wait
    /// makes room for other calls.
    async fn send_alone(&self, change: &mut Change) -> Result<Result<Done, WriteError>, Problem> {
        let Change {
            write,
            claim,
            waiting,
            permit,
            deadline,
        } = change;
        let queued = self.queues.join(&write.key);
        let free = queued.try_lock().ok();
        let mut waits = free.is_none();
        let mut turn = match free {
            Some(turn) => turn,
            None => {
                self.queues.make_room(permit)?;
                let turn = timeout_at(*deadline, queued.lock()).await;
                turn.map_err(|_| Problem::locked())?
            }
        };
        let mut gap = Duration::from_millis(2);
        loop {
            let place = if *turn {
                let place = timeout_at(*deadline, self.queues.place()).await;
                Some(place.map_err(|_| Problem::locked())?)
            } else {
                None
            };
            // Whoever asked has an answer, and must not get another one; nor is a connection taken
            // from those who do wait.
            if waiting.is_gone() {
                return Ok(Err(WriteError::Abandoned));
            }
            let held = match self.line.acquire().await {
                Ok(held) => held,
                Err(error) => return Ok(Err(WriteError::NotWritten(error))),
            };
            let begun = Instant::now();
            let done = self.send_one(&held, write, claim).await;
            self.line.put_back(held, failure_of(&done));
            drop(place);
            *turn = failure_of(&done) == Some(Failure::Locked);
            if !*turn || Instant::now() >= *deadline {
                return Ok(done);
            }
            claim.give_back();
            if !waits {
                self.queues.make_room(permit)?;
                waits = true;
            }
            sleep_until(begun + gap).await;
            gap = LONGEST_GAP.min(2 * gap);
        }
    }
}

/// Whether one of so many is why all of them were taken back.
fn is_of_one(failure: Failure, writes: usize) -> bool {
    match failure {
        Failure::Locked | Failure::RolledBack => true,
        // A trigger, a constraint or a right of the database's owner; or it needs more than is left.
        Failure::Refused | Failure::Duplicate | Failure::NoRoom => writes > 1,
        // Also what the server cancelled: there is no time left to send each alone.
        _ => false,
    }
}

fn failure_of<T>(done: &Result<T, WriteError>) -> Option<Failure> {
    match done {
        Err(WriteError::Unknown(_)) => Some(Failure::Unknown),
        Err(WriteError::NotWritten(error)) => Some(Failure::of(error)),
        Err(WriteError::Abandoned | WriteError::Contended) | Ok(_) => None,
    }
}

fn fail(changes: Vec<Change>, error: &WriteError) {
    for change in changes {
        change.waiting.failed(|| Problem::from(error));
    }
}
