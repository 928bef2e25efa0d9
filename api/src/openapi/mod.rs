//! The OpenAPI document, and the `explorer` that shows it.
//!
//! - `document`: what the framework generates, and what it cannot say, with `examples` of each problem;
//!   `describe_schemas` and `describe_batch`: the parts of it.

mod describe_batch;
mod describe_schemas;
mod document;
mod examples;
mod explorer;
mod json_members;

pub(crate) use self::{
    document::{DocumentSettings, Operations, service},
    explorer::{Explorer, docs, openapi},
};
