//! What Prometheus scrapes.

use std::sync::Arc;

use poem::{Response, handler, web::Data};

use crate::telemetry::Metrics;

#[handler]
pub(crate) fn scrape(Data(metrics): Data<&Arc<Metrics>>) -> Response {
    Response::builder()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(metrics.text())
}
