//! Whether the process runs, and whether it can serve.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use poem::{IntoResponse, Response, handler, web::Data};
use tokio::sync::{Mutex, watch};

use crate::{database::Database, problem::Problem, server::Phase};

/// How long an answer about the database is good for.
const CACHED_FOR: Duration = Duration::from_secs(1);

/// Asks the database, at most once a second, whether it answers and is migrated.
pub struct Readiness {
    database: Database,
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
    pub fn new(database: Database, phase: watch::Receiver<Phase>) -> Self {
        Self {
            database,
            phase,
            last: Mutex::new(None),
        }
    }

    async fn check(&self) -> Result<(), Problem> {
        if *self.phase.borrow() != Phase::Serving {
            return Err(Problem::shutting_down());
        }
        self.last_answer().await.map_err(|reason| match reason {
            NotReady::Silent => Problem::database_unavailable("The database does not answer."),
            NotReady::Pending(count) => Problem::database_unavailable(format!(
                "The database is not migrated ({count} migrations are missing): run kvctl migrate."
            )),
        })
    }

    /// Whoever comes while the database is being asked waits for that answer.
    async fn last_answer(&self) -> Result<(), NotReady> {
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
        // What was wrong is in the log.
        let status = self.database.migrations().await;
        match status.map_err(|_| NotReady::Silent)?.pending().count() {
            0 => Ok(()),
            count => Err(NotReady::Pending(count)),
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
