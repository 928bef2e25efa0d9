//! What Ctrl-C, SIGTERM and SIGHUP do to a command that changes something.

use std::{future::Future, io};

use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::error::CliError;

/// The outcome where dropping the work leaves no trace.
pub(crate) const NOTHING_WRITTEN: &str = "nothing was written";
/// The outcome where a statement was sent: the server goes on with it when the program ends.
pub(crate) const PERHAPS_WRITTEN: &str =
    "the write may still be applied: see what is there before you try again";

/// Does the work until a signal asks the program to stop; `outcome` says what then has become of the
/// work. Signals that come afterwards are ignored.
///
/// # Errors
/// [`CliError::Interrupted`], or those of the work.
pub(crate) async fn until_interrupted<T>(
    work: impl Future<Output = Result<T, CliError>>,
    outcome: &'static str,
) -> Result<T, CliError> {
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    select! {
        done = work => done,
        _ = interrupt.recv() => Err(CliError::Interrupted(outcome)),
        _ = terminate.recv() => Err(CliError::Interrupted(outcome)),
        _ = hangup.recv() => Err(CliError::Interrupted(outcome)),
    }
}

fn listen(kind: SignalKind) -> Result<Signal, CliError> {
    signal(kind).map_err(|error: io::Error| CliError::io("cannot listen to signals", error))
}
