//! The instruments of the limiter.

use std::sync::Arc;

use prometheus::IntCounter;

use super::limiter::RateLimiter;
use crate::telemetry::Metrics;

/// Its decisions, and the live windows that it lost.
#[derive(Clone)]
pub(crate) struct LimiterMetrics {
    pub(super) admitted: IntCounter,
    pub(super) refused: IntCounter,
    pub evictions: IntCounter,
}

impl LimiterMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let decisions = metrics.counters(
            "kvd_rate_limit_decisions_total",
            "Requests the limiter admitted or refused.",
            &["decision"],
        );
        Self {
            admitted: decisions.with_label_values(&["admitted"]),
            refused: decisions.with_label_values(&["refused"]),
            evictions: metrics.counter(
                "kvd_rate_limit_live_evictions_total",
                "Clients forgotten for want of room while their window was not over.",
            ),
        }
    }

    /// Registers what is asked for at each scrape; `None` if the limiter is turned off.
    pub(crate) fn watch(metrics: &Metrics, limiter: Option<Arc<RateLimiter>>) {
        metrics.scraped_gauge(
            "kvd_rate_limit_clients",
            "Clients the limiter remembers.",
            move || limiter.as_ref().map_or(0, |limiter| limiter.clients()),
        );
    }
}
