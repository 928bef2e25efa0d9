//! The instruments of requests.

use std::time::Duration;

use poem::http::{Method, StatusCode};
use prometheus::{HistogramVec, IntCounterVec, IntGauge};

use super::route::Route;
use crate::telemetry::{InFlight, Metrics};

/// Upper bounds of the buckets of request durations, in seconds.
const BUCKETS: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// Counts requests and their durations by route, method and status.
pub(crate) struct HttpMetrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    in_flight: IntGauge,
}

impl HttpMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            requests: metrics.counters(
                "kvd_http_requests_total",
                "Requests answered.",
                &["route", "method", "status"],
            ),
            duration: metrics.histograms(
                "kvd_http_request_duration_seconds",
                "Time from a request's head to its answer.",
                &BUCKETS,
                &["route", "method"],
            ),
            in_flight: metrics.gauge("kvd_http_requests_in_flight", "Requests being answered."),
        }
    }

    /// Counts a request as in flight until the guard is dropped.
    pub(crate) fn request_begins(&self) -> InFlight {
        InFlight::enter(&self.in_flight)
    }

    pub(crate) fn request_ends(
        &self,
        route: Route,
        method: &Method,
        status: StatusCode,
        taken: Duration,
    ) {
        let labels = [route.template(), known(method), status.as_str()];
        self.requests.with_label_values(&labels).inc();
        self.duration
            .with_label_values(&labels[..2])
            .observe(taken.as_secs_f64());
    }
}

/// Methods are chosen by clients, so unknown ones share a label.
fn known(method: &Method) -> &'static str {
    [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::PATCH,
    ]
    .iter()
    .zip(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
    .find(|(known, _)| *known == method)
    .map_or("other", |(_, name)| name)
}
