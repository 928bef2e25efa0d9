//! How far the service is on its way to the end.

/// The phase of the service, of which listeners, connections and `/readyz` are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Serving,
    /// Still serving, but not ready: load balancers should send no more clients.
    Leaving,
    /// No new connections; requests under way are answered.
    Closing,
}
