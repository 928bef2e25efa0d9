//! The problems that only operations on items have.

use entity::ETag;

use crate::http::{Code, Problem};

pub(crate) fn item_not_found() -> Problem {
    Problem::new(Code::ItemNotFound, "No item has this key.")
}

pub(crate) fn key_exists() -> Problem {
    let detail = "An item with this key exists. PUT overwrites it.";
    Problem::new(Code::KeyExists, detail)
}

pub(crate) fn precondition_failed(current: Option<ETag>) -> Problem {
    let detail = match current {
        Some(tag) => format!("The item exists, and its current tag is \"{tag}\"."),
        None => "No item has this key.".to_owned(),
    };
    Problem::new(Code::PreconditionFailed, detail).with_etag(current)
}
