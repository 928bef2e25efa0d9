//! How far the service is on its way to the end.

/// Told to listeners and connections, and to whatever says that the service is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Serving,
    /// Still serving, but not ready: load balancers should send no more clients.
    Leaving,
    /// No new connections; requests under way are answered.
    Closing,
}
