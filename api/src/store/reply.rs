//! The way back from a call to the request that made it.

use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use super::error::Error;
use crate::telemetry::RequestId;

/// Logs a failure for which no request waits.
pub(crate) type LogUnheard = fn(&Error);

/// Where the request waits that made a call.
pub(crate) struct Reply<T> {
    answer: oneshot::Sender<Result<T, Box<Unheard>>>,
    request: Option<RequestId>,
    /// Until when the request waits.
    deadline: Instant,
    log_unheard: LogUnheard,
    /// The right of the call to wait.
    permit: Option<OwnedSemaphorePermit>,
}

/// The other end of a [`Reply`].
pub(super) type Incoming<T> = oneshot::Receiver<Result<T, Box<Unheard>>>;

impl<T> Reply<T> {
    /// The reply to the current request, if there is one.
    pub(super) fn new(
        deadline: Instant,
        permit: Option<OwnedSemaphorePermit>,
        log_unheard: LogUnheard,
    ) -> (Self, Incoming<T>) {
        let (sender, answer) = oneshot::channel();
        let reply = Self {
            answer: sender,
            request: RequestId::current(),
            deadline,
            log_unheard,
            permit,
        };
        (reply, answer)
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The client hung up, or the time of the request was up.
    pub(crate) fn is_gone(&self) -> bool {
        self.answer.is_closed()
    }

    /// Has the call wait with another right than before.
    pub(super) fn hold(&mut self, permit: OwnedSemaphorePermit) {
        self.permit = Some(permit);
    }

    pub(crate) fn done(self, answer: T) {
        // A success for which no request waits is of no use.
        let _ = self.answer.send(Ok(answer));
    }

    pub(crate) fn failed(self, error: Error) {
        let unheard = Unheard {
            error: Some(error),
            request: self.request,
            log: self.log_unheard,
        };
        // If no request waits for it, dropping it logs it.
        let _ = self.answer.send(Err(Box::new(unheard)));
    }

    pub(crate) fn conclude(self, result: Result<T, Error>) {
        match result {
            Ok(answer) => self.done(answer),
            Err(error) => self.failed(error),
        }
    }
}

/// A failure on its way. It is logged if it is dropped before its request has heard of it.
pub(super) struct Unheard {
    error: Option<Error>,
    request: Option<RequestId>,
    log: LogUnheard,
}

impl Unheard {
    pub(super) fn heard(mut self) -> Error {
        self.error.take().unwrap_or(Error::Lost)
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        let Some(error) = &self.error else {
            return;
        };
        match self.request.take() {
            Some(id) => id.in_scope(|| (self.log)(error)),
            None => (self.log)(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, slice};

    use sea_orm::DbErr;

    use super::*;

    thread_local! {
        static LOGGED: RefCell<Vec<(String, Option<RequestId>)>> = RefCell::default();
    }

    fn log(error: &Error) {
        let line = (format!("{error:?}"), RequestId::current());
        LOGGED.with_borrow_mut(|logged| logged.push(line));
    }

    fn failure() -> Error {
        Error::Failed(DbErr::Custom("refused".to_owned()))
    }

    fn logged() -> Vec<(String, Option<RequestId>)> {
        LOGGED.take()
    }

    #[test]
    fn a_failure_that_its_request_hears_is_for_the_request_to_log() {
        let (reply, mut answer) = Reply::<()>::new(Instant::now(), None, log);
        reply.failed(failure());
        let unheard = answer.try_recv().unwrap().unwrap_err();
        assert!(matches!(unheard.heard(), Error::Failed(_)));
        assert_eq!(logged(), []);
    }

    #[test]
    fn a_failure_that_no_request_waits_for_is_logged_once_with_the_id_of_its_request() {
        let id = RequestId::default();
        let reply = || {
            id.clone()
                .in_scope(|| Reply::<()>::new(Instant::now(), None, log))
        };
        let line = (format!("{:?}", failure()), Some(id.clone()));

        let (gone, answer) = reply();
        drop(answer);
        gone.failed(failure());
        assert_eq!(logged(), slice::from_ref(&line), "gone before it failed");

        let (sent, answer) = reply();
        sent.failed(failure());
        drop(answer);
        assert_eq!(logged(), [line], "gone before it heard");
    }
}
