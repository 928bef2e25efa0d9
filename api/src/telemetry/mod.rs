//! What the service tells of itself: its log and its metrics. Imports no other folder.
//!
//! - `log` starts the log; `repeated_lines` bounds it; `target` names its targets.
//! - `request_id`: the id of a request, in its answer and in each line about it.
//! - `metrics`: the registry, in which each part of the service registers its own instruments.

mod log;
mod metrics;
mod repeated_lines;
mod request_id;
pub(crate) mod target;

pub use self::log::{LogFormat, start};
pub(crate) use self::{
    metrics::{InFlight, Metrics},
    request_id::{RequestId, X_REQUEST_ID, about_request, within_request},
};
