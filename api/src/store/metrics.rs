//! The instruments of the store.

use std::sync::Arc;

use prometheus::Histogram;

use super::{sessions::Sessions, writes::Writes};
use crate::telemetry::Metrics;

/// Upper bounds of the buckets of batches, in calls sent together.
const BATCH_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// How many calls went together.
pub(super) struct BatchSizes {
    pub(super) reads: Histogram,
    pub(super) counts: Histogram,
    pub(super) writes: Histogram,
}

impl BatchSizes {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let sizes = metrics.histograms(
            "kvd_database_batch_size",
            "Calls that went to the database together: reads of one statement, writes of one commit, lists of one count.",
            &BATCH_BUCKETS,
            &["kind"],
        );
        Self {
            reads: sizes.with_label_values(&["read"]),
            counts: sizes.with_label_values(&["count"]),
            writes: sizes.with_label_values(&["write"]),
        }
    }
}

/// Registers what is asked for at each scrape.
pub(super) fn watch(metrics: &Metrics, sessions: &Arc<Sessions>, writes: &Writes) {
    let asked = |name, help, ask: fn(&Sessions) -> usize| {
        let sessions = sessions.clone();
        metrics.scraped_gauge(name, help, move || ask(&sessions));
    };
    asked(
        "kvd_database_up",
        "0 since the database was lost, 1 when it is back.",
        |sessions| usize::from(!sessions.is_lost()),
    );
    asked(
        "kvd_database_calls",
        "Calls that wait for the database or are being done by it.",
        Sessions::calls,
    );
    asked(
        "kvd_database_connections_max",
        "The most connections to the database.",
        |sessions| sessions.pool().size() as usize,
    );
    asked(
        "kvd_database_connections",
        "Connections to the database.",
        |sessions| sessions.pool().sessions().0,
    );
    asked(
        "kvd_database_connections_idle",
        "Connections to the database that nobody uses.",
        |sessions| sessions.pool().sessions().1,
    );
    let writes = writes.clone();
    metrics.scraped_gauge(
        "kvd_database_locked_writes",
        "Writes that wait for a key that others write or have locked.",
        move || writes.waiting(),
    );
}
