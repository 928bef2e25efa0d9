//! What clients are told while the database, or kvd itself, breaks.

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
