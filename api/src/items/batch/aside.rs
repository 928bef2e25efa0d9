//! Does long work where nobody has to wait for it.

use std::panic::resume_unwind;

use tokio::task::spawn_blocking;

/// Writing more bytes takes a millisecond or more.
const LARGE: usize = 1 << 20;

/// Does work on this many bytes, in a thread of its own if they are many.
pub(super) async fn aside<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    if bytes <= LARGE {
        return work();
    }
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => resume_unwind(error.into_panic()),
    }
}
