//! How long the JSON text of an item can be.

use crate::item::key::MAX_KEY_BYTES;

/// A byte that is written as `\u00XX`.
const ESCAPED_BYTE: usize = 6;
/// Room for the rest: the names of the members, the other members, and white space.
const REST: usize = 4096;

/// The most bytes of an item as a JSON object, if its value has at most `max_value_bytes`: every byte
/// of key and value may be escaped.
pub fn max_json_bytes(max_value_bytes: usize) -> usize {
    (max_value_bytes + MAX_KEY_BYTES) * ESCAPED_BYTE + REST
}
