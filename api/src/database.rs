//! The database as the handlers see it: every call with a deadline, in a task of its own.
//!
//! A task of its own, because a client that hangs up drops its handler, and a statement dropped
//! half way may leave its connection in a transaction. The task goes on to its end, which the
//! server's timeouts bound.

use std::{future::Future, sync::Arc, time::Duration};

use entity::{
    Item, Key,
    failure::{Failure, failure},
    list::{self, Listing, Page},
    read,
    write::{Claim, Outcome, Write, write},
};
use sea_orm::{DatabaseConnection, DbErr};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tracing::Instrument;

use crate::{config::Config, problem::Problem};

/// How many calls may wait for each connection before more are turned away. A connection answers
/// thousands of calls a second, so these wait far less than the shortest sensible deadline.
const CALLS_PER_CONNECTION: usize = 128;

#[derive(Clone)]
pub struct Database {
    pool: DatabaseConnection,
    timeout: Duration,
    calls: Arc<Semaphore>,
}

impl Database {
    pub fn new(pool: DatabaseConnection, config: &Config) -> Self {
        let calls = config.database_max_connections as usize * CALLS_PER_CONNECTION;
        Self {
            pool,
            timeout: config.request_timeout,
            calls: Arc::new(Semaphore::new(calls)),
        }
    }

    pub fn pool(&self) -> &DatabaseConnection {
        &self.pool
    }

    pub async fn find(&self, key: Key) -> Result<Option<Item>, Problem> {
        let key = Arc::new(key);
        self.read(move |pool| {
            let key = key.clone();
            async move { read::find(&pool, key.as_str()).await }
        })
        .await
    }

    pub async fn list(&self, listing: Listing) -> Result<Page, Problem> {
        let listing = Arc::new(listing);
        self.read(move |pool| {
            let listing = listing.clone();
            async move { list::list(&pool, &listing).await }
        })
        .await
    }

    /// A 503 if nothing was written, a 504 if that is not known.
    pub async fn write(&self, change: Write) -> Result<Outcome, Problem> {
        let permit = self.enter()?;
        let claim = Arc::new(Claim::new());
        let (pool, taken) = (self.pool.clone(), claim.clone());
        let task = spawn(permit, async move { write(&pool, change, &taken).await });
        match timeout(self.timeout, task).await {
            Ok(done) => done
                .ok_or_else(Problem::outcome_unknown)?
                .map_err(Problem::from),
            Err(_) if claim.abandon() => Err(Problem::database_silent()),
            Err(_) => Err(Problem::outcome_unknown()),
        }
    }

    /// Reads, once more if the connection turned out to be broken.
    async fn read<T, F>(
        &self,
        query: impl Fn(DatabaseConnection) -> F + Send + 'static,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DbErr>> + Send,
    {
        let permit = self.enter()?;
        let pool = self.pool.clone();
        let task = spawn(permit, async move {
            match query(pool.clone()).await {
                Err(error) if failure(&error) == Failure::Unknown => query(pool).await,
                done => done,
            }
        });
        match timeout(self.timeout, task).await {
            Ok(done) => done
                .ok_or_else(Problem::internal)?
                .map_err(|error| Problem::not_written(&error)),
            Err(_) => Err(Problem::database_silent()),
        }
    }

    fn enter(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let permit = self.calls.clone().try_acquire_owned();
        permit.map_err(|_| Problem::overloaded())
    }
}

/// Runs the call to its end, whoever still waits for it. `None` if it panicked.
async fn spawn<T: Send + 'static>(
    permit: OwnedSemaphorePermit,
    call: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let call = async move {
        let done = call.await;
        drop(permit);
        done
    };
    tokio::spawn(call.in_current_span()).await.ok()
}
