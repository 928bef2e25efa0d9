//! How the service is: `health` for load balancers and supervisors, `metrics` for Prometheus.

mod health;
mod metrics;

pub(crate) use self::{
    health::{Readiness, livez, readyz},
    metrics::scrape,
};
