//! The OpenAPI `document`, with an example of each problem (`examples`), and the `explorer` that shows it.

mod document;
mod examples;
mod explorer;

pub(crate) use self::{
    document::{DocumentSettings, Operations, service},
    explorer::{Explorer, docs, openapi},
};
