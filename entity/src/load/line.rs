//! What a load takes.

use crate::item::{key::Key, time::Time, value::Value};

/// An item to store, and the number of the line it stands on.
#[derive(Clone, Debug)]
pub struct Line {
    pub number: u64,
    pub key: Key,
    pub value: Value,
    /// The line is left out if this has come when the lines are merged.
    pub expires_at: Option<Time>,
}

/// What to do with a key that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// Store nothing at all. A key on several lines is an error too.
    Error,
    /// Leave it as it is. Of a key on several lines the first counts.
    Skip,
    /// Update it. Of a key on several lines the last counts.
    Overwrite,
}
