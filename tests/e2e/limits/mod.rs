//! More than there is room for, and more than one client may ask.

mod batches;
mod connections;
mod crowds;
mod floods;
mod memory;
mod memory_shares;
pub(crate) mod rate;
mod rate_cost;
mod rate_memory;
mod slow_readers;

tests::topics! {
    batches,
    connections,
    crowds,
    floods,
    memory,
    memory_shares,
    rate,
    rate_cost,
    rate_memory,
    slow_readers,
}
