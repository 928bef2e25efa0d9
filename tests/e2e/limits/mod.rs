//! More than there is room for, and more than one client may ask.

mod connections;
mod floods;
pub(crate) mod rate;
mod rate_cost;
mod rate_memory;
mod slow_readers;

tests::topics! {
    connections,
    floods,
    rate,
    rate_cost,
    rate_memory,
    slow_readers,
}
