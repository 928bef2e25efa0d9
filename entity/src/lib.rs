//! The item of kvd and everything SQL about it, shared by `kvd` and `kvctl`. Knows no HTTP.
//!
//! - [`item`]: the SeaORM entity; [`key`], [`value`], [`etag`], [`precondition`], [`cursor`],
//!   [`mod@time`]: the newtypes that carry the rules of the data model.
//! - [`read`], [`list`], [`mod@scan`] and [`inspect`]: the queries that only look.
//! - [`mod@write`]: create, update, upsert and delete of one key, each atomic, with its outcome;
//!   [`mod@delete`]: several keys; [`load`]: any number of items. All or nothing.

pub mod cursor;
pub mod delete;
pub mod etag;
pub mod inspect;
pub mod item;
pub mod key;
pub mod list;
pub mod load;
pub mod precondition;
pub mod read;
pub mod scan;
pub mod time;
pub mod value;
pub mod write;

pub use cursor::Cursor;
pub use etag::ETag;
pub use item::Model as Item;
pub use key::{Key, Prefix};
pub use precondition::{Precondition, TagMatch};
pub use time::Time;
pub use value::Value;
