//! The targets of log lines. Users type them in `RUST_LOG`, so they stay when the code moves.

/// The line of each request, and the span that carries its id.
pub(crate) const REQUEST: &str = "api::observe";
/// Failures of single calls of the database.
pub(crate) const DATABASE: &str = "api::problem";
/// The database is lost, or back.
pub(crate) const OUTAGE: &str = "api::outage";
/// Errors of the HTTP framework.
pub(crate) const FRAMEWORK: &str = "api::errors";
/// Listeners and connections.
pub(crate) const SERVER: &str = "api::server";
/// Lines that were counted instead of written.
pub(crate) const REPEATED: &str = "api::repeats";
/// The log itself.
pub(crate) const LOG: &str = "api::log";
pub(crate) const PANIC: &str = "api::telemetry";
