//! Whether what the clients of one key were told can be true.
//!
//! A history is *linearizable* if every operation can be given one moment between its call and its answer so that,
//! done one after the other at these moments, the operations give exactly these answers. An operation
//! of unknown outcome has no answer: its moment may be any after its call, or never come.
//!
//! An item with an end is gone from some moment on, and that is the model of expiry:
//!
//! * The end is one moment, the same for everybody: the `expires_at` that the answers tell, give or take the error of the
//!   clocks. If no answer tells it, it may be any. It is the one that was asked for, or when the item was written if that is
//!   later.
//! * An operation reads the database's clock once, at any time between its call and its answer. It finds the item if that
//!   is before the end, and finds none if it is not. So what is asked for after the end finds none, what is answered
//!   before the end finds it, and once somebody has found none, whatever is asked for later finds none either.
//! * An operation that began before the end may still find the item although somebody was told that there is none: so it
//!   is with a write that judged before the end and commits after it.
//! * The row of an item that has ended stays until a write replaces it. Whether it is removed earlier, nobody can tell.
//! * What is created in its place has version 1 and an id never used before.
//!
//! * [`check()`] judges a history of one key; histories of different keys are independent of each other
//! * `record` is one operation as its client saw it
//! * `model` is one item and what each operation does to it
//! * `life` is how long an item lasts
//! * `search` looks for an order that explains all answers

#[cfg(test)]
mod brute_force;
mod check;
#[cfg(test)]
mod ending;
#[cfg(test)]
mod generated;
mod life;
mod model;
#[cfg(test)]
mod proof;
mod record;
mod search;

pub use self::{
    check::check,
    record::{CLOCK_ERROR, End, Expiry, Operation, Outcome, Record, Tag, Value},
};
