//! The queries that only look.

mod cursor;
pub(crate) mod find;
mod inspect;
mod list;
pub(crate) mod live;
mod odd_keys;
mod scan;

pub use self::{
    cursor::{Cursor, InvalidCursor},
    find::{FoundItem, LargeItem, find, find_many},
    inspect::{count_expired, disk_bytes},
    list::{LeftOut, ListedItem, Listing, Page, Start, count, list},
    odd_keys::odd_keys,
    scan::{Scan, scan},
};
