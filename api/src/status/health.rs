//! Whether the process runs, and whether it can serve.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use database::Failure;
use migration::MissingRight;
use poem::{IntoResponse, Response, handler, web::Data};
use tokio::sync::{Mutex, watch};

use crate::{
    http::{Code, Problem, log_failure, sentence},
    net::Phase,
    store::{Error, Lacks, Store},
    telemetry::within_request,
};

/// How long an answer about the database is good for.
const CACHED_FOR: Duration = Duration::from_secs(1);

/// Asks the database, at most once a second, whether it answers and is migrated.
pub(crate) struct Readiness {
    store: Store,
    /// The table of tokens is needed, too.
    asks_tokens: bool,
    phase: watch::Receiver<Phase>,
    last: Arc<Mutex<Last>>,
}

type Answer = Result<(), NotReady>;

/// When the database answered, and what.
type Last = Option<(Instant, Answer)>;

/// Why the database cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
enum NotReady {
    Silent,
    /// It does not let kvd in, or does not let it read.
    Refused,
    /// The user of the database lacks these rights.
    NoRights(Vec<MissingRight>),
    /// This many migrations are missing.
    Pending(usize),
}

impl Readiness {
    pub(crate) fn new(store: Store, asks_tokens: bool, phase: watch::Receiver<Phase>) -> Self {
        Self {
            store,
            asks_tokens,
            phase,
            last: Arc::default(),
        }
    }

    async fn check(&self) -> Result<(), Problem> {
        if *self.phase.borrow() != Phase::Serving {
            return Err(Problem::new(Code::Overloaded, "kvd is shutting down."));
        }
        let answer = last_or_next(self.last.clone(), ask(self.store.clone(), self.asks_tokens));
        answer
            .await
            .map_err(|reason| Problem::new(Code::DatabaseUnavailable, reason.detail()))
    }
}

impl NotReady {
    fn detail(self) -> String {
        match self {
            Self::Silent => "The database does not answer.".to_owned(),
            Self::Refused => {
                "The database user has no right to connect to the database, or to read it."
                    .to_owned()
            }
            Self::NoRights(missing) => {
                let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
                sentence(missing.join(", "))
            }
            Self::Pending(count) => format!(
                "The database is not migrated ({count} migrations are missing): run kvctl migrate."
            ),
        }
    }
}

/// The last answer, if it is good, else the next one. Requests that come meanwhile wait for that.
async fn last_or_next(
    last: Arc<Mutex<Last>>,
    ask: impl Future<Output = Answer> + Send + 'static,
) -> Answer {
    let mut last = last.lock_owned().await;
    if let Some((at, answer)) = &*last
        && at.elapsed() < CACHED_FOR
    {
        return answer.clone();
    }
    // In a task of its own: a client that hangs up must not take the answer along.
    let asked = async move {
        let answer = ask.await;
        *last = Some((Instant::now(), answer.clone()));
        answer
    };
    tokio::spawn(within_request(asked))
        .await
        .unwrap_or(Err(NotReady::Silent))
}

async fn ask(store: Store, asks_tokens: bool) -> Answer {
    match store.lacks(asks_tokens).await {
        Ok(Lacks::Nothing) => Ok(()),
        Ok(Lacks::Rights(missing)) => Err(NotReady::NoRights(missing)),
        Ok(Lacks::Migrations(count)) => Err(NotReady::Pending(count)),
        Err(error) => {
            log_failure(&error);
            Err(match error {
                Error::Failed(cause) if Failure::of(&cause) == Failure::NoRight => {
                    NotReady::Refused
                }
                _ => NotReady::Silent,
            })
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn the_answer_is_kept_also_if_its_client_hangs_up() {
        let last = Arc::default();
        let (tell, told) = oneshot::channel();
        let mut asking = Box::pin(last_or_next(Arc::clone(&last), async {
            told.await.unwrap()
        }));
        assert!(asking.as_mut().now_or_never().is_none());
        drop(asking);
        let again = tokio::spawn(last_or_next(last, async { panic!("it was asked already") }));
        tell.send(Err(NotReady::Pending(1))).unwrap();
        assert_eq!(again.await.unwrap(), Err(NotReady::Pending(1)));
    }
}
