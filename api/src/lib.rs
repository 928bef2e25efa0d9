//! `kvd`, a key-value REST service on the SQL database its users already run.
//!
//! Read in this order: `config` (the settings), `run` (how it starts and ends), `router` (every URL, and
//! the order of the middleware), `items` (the handlers).
//!
//! Each folder is a room with a face, its `mod.rs`. A room imports only those to its right:
//! `main → run → router → {openapi, status} → items → {auth, rate_limit} → http → store → telemetry`. `net`
//! (sockets) imports `telemetry` only, and is imported by `run`, `router` and `status`. Only `main`, `run`
//! and `router` see the configuration.

mod auth;
mod config;
mod http;
mod items;
mod net;
mod openapi;
mod rate_limit;
mod router;
mod run;
mod status;
mod store;
mod telemetry;

pub use self::{
    config::{Auth, Config},
    http::{AllowedHosts, TrustedProxies},
    run::{RunError, run},
    telemetry::{LogFormat, ServiceLog},
};
// What the benchmarks measure.
pub use self::{
    auth::{Recalled, TokenCache, bearer},
    http::{Comparison, entity_tags},
    rate_limit::{Decision, Quota, RateLimiter},
};
