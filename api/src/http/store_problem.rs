//! What a failure of the store means to a client. This is the only place that turns one into a status,
//! and that logs it.

use database::Failure;

use super::{failed::Failed, memory::NoMemory, problem::Problem, problem_code::Code};
use crate::{
    store::Error,
    telemetry::{about_request, target},
};

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        log_failure(&error);
        problem_of(&error)
    }
}

impl From<NoMemory> for Error {
    fn from(NoMemory: NoMemory) -> Self {
        Self::Overloaded
    }
}

impl<O> From<Error> for Failed<O> {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}

/// Logs what the database said, if it said anything, with the id of the current request.
pub(crate) fn log_failure(error: &Error) {
    let code = problem_of(error).code.as_str();
    let (cause, is_known) = match error {
        Error::Failed(cause) => (cause, true),
        Error::Unknown(Some(cause)) => (cause, false),
        Error::Ignored => {
            let error = "a trigger, a rule or a policy ignored the write";
            about_request(|| tracing::error!(target: target::DATABASE, error, code, "database"));
            return;
        }
        Error::Overloaded
        | Error::Silent
        | Error::Locked
        | Error::Contended
        | Error::Unknown(None)
        | Error::Lost => return,
    };
    about_request(|| match Failure::of(cause) {
        // That the database is lost is said once, not for each request.
        Failure::NoConnection if is_known => {
            tracing::debug!(target: target::DATABASE, error = %cause, code, "database");
        }
        _ => tracing::error!(target: target::DATABASE, error = %cause, code, "database"),
    });
}

/// What the client is told; nothing is logged.
pub(crate) fn problem_of(error: &Error) -> Problem {
    match error {
        Error::Overloaded => {
            let detail =
                "Too many requests wait for the database, or for memory. Nothing was written.";
            Problem::new(Code::Overloaded, detail)
        }
        Error::Silent => unavailable("It did not answer in time."),
        Error::Locked => unavailable("Others have it locked, or write it."),
        Error::Contended => unavailable("Others write this key all the time."),
        Error::Ignored => {
            refused("A trigger, a rule or a policy of the database ignored the write.")
        }
        Error::Failed(error) => of_failure(Failure::of(error)),
        Error::Unknown(_) => {
            let detail = "The database did not say: the write may have been applied, or may still \
                          be. A retry with If-Match is safe.";
            Problem::new(Code::OutcomeUnknown, detail)
        }
        Error::Lost => Problem::internal(),
    }
}

/// The problem of a statement that failed and wrote nothing.
fn of_failure(failure: Failure) -> Problem {
    match failure {
        Failure::NoConnection => unavailable("No connection could be had."),
        Failure::Unknown => unavailable("The connection broke."),
        Failure::Locked => unavailable("Others have it locked, or write it."),
        Failure::ReadOnly => unavailable("It is read-only."),
        Failure::Cancelled => unavailable("It cancelled the statement."),
        Failure::NoRoom => unavailable("It has no room left."),
        Failure::RolledBack => unavailable("It rolled the statement back."),
        Failure::NotMigrated => unavailable("It is not migrated: run kvctl migrate."),
        Failure::NoRight => refused("The database user lacks a right; /readyz may name it."),
        Failure::Refused | Failure::Duplicate => {
            refused("A trigger, a policy, a constraint or a limit of the database refused it.")
        }
        Failure::Unreadable => Problem::internal(),
    }
}

/// A problem with the database, after which the same request may succeed.
fn unavailable(why: &str) -> Problem {
    let detail = format!("{why} Nothing was written.");
    Problem::new(Code::DatabaseUnavailable, detail)
}

/// A refusal of the database, which refuses the same request whenever it is sent.
fn refused(why: &str) -> Problem {
    let detail = format!("{why} Nothing was written, and a retry is of no use.");
    Problem::new(Code::DatabaseRefused, detail)
}
