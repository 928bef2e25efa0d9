//! The bodies of requests and the successful answers, as the document describes them.

use entity::{
    ETag, Item, Time,
    read::{Cursor, ListedItem, Page},
};
use poem_openapi::{ApiResponse, Object};
use sea_orm::entity::prelude::DateTimeUtc;
use serde::{Deserialize, Serialize};

use super::{members::seconds, paging::Paging};
use crate::http::{JsonText, Reservation, Route};

/// An item to create.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub(super) struct NewItem {
    /// 1 to 512 bytes of UTF-8 without control characters, and neither `.` nor `..`.
    pub key: String,
    /// UTF-8 text without U+0000.
    pub value: String,
    /// Seconds until the item expires, by the database's clock, from 1 to 3 153 600 000.
    #[serde(default, deserialize_with = "seconds")]
    pub ttl: Option<u64>,
    /// When the item expires: RFC 3339. Not together with `ttl`; without either it never does.
    #[serde(default)]
    pub expires_at: Option<String>,
}

/// The new value of an item.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub(super) struct NewValue {
    /// UTF-8 text without U+0000.
    pub value: String,
    /// Seconds until the item expires, by the database's clock, from 1 to 3 153 600 000.
    #[serde(default, deserialize_with = "seconds")]
    pub ttl: Option<u64>,
    /// When the item expires: RFC 3339. Not together with `ttl`; without either, and without `keep_ttl`, it never does.
    #[serde(default)]
    pub expires_at: Option<String>,
}

/// An item.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Item")]
pub struct ItemBody {
    pub key: String,
    pub value: String,
    /// 1 at creation, one more with every update.
    pub version: i64,
    /// The tag of this state of the item; in quotes the value of the header `ETag`.
    pub etag: String,
    /// RFC 3339, UTC, microseconds.
    #[serde(serialize_with = "microseconds")]
    pub created_at: DateTimeUtc,
    /// RFC 3339, UTC, microseconds.
    #[serde(serialize_with = "microseconds")]
    pub updated_at: DateTimeUtc,
    /// From then on the item is gone: RFC 3339, UTC, microseconds; `null`: never.
    #[serde(serialize_with = "microseconds_or_never")]
    pub expires_at: Option<DateTimeUtc>,
}

/// An item on a page.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "ListedItem")]
pub struct ListedItemBody {
    pub key: String,
    /// Absent with `keys_only=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[oai(skip_serializing_if_is_none)]
    pub value: Option<String>,
    /// 1 at creation, one more with every update.
    pub version: i64,
    /// The tag of this state of the item; in quotes the value of the header `ETag`.
    pub etag: String,
    /// RFC 3339, UTC, microseconds.
    #[serde(serialize_with = "microseconds")]
    pub created_at: DateTimeUtc,
    /// RFC 3339, UTC, microseconds.
    #[serde(serialize_with = "microseconds")]
    pub updated_at: DateTimeUtc,
    /// From then on the item is gone: RFC 3339, UTC, microseconds; `null`: never.
    #[serde(serialize_with = "microseconds_or_never")]
    pub expires_at: Option<DateTimeUtc>,
}

/// A page of items.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Page")]
pub struct PageBody {
    pub items: Vec<ListedItemBody>,
    /// All items of the prefix at one moment, which may be another than that of the items, and never less than these
    /// prove; `null` if they were not counted.
    pub total: Option<u64>,
    /// `null` in a walk by cursor.
    pub page: Option<u64>,
    pub page_size: u64,
    /// `null` if the items were not counted.
    pub total_pages: Option<u64>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Option<String>,
}

impl PageBody {
    pub fn new(page: Page, total: Option<u64>, paging: &Paging, size: u64) -> Self {
        Self {
            total,
            page: match paging {
                Paging::Page(number) => Some(*number),
                Paging::Walk(_) => None,
            },
            page_size: size,
            total_pages: total.map(|total| total.div_ceil(size)),
            next_cursor: page.next.as_ref().map(Cursor::encode),
            items: page.items.into_iter().map(ListedItemBody::from).collect(),
        }
    }
}

fn microseconds<S: serde::Serializer>(time: &DateTimeUtc, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&Time::from(*time))
}

fn microseconds_or_never<S: serde::Serializer>(
    time: &Option<DateTimeUtc>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => microseconds(time, to),
        None => to.serialize_none(),
    }
}

impl From<Item> for ItemBody {
    fn from(item: Item) -> Self {
        Self {
            version: item.version,
            etag: item.etag().to_string(),
            created_at: item.created_at.into(),
            updated_at: item.updated_at.into(),
            expires_at: item.expires_at.map(Into::into),
            key: item.key,
            value: item.value,
        }
    }
}

impl From<ListedItem> for ListedItemBody {
    fn from(item: ListedItem) -> Self {
        Self {
            key: item.key,
            value: item.value,
            version: item.etag.version,
            etag: item.etag.to_string(),
            created_at: item.created_at.into(),
            updated_at: item.updated_at.into(),
            expires_at: item.expires_at.map(Into::into),
        }
    }
}

#[derive(ApiResponse)]
pub enum Created {
    /// The item was created.
    #[oai(status = 201)]
    Created(
        JsonText<ItemBody>,
        /// The path of the item.
        #[oai(header = "Location")]
        String,
        /// The tag of the item, in quotes.
        #[oai(header = "ETag")]
        String,
    ),
}

impl Created {
    pub(super) fn new(item: Item, memory: Option<Reservation>) -> Self {
        let (location, etag) = (Route::location(&item.key), quoted(item.etag()));
        Self::Created(JsonText::new(&item.into(), memory), location, etag)
    }
}

#[derive(ApiResponse)]
pub enum Found {
    /// The item.
    #[oai(status = 200)]
    Found(
        JsonText<ItemBody>,
        /// The tag of the item, in quotes.
        #[oai(header = "ETag")]
        String,
    ),
    /// The item still has a tag of `If-None-Match`.
    #[oai(status = 304)]
    NotModified(
        /// The tag of the item, in quotes.
        #[oai(header = "ETag")]
        String,
    ),
}

impl Found {
    pub(super) fn new(text: JsonText<ItemBody>, tag: ETag) -> Self {
        Self::Found(text, quoted(tag))
    }

    pub fn not_modified(tag: ETag) -> Self {
        Self::NotModified(quoted(tag))
    }
}

#[derive(ApiResponse)]
pub enum Stored {
    /// The item was updated.
    #[oai(status = 200)]
    Updated(
        JsonText<ItemBody>,
        /// The path of the item.
        #[oai(header = "Content-Location")]
        String,
        /// The tag of the item, in quotes.
        #[oai(header = "ETag")]
        String,
    ),
    /// The item was created.
    #[oai(status = 201)]
    Created(
        JsonText<ItemBody>,
        /// The path of the item.
        #[oai(header = "Content-Location")]
        String,
        /// The tag of the item, in quotes.
        #[oai(header = "ETag")]
        String,
    ),
}

impl Stored {
    pub(super) fn updated(item: Item, memory: Option<Reservation>) -> Self {
        let (location, etag) = (Route::location(&item.key), quoted(item.etag()));
        Self::Updated(JsonText::new(&item.into(), memory), location, etag)
    }

    pub(super) fn created(item: Item, memory: Option<Reservation>) -> Self {
        let (location, etag) = (Route::location(&item.key), quoted(item.etag()));
        Self::Created(JsonText::new(&item.into(), memory), location, etag)
    }
}

#[derive(ApiResponse)]
pub enum Deleted {
    /// The item was deleted.
    #[oai(status = 204)]
    Deleted,
}

#[derive(ApiResponse)]
pub enum Listed {
    /// The page; empty past the end.
    #[oai(status = 200)]
    Listed(
        JsonText<PageBody>,
        /// RFC 8288: `first`, `prev`, `next` and `last`, where there are such pages.
        #[oai(header = "Link")]
        String,
    ),
}

fn quoted(tag: ETag) -> String {
    ["\"", &tag.to_string(), "\""].concat()
}
