//! What the service tells of itself: its log and its metrics. Imports no other folder.
//!
//! - `log` starts the log; `repeated_lines` bounds it; `target` names its targets.
//! - `line_format`: how a line is written; `field_text`: the texts in it, escaped and cut; `log_queue`: where
//!   lines wait for standard error, so that nothing else does.
//! - `request_id`: the id of a request, in its answer and in each line about it.
//! - `metrics`: the registry, in which each part of the service registers its own instruments.

mod field_text;
mod line_format;
mod log;
mod log_queue;
mod metrics;
mod repeated_lines;
mod request_id;
pub(crate) mod target;

pub use self::log::{LogFormat, ServiceLog};
pub(crate) use self::{
    metrics::{InFlight, Metrics},
    request_id::{RequestId, X_REQUEST_ID, about_request, within_request},
};
