//! Members of bodies that are read by their text. The library's own errors would name types of this language, and quote a
//! string of any length, more than once.

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::value::RawValue;

/// A member of which `read` makes something; else it is not as `expected`.
pub(super) fn member<'de, D: Deserializer<'de>, T>(
    from: D,
    read: impl FnOnce(&str) -> Option<T>,
    expected: &'static str,
) -> Result<T, D::Error> {
    let text = <&RawValue>::deserialize(from)?;
    read(text.get()).ok_or_else(|| D::Error::custom(expected))
}

/// `null` is as if it were left out.
pub(super) fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let read = |text: &str| match text {
        "null" => Some(None),
        _ => text.parse().ok().map(Some),
    };
    member(from, read, "a ttl is a whole number of seconds")
}
