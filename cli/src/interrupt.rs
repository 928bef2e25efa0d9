//! What Ctrl-C and its like do to a command that changes something.

use std::{future::Future, io};

use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::error::CliError;

/// Dropping the work leaves no trace.
pub const NOTHING_WRITTEN: &str = "nothing was written";
/// The server goes on with a statement whatever becomes of the one who sent it.
pub const PERHAPS_WRITTEN: &str =
    "the write may still be applied: see what is there before you try again";

/// The work, unless somebody asks the program to stop, of which this is then the outcome. Signals
/// that come afterwards are ignored.
///
/// # Errors
/// [`CliError::Interrupted`], or those of the work.
pub async fn uninterrupted<T>(
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
