//! What clients are told while the database, or kvd itself, breaks.

mod batches;
pub(crate) mod contract;
mod down;
mod frozen;
mod history;
mod killed;
mod locks;
mod refusals;
pub(crate) mod sessions;
mod slow;
mod unknown;

tests::topics! {
    batches,
    down,
    frozen,
    history,
    killed,
    locks,
    refusals,
    sessions,
    slow,
    unknown,
}
