//! The database as the handlers see it: every call with a deadline, in a task of its own.
//!
//! A task of its own, because a client that hangs up drops its handler, and a statement dropped
//! half way may leave its connection in a transaction. The task goes on to its end; a connection
//! that does not answer even to it is given up, and nobody gets it again.
//!
//! Reads of keys, and on PostgreSQL writes, are sent many at once: see [`crate::gather`].

use std::{future::Future, io, sync::Arc, time::Duration};

use database::{Connector, Engine, Failure, Pool, PooledSession, Session, SessionSettings};
use entity::{
    Item, Key,
    read::{self, Listing, Page},
    write::{Outcome, Write},
};
use migration::Status;
use sea_orm::{DbErr, RuntimeErr, sqlx};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::{Instant, timeout},
};

use crate::{
    config::Config,
    lists::{Asked, Lists, PageText},
    metrics::Metrics,
    outage::Outage,
    problem::Problem,
    reads::Reads,
    request_id::{self, RequestId},
    writes::Writes,
};

/// How many calls may wait for each connection before more are turned away. A connection answers
/// thousands of calls a second, so these wait far less than the shortest sensible deadline.
const CALLS_PER_CONNECTION: usize = 128;

/// How often a read is sent again whose connection turned out broken. While sessions are killed
/// one after the other, also the next ones may be among them.
const READ_RETRIES: u32 = 4;

/// How long one try of a call waits for a lock before it makes room for others; see
/// [`crate::key_queues`].
const LOCK_TRY: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub struct Database {
    line: Arc<Line>,
    reads: Reads,
    writes: Writes,
    lists: Lists,
}

/// How kvd's sessions are set up.
pub fn session_settings(config: &Config) -> SessionSettings {
    SessionSettings {
        // Below the deadline of a request, so that the server ends what nobody waits for any more.
        statement_timeout: Some(config.request_timeout.mul_f64(0.8)),
        lock_timeout: match config.database_url().engine() {
            Engine::Postgres | Engine::Sqlite => LOCK_TRY,
            // In whole seconds.
            Engine::MySql => Duration::from_secs(1),
        },
        create_file: false,
        application_name: "kvd",
    }
}

impl Database {
    /// # Errors
    /// The URL asks for something the driver does not know.
    pub fn new(config: &Config, metrics: &Metrics) -> Result<Self, DbErr> {
        let size = config.database_max_connections;
        let calls = size as usize * CALLS_PER_CONNECTION;
        let connector = Connector::new(config.database_url(), &session_settings(config))?;
        let line = Arc::new(Line {
            // What waited longer would have no time left to be done.
            pool: Pool::new(connector, size, config.request_timeout.mul_f64(0.8)),
            timeout: config.request_timeout,
            lock_time: config.lock_time(),
            outage: Outage::default(),
            calls: Arc::new(Semaphore::new(calls)),
            most_calls: calls,
        });
        Ok(Self {
            reads: Reads::new(line.clone(), config, metrics),
            writes: Writes::new(line.clone(), config, calls, metrics),
            lists: Lists::new(line.clone(), config),
            line,
        })
    }

    /// What all calls go through.
    pub fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// The writes that wait for their keys.
    pub fn locked_writes(&self) -> usize {
        self.writes.waiting()
    }

    pub async fn find(&self, key: Key) -> Result<Option<Item>, Problem> {
        self.reads.find(key).await
    }

    /// A 503 if nothing was written, a 504 if that is not known.
    pub async fn write(&self, change: Write, deadline: Instant) -> Result<Outcome, Problem> {
        self.writes.write(change, deadline).await
    }

    pub async fn list(&self, asked: Asked) -> Result<PageText, Problem> {
        self.lists.list(asked).await
    }

    /// The migrations, asked for also while many calls wait.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn migrations(&self) -> Result<Status, Problem> {
        let line = self.line.clone();
        let status = async move { line.read(&Migrations).await };
        self.line.ask(status).await
    }
}

/// What can be asked again.
pub trait Query: Sync {
    type Answer;

    fn ask(&self, session: &Session) -> impl Future<Output = Result<Self::Answer, DbErr>> + Send;
}

impl Query for Listing {
    type Answer = Page;

    async fn ask(&self, session: &Session) -> Result<Page, DbErr> {
        read::list(session, self).await
    }
}

struct Migrations;

impl Query for Migrations {
    type Answer = Status;

    async fn ask(&self, session: &Session) -> Result<Status, DbErr> {
        migration::status(session).await
    }
}

/// What all calls go through.
pub struct Line {
    pub pool: Pool,
    pub timeout: Duration,
    /// How long a call waits for somebody else's lock.
    pub lock_time: Duration,
    outage: Outage,
    calls: Arc<Semaphore>,
    most_calls: usize,
}

impl Line {
    /// The right of one more call to wait.
    ///
    /// # Errors
    /// Too many wait.
    pub fn enter(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let permit = self.calls.clone().try_acquire_owned();
        permit.map_err(|_| Problem::overloaded())
    }

    /// Reads to the end in a task of its own, and waits for it as long as a request may take.
    async fn ask<T: Send + 'static>(
        &self,
        read: impl Future<Output = Result<T, DbErr>> + Send + 'static,
    ) -> Result<T, Problem> {
        let task = tokio::spawn(request_id::keep(read));
        match timeout(self.timeout, task).await {
            Ok(Ok(done)) => done.map_err(|error| Problem::not_written(&error)),
            Ok(Err(_)) => Err(Problem::internal()),
            Err(_) => Err(Problem::database_silent()),
        }
    }

    /// Reads, and again, a few times, if the connection turned out to be broken, and for
    /// [`Self::lock_time`] while somebody else has the table locked.
    ///
    /// # Errors
    /// What the database said.
    pub async fn read<Q: Query>(&self, query: &Q) -> Result<Q::Answer, DbErr> {
        let begun = Instant::now();
        let mut retries = 0;
        loop {
            let held = self.acquire().await?;
            let done = timeout(self.timeout, query.ask(&held)).await;
            let done = done.unwrap_or_else(|_| Err(silent()));
            let failed = done.as_ref().err().map(Failure::of);
            self.put_back(held, failed);
            match failed {
                Some(Failure::Unknown | Failure::NoConnection)
                    if retries < READ_RETRIES && begun.elapsed() < self.timeout =>
                {
                    retries += 1;
                }
                Some(Failure::Locked) if begun.elapsed() < self.lock_time => {}
                _ => return done,
            }
        }
    }

    /// A connection.
    ///
    /// # Errors
    /// See [`Pool::acquire`].
    pub async fn acquire(&self) -> Result<PooledSession, DbErr> {
        let held = self.pool.acquire().await;
        held.inspect_err(|error| self.outage.failed(error))
    }

    /// After a call, and what it failed for if it did.
    pub fn put_back(&self, held: PooledSession, failed: Option<Failure>) {
        match failed {
            Some(Failure::Unknown | Failure::NoConnection) => {
                self.outage.failed(&"a connection broke or fell silent");
                self.pool.distrust_idle();
            }
            Some(Failure::ReadOnly) => {
                self.outage.answered();
                held.replace();
            }
            _ => {
                self.outage.answered();
                held.give_back();
            }
        }
    }

    pub fn is_lost(&self) -> bool {
        self.outage.is_lost()
    }

    /// The calls that were let in and have no answer yet.
    pub fn calls(&self) -> usize {
        self.most_calls - self.calls.available_permits()
    }
}

/// A connection did not answer in time.
pub fn silent() -> DbErr {
    let error = io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
    DbErr::Query(RuntimeErr::SqlxError(sqlx::Error::Io(error).into()))
}

/// Where the request waits that made a call.
pub struct Waiting<T> {
    answer: oneshot::Sender<Result<T, Problem>>,
    request: Option<RequestId>,
}

impl<T> Waiting<T> {
    pub fn new() -> (Self, oneshot::Receiver<Result<T, Problem>>) {
        let (answer, told) = oneshot::channel();
        let request = RequestId::current();
        (Self { answer, request }, told)
    }

    /// The client hung up, or its time was up.
    pub fn is_gone(&self) -> bool {
        self.answer.is_closed()
    }

    pub fn done(self, answer: T) {
        self.tell(Ok(answer));
    }

    /// A problem is logged with the request's id where it is made.
    pub fn failed(mut self, problem: impl FnOnce() -> Problem) {
        let problem = match self.request.take() {
            Some(id) => id.in_scope(problem),
            None => problem(),
        };
        self.tell(Err(problem));
    }

    fn tell(self, answer: Result<T, Problem>) {
        let _ = self.answer.send(answer);
    }
}
