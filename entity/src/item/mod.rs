//! The item: the table `items` as SeaORM sees it, and the types of what it holds.

pub(crate) mod etag;
pub(crate) mod json_bytes;
pub(crate) mod key;
pub(crate) mod precondition;
pub(crate) mod time;
pub(crate) mod value;

use sea_orm::entity::prelude::*;

pub use self::{
    Model as Item,
    etag::{ETag, InvalidETag},
    json_bytes::max_json_bytes,
    key::{InvalidKey, InvalidPrefix, Key, Prefix},
    precondition::{Precondition, TagMatch},
    time::Time,
    value::{InvalidValue, Value},
};

/// One key with its value.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "items")]
pub struct Model {
    /// Never used again, not even after the row is deleted.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// Unique, compared byte for byte. Plain text, because rows written by other software may break
    /// the rule of [`Key`].
    #[sea_orm(unique)]
    pub key: String,
    #[sea_orm(column_type = "Text")]
    pub value: String,
    /// 1 at creation, one more with every update.
    pub version: i64,
    /// UTC, by the database's clock; never changes.
    pub created_at: Time,
    /// UTC, by the database's clock.
    pub updated_at: Time,
    /// From then on, by the database's clock, the item is gone; `None`: never.
    pub expires_at: Option<Time>,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// The tag of the item as it is now.
    pub fn etag(&self) -> ETag {
        ETag {
            id: self.id,
            version: self.version,
        }
    }
}
