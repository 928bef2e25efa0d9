//! HTTP around every request, whatever its resource. It knows the store in one file only.
//!
//! - `route`: the resource at a path; `arrival`: what is found out once about a request.
//! - `client_address`: whose request it is; `hosts`: whether it is meant for this kvd.
//! - The middleware: `observe` (log and metrics), `unread_body`, `check_head`, `catch_errors` with `request_check`,
//!   `half_closed`.
//! - What a handler takes: `param`, `query`, `entity_tags`, and `json` with `body_headers`, which is received as a
//!   `body`; `percent` decodes. What it answers: `json_text`. Both in bounded `memory`.
//! - `problem` with its `problem_code`: every error as a document; `failed`: those of an operation;
//!   `store_problem`: what a failure of the store means to a client; `unreadable_head`: the answer to what is
//!   no request.
//! - `metrics`: the instruments of all this.

mod arrival;
mod body;
mod body_headers;
mod catch_errors;
mod check_head;
mod client_address;
mod entity_tags;
mod failed;
mod first_fit;
mod half_closed;
mod hosts;
mod json;
mod json_text;
mod memory;
mod memory_ledger;
mod metrics;
mod observe;
mod param;
mod percent;
mod problem;
mod problem_code;
mod query;
mod request_check;
mod route;
mod store_problem;
mod unread_body;
mod unreadable_head;

pub(crate) use self::{
    arrival::Arrival,
    body::BodyLimits,
    body_headers::IDENTITY,
    catch_errors::CatchErrors,
    check_head::CheckHead,
    client_address::client_network,
    entity_tags::EntityTags,
    failed::{Described, Failed, Operation},
    half_closed::BoundHalfClosed,
    hosts::{HostSettings, misdirected},
    json::Json,
    json_text::{
        JsonText, is_exempt, json_about, json_length, json_of_length, json_within, small_json,
    },
    memory::{BESIDE_VALUE, EXEMPT_BYTES, MemoryBudget, Reservation},
    metrics::HttpMetrics,
    observe::{Observe, ObserveSettings},
    param::{Param, Parameter},
    problem::{FailedOperation, Problem, sentence},
    problem_code::Code,
    query::{Query, integer, unchecked_value},
    request_check::{CheckQuery, RequestCheck, method_not_allowed, path_key},
    route::{Route, UNRESERVED_ONLY},
    store_problem::{log_failure, problem_of},
    unread_body::UnreadBody,
    unreadable_head::unreadable_head,
};
pub use self::{
    client_address::TrustedProxies,
    entity_tags::{Comparison, entity_tags},
    hosts::AllowedHosts,
};
