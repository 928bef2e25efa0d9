//! The item of kvd and everything SQL about it, shared by `kvd` and `kvctl`. Knows no HTTP.
//!
//! - [`item`]: the SeaORM entity; [`key`], [`value`], [`etag`], [`precondition`], [`cursor`],
//!   [`mod@time`]: the newtypes that carry the rules of the data model.
//! - [`read`], [`list`], [`mod@scan`] and [`inspect`]: the queries that only look.
//! - [`mod@write`]: create, update, upsert and delete of one key, each atomic, with its outcome;
//!   [`mod@delete`]: several keys; [`load`]: any number of items. All or nothing.
//! - [`database_url`], [`database`]: the URL of a database, and how to connect to it; [`session`]:
//!   one connection (`postgres`: also through a pooler); [`pool`]: those of a server.
//! - [`failure`]: what a database error means for the one who sent the statement.

pub mod cursor;
pub mod database;
pub mod database_url;
pub mod delete;
pub mod etag;
pub mod failure;
pub mod inspect;
pub mod item;
pub mod key;
pub mod list;
pub mod load;
pub mod pool;
mod postgres;
pub mod precondition;
pub mod read;
pub mod scan;
pub mod session;
pub mod time;
pub mod value;
pub mod write;

pub use cursor::Cursor;
pub use database_url::{DatabaseUrl, Engine};
pub use etag::ETag;
pub use item::Model as Item;
pub use key::{Key, Prefix};
pub use precondition::{Precondition, TagMatch};
pub use time::Time;
pub use value::Value;
