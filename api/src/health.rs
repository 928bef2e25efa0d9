//! Whether the process runs, and whether it can serve.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use migration::migrate;
use poem::{IntoResponse, Response, handler, web::Data};
use sea_orm::DatabaseConnection;
use tokio::{
    sync::{Mutex, watch},
    time::timeout,
};

use crate::{problem::Problem, server::Phase};

/// How long an answer about the database is good for.
const CACHED_FOR: Duration = Duration::from_secs(1);

/// Asks the database, at most once a second, whether it answers and is migrated.
pub struct Readiness {
    pool: DatabaseConnection,
    timeout: Duration,
    phase: watch::Receiver<Phase>,
    last: Mutex<Option<(Instant, Result<(), NotReady>)>>,
}

/// Why the database cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
enum NotReady {
    Silent,
    /// So many migrations are missing.
    Pending(usize),
}

impl Readiness {
    pub fn new(pool: DatabaseConnection, timeout: Duration, phase: watch::Receiver<Phase>) -> Self {
        Self {
            pool,
            timeout,
            phase,
            last: Mutex::new(None),
        }
    }

    async fn check(&self) -> Result<(), Problem> {
        if *self.phase.borrow() != Phase::Serving {
            return Err(Problem::shutting_down());
        }
        self.database().await.map_err(|reason| match reason {
            NotReady::Silent => Problem::database_unavailable("The database does not answer."),
            NotReady::Pending(count) => Problem::database_unavailable(format!(
                "The database is not migrated ({count} migrations are missing): run kvctl migrate."
            )),
        })
    }

    /// Whoever comes while the database is being asked waits for that answer.
    async fn database(&self) -> Result<(), NotReady> {
        let mut last = self.last.lock().await;
        if let Some((at, answer)) = &*last
            && at.elapsed() < CACHED_FOR
        {
            return answer.clone();
        }
        let answer = self.ask().await;
        *last = Some((Instant::now(), answer.clone()));
        answer
    }

    async fn ask(&self) -> Result<(), NotReady> {
        let pool = self.pool.clone();
        // In a task of its own: see the module `database`.
        let asked = tokio::spawn(async move { migrate::status(&pool).await });
        match timeout(self.timeout, asked).await {
            Ok(Ok(Ok(status))) => match status.pending().count() {
                0 => Ok(()),
                count => Err(NotReady::Pending(count)),
            },
            Ok(Ok(Err(error))) => {
                tracing::warn!(%error, "not ready");
                Err(NotReady::Silent)
            }
            Ok(Err(_)) | Err(_) => Err(NotReady::Silent),
        }
    }
}

#[handler]
pub(crate) fn livez() -> Response {
    ok()
}

#[handler]
pub(crate) async fn readyz(Data(readiness): Data<&Arc<Readiness>>) -> Response {
    match readiness.check().await {
        Ok(()) => ok(),
        Err(problem) => problem.into_response(),
    }
}

fn ok() -> Response {
    Response::builder()
        .content_type("application/json")
        .body(r#"{"status":"ok"}"#)
}
