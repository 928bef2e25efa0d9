//! What a write has to do with a row that is locked.

use crate::{
    item::{etag::ETag, value::Value},
    write::change::{Action, Done, Write},
};

/// What a write has to do with the row that it has locked, if there is one.
pub(super) enum Step<'a> {
    Nothing(Done),
    Delete(ETag),
    Update(ETag, &'a Value),
    Create(&'a Value),
}

impl<'a> Step<'a> {
    /// `current` is the tag of the item, if it is there.
    pub(super) fn of(write: &'a Write, current: Option<ETag>) -> Self {
        match (&write.action, current) {
            (Action::Create(_), Some(_)) => Self::Nothing(Done::Exists),
            (_, Some(tag)) if !write.precondition.holds(tag) => {
                Self::Nothing(Done::PreconditionFailed(tag))
            }
            (Action::Delete, Some(tag)) => Self::Delete(tag),
            (Action::Update(value) | Action::Upsert(value), Some(tag)) => Self::Update(tag, value),
            (Action::Create(value) | Action::Upsert(value), None) if write.creates() => {
                Self::Create(value)
            }
            (_, None) => Self::Nothing(Done::Missing),
        }
    }
}
