//! Whether what the clients of one key were told can be true.
//!
//! A history is *linearizable* if every operation can be given one moment between its call and its answer so that,
//! done one after the other at these moments, the operations give exactly these answers. An operation
//! of unknown outcome has no answer: its moment may be any after its call, or never come.
//!
//! * [`check()`] judges a history of one key; histories of different keys are independent of each other
//! * `record` is one operation as its client saw it
//! * `model` is one item and what each operation does to it
//! * `search` looks for an order that explains all answers

#[cfg(test)]
mod brute_force;
mod check;
#[cfg(test)]
mod generated;
mod model;
#[cfg(test)]
mod proof;
mod record;
mod search;

pub use self::{
    check::check,
    record::{Operation, Outcome, Record, Tag, Value},
};
