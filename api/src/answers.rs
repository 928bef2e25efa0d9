//! The bodies of requests and the successful answers, as the document describes them.

use entity::{ETag, Item, Time, read::ListedItem};
use poem_openapi::{ApiResponse, Object, types::Example};
use sea_orm::entity::prelude::DateTimeUtc;
use serde::{Deserialize, Serialize};

use crate::{
    json::{Json, JsonText},
    pages::PageBody,
};

/// An item to create.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields)]
#[oai(example, deny_unknown_fields)]
pub struct NewItem {
    /// 1 to 512 bytes of UTF-8 without control characters, and neither `.` nor `..`.
    pub key: String,
    /// UTF-8 text without U+0000.
    pub value: String,
}

impl Example for NewItem {
    fn example() -> Self {
        Self {
            key: "greeting".to_owned(),
            value: "hello".to_owned(),
        }
    }
}

/// The new value of an item.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields)]
#[oai(example, deny_unknown_fields)]
pub struct NewValue {
    /// UTF-8 text without U+0000.
    pub value: String,
}

impl Example for NewValue {
    fn example() -> Self {
        Self {
            value: "hello again".to_owned(),
        }
    }
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
}

fn microseconds<S: serde::Serializer>(time: &DateTimeUtc, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&Time::from(*time))
}

impl From<Item> for ItemBody {
    fn from(item: Item) -> Self {
        Self {
            version: item.version,
            etag: item.etag().to_string(),
            created_at: item.created_at.into(),
            updated_at: item.updated_at.into(),
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
        }
    }
}

#[derive(ApiResponse)]
pub enum Created {
    /// The item was created.
    #[oai(status = 201)]
    Created(
        Json<ItemBody>,
        /// The path of the item.
        #[oai(header = "Location")]
        String,
        /// The tag of the item, in quotes.
        #[oai(header = "ETag")]
        String,
    ),
}

impl Created {
    pub fn new(item: Item) -> Self {
        let (location, etag) = (location(&item.key), quoted(item.etag()));
        Self::Created(Json(item.into()), location, etag)
    }
}

#[derive(ApiResponse)]
pub enum Found {
    /// The item.
    #[oai(status = 200)]
    Found(
        Json<ItemBody>,
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
    pub fn new(item: Item) -> Self {
        let etag = quoted(item.etag());
        Self::Found(Json(item.into()), etag)
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
        Json<ItemBody>,
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
        Json<ItemBody>,
        /// The path of the item.
        #[oai(header = "Content-Location")]
        String,
        /// The tag of the item, in quotes.
        #[oai(header = "ETag")]
        String,
    ),
}

impl Stored {
    pub fn updated(item: Item) -> Self {
        let (location, etag) = (location(&item.key), quoted(item.etag()));
        Self::Updated(Json(item.into()), location, etag)
    }

    pub fn created(item: Item) -> Self {
        let (location, etag) = (location(&item.key), quoted(item.etag()));
        Self::Created(Json(item.into()), location, etag)
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

/// A problem document (RFC 9457).
#[derive(Debug, Object)]
#[oai(rename = "Problem")]
pub struct ProblemBody {
    /// A URI that names the kind of problem, or `about:blank`.
    #[oai(rename = "type", validator(min_length = 1))]
    r#type: String,
    /// The kind of problem for people.
    title: String,
    /// The status of the answer.
    status: u16,
    /// What is wrong this time, for people.
    detail: String,
    /// The kind of problem for programs; never changes.
    code: String,
    /// With `rate-limited`: the names of the policies of the header `RateLimit-Policy`.
    #[oai(rename = "violated-policies", skip_serializing_if_is_none)]
    violated_policies: Option<Vec<String>>,
    /// With `rate-limited`: seconds until a request is let in.
    #[oai(skip_serializing_if_is_none)]
    retry_after: Option<u64>,
}

/// The path of an item.
fn location(key: &str) -> String {
    let key = percent_encoding::utf8_percent_encode(key, crate::pages::UNRESERVED_ONLY);
    format!("/items/{key}")
}

fn quoted(tag: ETag) -> String {
    ["\"", &tag.to_string(), "\""].concat()
}
