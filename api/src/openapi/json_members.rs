//! The members of a JSON object.

use serde_json::Value;

pub(super) fn members(object: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    object.as_object_mut().into_iter().flatten()
}
