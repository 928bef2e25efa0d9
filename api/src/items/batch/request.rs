//! The body of a batch: what the document says of it, and how it is read.
//!
//! Each operation is read by itself, so that a mistake is told with its place. What is read is bounded, however many
//! operations or tags a body has room for.

use std::{fmt, str::FromStr};

use poem_openapi::{Enum, Object, Union};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::items::members::{member, seconds};

/// The most operations of a batch.
pub(super) const MOST_OPERATIONS: usize = 100;
/// The most tags of a condition.
const MOST_TAGS: usize = 100;

/// Operations on different keys, to be done at once.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct NewBatch {
    /// Whether all are done in one transaction or none is; by default each is done by itself.
    pub atomic: Option<bool>,
    /// 1 to 100, each with another key.
    #[oai(validator(min_items = 1, max_items = 100))]
    pub operations: Vec<NewOperation>,
}

/// What an operation of a batch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename = "OperationName", rename_all = "snake_case")]
pub(super) enum OperationName {
    Get,
    Create,
    Put,
    Delete,
}

impl FromStr for OperationName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text {
            "get" => Self::Get,
            "create" => Self::Create,
            "put" => Self::Put,
            "delete" => Self::Delete,
            _ => return Err(()),
        })
    }
}

impl fmt::Display for OperationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get",
            Self::Create => "create",
            Self::Put => "put",
            Self::Delete => "delete",
        })
    }
}

/// An operation of a batch. A member that it does not take may be `null`.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields)]
#[oai(rename = "Operation", deny_unknown_fields)]
pub(crate) struct NewOperation {
    #[serde(deserialize_with = "name")]
    pub op: OperationName,
    /// 1 to 512 bytes of UTF-8 without control characters, and neither `.` nor `..`.
    pub key: String,
    /// `create` and `put`: UTF-8 text without U+0000.
    pub value: Option<String>,
    /// `put`: create the item if the key does not exist.
    #[serde(default, deserialize_with = "upsert")]
    pub upsert: Option<bool>,
    /// `get`, `put` and `delete`: only if the item has one of these tags; `*`: if it exists.
    pub if_match: Option<TagsMember>,
    /// `get`, `put` and `delete`: only if the item has none of these tags; `*`: only if the key does not exist.
    pub if_none_match: Option<TagsMember>,
    /// `create` and `put`: seconds until the item expires, by the database's clock. Not together with `expires_at`.
    #[serde(default, deserialize_with = "seconds")]
    pub ttl: Option<u64>,
    /// `create` and `put`: when the item expires: RFC 3339. Without it, `ttl` and `keep_ttl` it never does.
    pub expires_at: Option<String>,
    /// `put`: let the item expire as it would have, instead of never.
    #[serde(default, deserialize_with = "keep_ttl")]
    pub keep_ttl: Option<bool>,
}

fn name<'de, D: Deserializer<'de>>(from: D) -> Result<OperationName, D::Error> {
    // Longer than any of them, with each character escaped.
    const LONGEST: usize = 64;
    let read = |text: &str| {
        let text = Some(text).filter(|text| text.len() <= LONGEST)?;
        let name: String = serde_json::from_str(text).ok()?;
        name.parse().ok()
    };
    member(
        from,
        read,
        "an op is \"get\", \"create\", \"put\" or \"delete\"",
    )
}

fn flag(text: &str) -> Option<Option<bool>> {
    match text {
        "null" => Some(None),
        _ => text.parse().ok().map(Some),
    }
}

fn upsert<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    member(from, flag, "an upsert is true or false")
}

fn keep_ttl<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    member(from, flag, "a keep_ttl is true or false")
}

/// A tag as in the member `etag` of an item, an array of such, or `*`.
#[derive(Debug, Union)]
#[oai(one_of)]
pub(super) enum TagsMember {
    One(String),
    Several(Vec<String>),
}

impl<'de> Deserialize<'de> for TagsMember {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TagsVisitor)
    }
}

struct TagsVisitor;

impl<'de> Visitor<'de> for TagsVisitor {
    type Value = TagsMember;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tag such as \"17-3\", an array of tags, or \"*\"")
    }

    fn visit_str<E: Error>(self, tag: &str) -> Result<TagsMember, E> {
        Ok(TagsMember::One(tag.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut of: A) -> Result<TagsMember, A::Error> {
        let mut tags = Vec::new();
        while let Some(tag) = of.next_element()? {
            if tags.len() == MOST_TAGS {
                let message = format_args!("an array has at most {MOST_TAGS} tags").to_string();
                return Err(A::Error::custom(message));
            }
            tags.push(tag);
        }
        Ok(TagsMember::Several(tags))
    }
}

/// A batch as it was read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadBatch {
    pub atomic: Option<bool>,
    pub operations: ReadOperations,
}

/// The operations, each or what is wrong with it, up to the most there may be; and whether there are more.
pub(super) struct ReadOperations {
    pub each: Vec<Result<NewOperation, String>>,
    pub are_too_many: bool,
}

impl<'de> Deserialize<'de> for ReadOperations {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(OperationsVisitor)
    }
}

struct OperationsVisitor;

impl<'de> Visitor<'de> for OperationsVisitor {
    type Value = ReadOperations;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of operations")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut of: A) -> Result<ReadOperations, A::Error> {
        let mut each = Vec::new();
        while each.len() < MOST_OPERATIONS
            && let Some(text) = of.next_element::<&RawValue>()?
        {
            each.push(operation(text.get()));
        }
        let mut are_too_many = false;
        while of.next_element::<IgnoredAny>()?.is_some() {
            are_too_many = true;
        }
        Ok(ReadOperations { each, are_too_many })
    }
}

fn operation(text: &str) -> Result<NewOperation, String> {
    // An array would be taken for the members in their order.
    if !text.starts_with('{') {
        return Err("an operation is a JSON object".to_owned());
    }
    serde_json::from_str(text).map_err(|error| {
        let text = error.to_string();
        // The line and the column would be those within the operation.
        let end = text.rfind(" at line ").unwrap_or(text.len());
        text[..end].to_owned()
    })
}
