//! What all calls of the database go through: how many may wait, the pool of sessions, and what a
//! session that fails means for the others.
//!
//! A call runs in a task of its own, because a client that hangs up drops its handler, and a statement
//! dropped half way may leave its session in a transaction. The task goes on to its end. A session that
//! does not answer even to it is given up, and no call gets it again.

use std::{future::Future, io, sync::Arc};

use database::{Connector, Failure, Pool, PooledSession, Session};
use sea_orm::{DbErr, RuntimeErr, sqlx};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

use super::{
    error::Error,
    outage::Outage,
    reply::{Incoming, LogUnheard, Reply},
    settings::{RequestTime, StoreSettings},
};

/// How many calls may wait for each connection before more are turned away. A connection answers
/// thousands of calls a second, so these wait far less than the shortest sensible deadline.
const CALLS_PER_CONNECTION: usize = 128;

/// How often a read is sent again whose session turned out broken. While sessions are killed one after
/// the other, the next ones may be among them.
const READ_RETRIES: u32 = 4;

/// What can be asked again.
pub(crate) trait ReadQuery: Sync {
    type Answer;
    /// Whether its statement is planned once, for whatever values it is sent with.
    const PLANNED_ONCE: bool;

    fn ask(&self, session: &Session) -> impl Future<Output = Result<Self::Answer, DbErr>> + Send;
}

pub(crate) struct Sessions {
    pool: Pool,
    time: RequestTime,
    outage: Outage,
    calls: Arc<Semaphore>,
    /// For calls that come several at once.
    batched_calls: Arc<Semaphore>,
    most_calls: usize,
    log_unheard: LogUnheard,
}

impl Sessions {
    /// # Errors
    /// The URL asks for something the driver does not know.
    pub(crate) fn new(settings: &StoreSettings, log_unheard: LogUnheard) -> Result<Self, DbErr> {
        let connector = Connector::new(&settings.url, &settings.session())?;
        let most_calls = settings.connections as usize * CALLS_PER_CONNECTION;
        Ok(Self {
            pool: Pool::new(connector, settings.connections, settings.time.session()),
            time: settings.time,
            outage: Outage::default(),
            calls: Arc::new(Semaphore::new(most_calls)),
            batched_calls: Arc::new(Semaphore::new(most_calls)),
            most_calls,
            log_unheard,
        })
    }

    /// Has `submit` get one more call done, and waits for its answer until `deadline`.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if too many calls wait, [`Error::Silent`] if there was no answer in time,
    /// [`Error::Lost`] if there will be none, or the call's own failure.
    pub(crate) async fn call<T>(
        &self,
        deadline: Instant,
        submit: impl FnOnce(Reply<T>),
    ) -> Result<T, Error> {
        let permit = self.calls.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Error::Overloaded)?;
        self.answer(deadline, Some(permit), submit).await
    }

    /// Does the same for a call that must have its answer also while too many others wait.
    ///
    /// # Errors
    /// See [`Self::call`].
    pub(crate) async fn call_unbounded<T>(
        &self,
        deadline: Instant,
        submit: impl FnOnce(Reply<T>),
    ) -> Result<T, Error> {
        self.answer(deadline, None, submit).await
    }

    /// Does the same for several calls, each of which has an answer of its own. They wait until all of them are let in,
    /// beside calls that come alone, which do not wait for that.
    pub(crate) async fn call_each<T>(
        &self,
        deadline: Instant,
        count: usize,
        submit: impl FnOnce(Vec<Reply<T>>),
    ) -> Vec<Result<T, Error>> {
        let all = u32::try_from(count).unwrap_or(u32::MAX);
        let last = deadline - self.time.after_waiting();
        let permits = self.batched_calls.clone().acquire_many_owned(all);
        let Ok(Ok(mut permits)) = timeout_at(last, permits).await else {
            return (0..count).map(|_| Err(Error::Overloaded)).collect();
        };
        let replies = (0..count).map(|_| Reply::new(deadline, permits.split(1), self.log_unheard));
        let (replies, incoming): (Vec<_>, Vec<_>) = replies.unzip();
        submit(replies);
        let mut answers = Vec::with_capacity(count);
        for answer in incoming {
            answers.push(heard(deadline, answer).await);
        }
        answers
    }

    async fn answer<T>(
        &self,
        deadline: Instant,
        permit: Option<OwnedSemaphorePermit>,
        submit: impl FnOnce(Reply<T>),
    ) -> Result<T, Error> {
        let (reply, answer) = Reply::new(deadline, permit, self.log_unheard);
        submit(reply);
        heard(deadline, answer).await
    }

    /// Reads, and again, a few times, if the session turned out to be broken, or while another session
    /// has the table locked.
    ///
    /// # Errors
    /// What the database said.
    pub(crate) async fn read<Q: ReadQuery>(&self, query: &Q) -> Result<Q::Answer, DbErr> {
        let begun = Instant::now();
        let mut retries = 0;
        loop {
            let session = self.acquire(Q::PLANNED_ONCE).await?;
            let done = self.in_time(query.ask(&session)).await;
            let failed = done.as_ref().err().map(Failure::of);
            self.put_back(session, failed);
            match failed {
                Some(Failure::Unknown | Failure::NoConnection)
                    if retries < READ_RETRIES && begun.elapsed() < self.time.0 =>
                {
                    retries += 1;
                }
                Some(Failure::Locked) if begun.elapsed() < self.time.lock() => {}
                _ => return done,
            }
        }
    }

    /// Gives a statement the time of one try.
    ///
    /// # Errors
    /// The statement's own, or that there was no answer in time.
    pub(crate) async fn in_time<T>(
        &self,
        statement: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        let done = timeout(self.time.0, statement).await;
        done.unwrap_or_else(|_| Err(silent()))
    }

    /// A session that no other call has meanwhile; see [`Pool::acquire`].
    ///
    /// # Errors
    /// See [`Pool::acquire`].
    pub(crate) async fn acquire(&self, plans_once: bool) -> Result<PooledSession, DbErr> {
        let session = self.pool.acquire(plans_once).await;
        session.inspect_err(|error| self.outage.failed(error))
    }

    /// After a call, and what it failed for if it did.
    pub(crate) fn put_back(&self, session: PooledSession, failed: Option<Failure>) {
        match failed {
            Some(Failure::Unknown | Failure::NoConnection) => {
                self.outage.failed(&"a connection broke or fell silent");
                self.pool.distrust_idle();
            }
            Some(Failure::ReadOnly) => {
                self.outage.answered();
                session.replace();
            }
            _ => {
                self.outage.answered();
                session.give_back();
            }
        }
    }

    /// After a look that succeeded and that no request asked for: the session counts as idle since before it.
    pub(super) fn put_back_unused(&self, session: PooledSession) {
        self.outage.answered();
        session.give_back_unused();
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(crate) fn time(&self) -> RequestTime {
        self.time
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.outage.is_lost()
    }

    pub(crate) fn most_calls(&self) -> usize {
        self.most_calls
    }

    /// The calls that were let in and have no answer yet.
    pub(crate) fn calls(&self) -> usize {
        let available = |calls: &Semaphore| self.most_calls - calls.available_permits();
        available(&self.calls) + available(&self.batched_calls)
    }
}

/// The answer, if it comes in time.
async fn heard<T>(deadline: Instant, answer: Incoming<T>) -> Result<T, Error> {
    match timeout_at(deadline, answer).await {
        Ok(Ok(answer)) => answer.map_err(|unheard| unheard.heard()),
        Ok(Err(_)) => Err(Error::Lost),
        Err(_) => Err(Error::Silent),
    }
}

/// A session did not answer in time.
pub(super) fn silent() -> DbErr {
    let error = io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
    DbErr::Query(RuntimeErr::SqlxError(sqlx::Error::Io(error).into()))
}
