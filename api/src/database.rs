//! The database as the handlers see it: every call with a deadline, in a task of its own.
//!
//! A task of its own, because a client that hangs up drops its handler, and a statement dropped
//! half way may leave its connection in a transaction. The task goes on to its end; a connection
//! that does not answer even to it is given up, and nobody gets it again.

use std::{future::Future, io, sync::Arc, time::Duration};

use entity::{
    Engine, Item, Key,
    database::{Connector, SessionSettings},
    failure::{Failure, failure},
    list::{self, Listing, Page},
    pool::{Held, Pool},
    read,
    session::Session,
    write::{Claim, Done, Locked, Outcome, Write, WriteError, write},
};
use futures_util::{FutureExt, future::BoxFuture};
use migration::migrate::{self, Status};
use sea_orm::{DbErr, RuntimeErr, sqlx};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tracing::Instrument;

use crate::{config::Config, locked_keys::LockedKeys, problem::Problem};

/// How many calls may wait for each connection before more are turned away. A connection answers
/// thousands of calls a second, so these wait far less than the shortest sensible deadline.
const CALLS_PER_CONNECTION: usize = 128;

/// How often a read is sent again whose connection turned out broken. While sessions are killed
/// one after the other, also the next connection may be one of them.
const READ_RETRIES: u32 = 2;

/// How long one try of a write waits for a lock before it makes room for others; see the module
/// `locked_keys`.
const LOCK_TRY: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub struct Database(Arc<Inner>);

struct Inner {
    pool: Pool,
    timeout: Duration,
    /// How long a write waits for somebody else's lock.
    lock_time: Duration,
    calls: Arc<Semaphore>,
    locked: LockedKeys,
}

/// How kvd's sessions are set up.
pub fn session_settings(config: &Config) -> SessionSettings {
    SessionSettings {
        // Below the deadline of a request, so that the server ends what nobody waits for any more.
        statement_timeout: Some(config.request_timeout.mul_f64(0.8)),
        lock_timeout: match config.database_url().engine() {
            Engine::Postgres => LOCK_TRY,
            // In whole seconds.
            Engine::MySql => Duration::from_secs(1),
            Engine::Sqlite => config.lock_time(),
        },
        create_file: false,
        application_name: "kvd",
    }
}

impl Database {
    /// # Errors
    /// The URL asks for something the driver does not know.
    pub fn new(config: &Config) -> Result<Self, DbErr> {
        let size = config.database_max_connections;
        let calls = size as usize * CALLS_PER_CONNECTION;
        let connector = Connector::new(config.database_url(), &session_settings(config))?;
        Ok(Self(Arc::new(Inner {
            // What waited longer would have no time left to be done.
            pool: Pool::new(connector, size, config.request_timeout.mul_f64(0.8)),
            timeout: config.request_timeout,
            lock_time: config.lock_time(),
            calls: Arc::new(Semaphore::new(calls)),
            locked: LockedKeys::new(config.database_url().engine(), size as usize, calls),
        })))
    }

    pub fn pool(&self) -> &Pool {
        &self.0.pool
    }

    pub async fn find(&self, key: Key) -> Result<Option<Item>, Problem> {
        let key = Arc::new(key);
        self.read(move |session| {
            let key = key.clone();
            async move { read::find(session, key.as_str()).await }.boxed()
        })
        .await
    }

    pub async fn list(&self, listing: Listing) -> Result<Page, Problem> {
        let listing = Arc::new(listing);
        self.read(move |session| {
            let listing = listing.clone();
            async move { list::list(session, &listing).await }.boxed()
        })
        .await
    }

    /// A 503 if nothing was written, a 504 if that is not known.
    pub async fn write(&self, change: Write) -> Result<Outcome, Problem> {
        let permit = self.enter()?;
        let claim = Arc::new(Claim::new());
        let (inner, taken) = (self.0.clone(), claim.clone());
        let task = spawn(async move { inner.write(permit, change, &taken).await });
        match timeout(self.0.timeout, task).await {
            Ok(done) => done.ok_or_else(Problem::outcome_unknown)?,
            Err(_) if claim.abandon() => Err(Problem::database_silent()),
            Err(_) => Err(Problem::outcome_unknown()),
        }
    }

    /// Reads, once more if the connection turned out to be broken.
    async fn read<T, Q>(&self, query: Q) -> Result<T, Problem>
    where
        T: Send + 'static,
        Q: for<'a> Fn(&'a Session) -> BoxFuture<'a, Result<T, DbErr>> + Send + Sync + 'static,
    {
        let permit = self.enter()?;
        self.ask(Some(permit), query).await
    }

    /// The migrations, asked for also while many calls wait.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn migrations(&self) -> Result<Status, Problem> {
        self.ask(None, |session| migrate::status(session).boxed())
            .await
    }

    async fn ask<T, Q>(&self, permit: Option<OwnedSemaphorePermit>, query: Q) -> Result<T, Problem>
    where
        T: Send + 'static,
        Q: for<'a> Fn(&'a Session) -> BoxFuture<'a, Result<T, DbErr>> + Send + Sync + 'static,
    {
        let inner = self.0.clone();
        let task = spawn(async move {
            let begun = Instant::now();
            let mut done = inner.read(&query).await;
            for _ in 0..READ_RETRIES {
                match &done {
                    Err(error)
                        if failure(error) == Failure::Unknown
                            && begun.elapsed() < inner.timeout =>
                    {
                        done = inner.read(&query).await;
                    }
                    _ => break,
                }
            }
            drop(permit);
            done
        });
        match timeout(self.0.timeout, task).await {
            Ok(done) => done
                .ok_or_else(Problem::internal)?
                .map_err(|error| Problem::not_written(&error)),
            Err(_) => Err(Problem::database_silent()),
        }
    }

    fn enter(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let permit = self.0.calls.clone().try_acquire_owned();
        permit.map_err(|_| Problem::overloaded())
    }
}

impl Inner {
    /// Writes once nobody else has the key locked. Who has to wait makes room for other calls.
    async fn write(
        &self,
        permit: OwnedSemaphorePermit,
        change: Write,
        claim: &Claim,
    ) -> Result<Outcome, Problem> {
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
                return Err(WriteError::Abandoned.into());
            }
            let held = self.pool.acquire().await.map_err(WriteError::NotWritten)?;
            if waiting.is_none() {
                // It may have been found locked while this one waited for a connection.
                waiting = self.locked.wait_if_locked(&change.key)?;
                if waiting.is_some() {
                    continue;
                }
            }
            let locked = match &waiting {
                Some(_) => Locked::Wait,
                None => Locked::GiveUp,
            };
            let done = self.attempt(held, &change, claim, locked).await;
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
                done => return Ok(done?.outcome(change)),
            }
        }
    }

    async fn attempt(
        &self,
        held: Held,
        change: &Write,
        claim: &Claim,
        locked: Locked,
    ) -> Result<Done, WriteError> {
        match timeout(self.timeout, write(&held, change, claim, locked)).await {
            Ok(done) => {
                let broken = match &done {
                    Err(WriteError::Unknown(_)) => true,
                    Err(WriteError::NotWritten(error)) => failure(error) == Failure::Unknown,
                    Err(WriteError::Abandoned | WriteError::Contended) | Ok(_) => false,
                };
                self.put_back(held, broken);
                done
            }
            Err(_) => {
                self.put_back(held, true);
                Err(WriteError::Unknown(silent()))
            }
        }
    }

    async fn read<T>(
        &self,
        query: impl for<'a> Fn(&'a Session) -> BoxFuture<'a, Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        let held = self.pool.acquire().await?;
        let done = timeout(self.timeout, query(&held)).await;
        let broken = match &done {
            Ok(Ok(_)) => false,
            Ok(Err(error)) => failure(error) == Failure::Unknown,
            Err(_) => true,
        };
        self.put_back(held, broken);
        done.unwrap_or_else(|_| Err(silent()))
    }

    fn put_back(&self, held: Held, broken: bool) {
        if broken {
            self.pool.distrust_idle();
        } else {
            held.give_back();
        }
    }
}

fn silent() -> DbErr {
    let error = io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
    DbErr::Query(RuntimeErr::SqlxError(sqlx::Error::Io(error).into()))
}

/// Runs the call to its end, whoever still waits for it. `None` if it panicked.
async fn spawn<T: Send + 'static>(call: impl Future<Output = T> + Send + 'static) -> Option<T> {
    tokio::spawn(call.in_current_span()).await.ok()
}
