//! The limit of requests for each client: an exact sliding log, not a counter.
//!
//! - `window` is the arithmetic, and knows neither clocks nor clients.
//! - `limiter` keeps a log for each `client`; `recently_seen` finds those it has just seen.
//! - `middleware` asks it, and tells the client; `metrics`: the instruments of all this.

mod client;
mod limiter;
mod metrics;
mod middleware;
mod recently_seen;
mod window;

pub use self::{
    limiter::RateLimiter,
    window::{Decision, Quota},
};
pub(crate) use self::{
    metrics::LimiterMetrics,
    middleware::{RateLimit, rate_limited},
};
