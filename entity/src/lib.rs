//! The item of kvd and everything SQL about it, shared by `kvd` and `kvctl`. Knows no HTTP.
//!
//! - The item itself: the SeaORM entity [`Item`], and the newtypes that carry the rules of the data
//!   model, such as [`Key`], [`Value`] and [`ETag`].
//! - [`read`]: the queries that only look: one key or several, pages, walks and what an operator asks.
//! - [`mod@write`]: create, update, upsert and delete of one key, each atomic, with its outcome; the
//!   deletion of several keys.
//! - [`token`]: who may do what through kvd.
//! - [`load`]: any number of items, all or nothing.

mod clock;
mod item;
pub mod load;
pub mod read;
pub mod token;
pub mod write;

pub use self::item::{
    ETag, InvalidETag, InvalidKey, InvalidPrefix, InvalidValue, Item, Key, Precondition, Prefix,
    TagMatch, Time, Value, max_json_bytes,
};
