//! Writes. On PostgreSQL those that arrive while others are under way are committed together, each
//! with its own outcome; elsewhere, and where somebody else has the key locked, each goes alone.

use std::{mem, sync::Arc, time::Duration};

use entity::{
    Engine,
    failure::{Failure, failure},
    pool::Held,
    write::{Claim, Done, Locked, Outcome, Write, WriteError, write, write_together},
};
use prometheus::Histogram;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout},
};

use crate::{
    config::Config,
    database::{self, Line, Waiting, silent},
    gather::{Batch, Call, Gather, Limits},
    locked_keys::LockedKeys,
    metrics::Metrics,
    problem::Problem,
};

/// The most writes of one statement, and of their bytes.
const TOGETHER: Limits = Limits {
    calls: 128,
    bytes: 4 << 20,
};

#[derive(Clone)]
pub struct Writes(Arc<Inner>);

struct Inner {
    line: Arc<Line>,
    /// How long a write waits for somebody else's lock.
    lock_time: Duration,
    locked: LockedKeys,
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
    /// At most `calls` wait for keys that are locked.
    pub fn new(line: Arc<Line>, config: &Config, calls: usize, metrics: &Metrics) -> Self {
        let connections = config.database_max_connections as usize;
        let engine = config.database_url().engine();
        let batches = connections.div_ceil(4);
        Self(Arc::new(Inner {
            line,
            lock_time: config.lock_time(),
            locked: LockedKeys::new(engine, connections, calls),
            batches: metrics.write_batches.clone(),
            gather: (engine == Engine::Postgres).then(|| Gather::new(TOGETHER, batches)),
        }))
    }

    /// How many wait for a lock.
    pub fn locked(&self) -> usize {
        self.0.locked.writes()
    }

    /// A 503 if nothing was written, a 504 if that is not known.
    pub async fn write(&self, write: Write) -> Result<Outcome, Problem> {
        let inner = &self.0;
        let claim = Arc::new(Claim::new());
        let (waiting, told) = Waiting::new();
        let change = Change {
            write,
            claim: claim.clone(),
            waiting,
            permit: inner.line.enter()?,
        };
        match &inner.gather {
            Some(gather) if !inner.locked.knows(&change.write.key) => {
                if let Some(batch) = gather.add(change) {
                    inner.clone().start(batch);
                }
            }
            _ => inner.clone().alone(change),
        }
        match timeout(inner.line.timeout, told).await {
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
                let changes = mem::take(&mut batch.calls);
                self.batches.observe(changes.len() as f64);
                let together = self.clone().together(changes);
                gather
                    .watch(together, |late| self.clone().start(late))
                    .await;
                next = gather.ended(&batch);
            }
        });
    }

    /// Commits all of them at once. Those that cannot be go on alone.
    async fn together(self: Arc<Self>, changes: Vec<Change>) {
        let held = match self.line.acquire().await {
            Ok(held) => held,
            Err(error) => return fail(changes, &WriteError::NotWritten(error)),
        };
        // Only now, that there is a connection. Who gave up in the meantime has been answered.
        let changes: Vec<Change> = changes.into_iter().filter(|c| c.claim.take()).collect();
        let done = self.send(&held, &changes).await;
        self.line.put_back(held, is_broken(&done));
        match done {
            Ok(done) => {
                for (change, done) in changes.into_iter().zip(done) {
                    match done {
                        Some(done) => change.waiting.done(done.outcome(change.write)),
                        None => self.clone().alone_again(change),
                    }
                }
            }
            Err(WriteError::NotWritten(error))
                if matches!(failure(&error), Failure::Locked | Failure::RolledBack) =>
            {
                for change in changes {
                    self.clone().alone_again(change);
                }
            }
            Err(error) => fail(changes, &error),
        }
    }

    async fn send(&self, held: &Held, changes: &[Change]) -> Result<Vec<Option<Done>>, WriteError> {
        match changes {
            [] => Ok(Vec::new()),
            [only] => {
                let done = self.send_one(held, &only.write, &only.claim, Locked::GiveUp);
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
        held: &Held,
        change: &Write,
        claim: &Claim,
        locked: Locked,
    ) -> Result<Done, WriteError> {
        let done = timeout(self.line.timeout, write(held, change, claim, locked)).await;
        done.unwrap_or_else(|_| Err(WriteError::Unknown(silent())))
    }

    /// The server has definitely taken it back.
    fn alone_again(self: Arc<Self>, change: Change) {
        change.claim.give_back();
        self.alone(change);
    }

    fn alone(self: Arc<Self>, change: Change) {
        let Change {
            write,
            claim,
            waiting,
            permit,
        } = change;
        tokio::spawn(async move {
            match self.send_alone(&write, &claim, permit).await {
                Ok(Ok(done)) => waiting.done(done.outcome(write)),
                Ok(Err(error)) => waiting.failed(|| Problem::from(&error)),
                Err(problem) => waiting.failed(|| problem),
            }
        });
    }

    /// Sends it once nobody else has the key locked. Who has to wait makes room for other calls.
    async fn send_alone(
        &self,
        change: &Write,
        claim: &Claim,
        permit: OwnedSemaphorePermit,
    ) -> Result<Result<Done, WriteError>, Problem> {
        let deadline = Instant::now() + self.lock_time;
        let mut permit = Some(permit);
        let mut waiting = self.locked.wait_if_locked(&change.key)?;
        loop {
            let place = match &waiting {
                Some(waiting) => {
                    drop(permit.take());
                    Some(waiting.place().await)
                }
                None => None,
            };
            // Nobody waits for it any more: do not take a connection from those who do wait.
            if claim.is_abandoned() {
                return Ok(Err(WriteError::Abandoned));
            }
            let held = match self.line.acquire().await {
                Ok(held) => held,
                Err(error) => return Ok(Err(WriteError::NotWritten(error))),
            };
            if waiting.is_none() {
                // It may have been found locked while this one waited for a connection.
                waiting = self.locked.wait_if_locked(&change.key)?;
                if waiting.is_some() {
                    held.give_back();
                    continue;
                }
            }
            let locked = match &waiting {
                Some(_) => Locked::Wait,
                None => Locked::GiveUp,
            };
            let done = self.send_one(&held, change, claim, locked).await;
            self.line.put_back(held, is_broken(&done));
            drop(place);
            match done {
                Err(WriteError::NotWritten(error))
                    if failure(&error) == Failure::Locked && Instant::now() < deadline =>
                {
                    if waiting.is_none() {
                        waiting = Some(self.locked.wait(&change.key)?);
                    }
                    claim.give_back();
                }
                done => return Ok(done),
            }
        }
    }
}

/// Whether the connection is of no use any more.
fn is_broken<T>(done: &Result<T, WriteError>) -> bool {
    match done {
        Err(WriteError::Unknown(_)) => true,
        Err(WriteError::NotWritten(error)) => database::is_broken(error),
        Err(WriteError::Abandoned | WriteError::Contended) | Ok(_) => false,
    }
}

fn fail(changes: Vec<Change>, error: &WriteError) {
    for change in changes {
        change.waiting.failed(|| Problem::from(error));
    }
}
