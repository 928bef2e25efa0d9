//! A write and what can become of it.

use database::{Failure, statement_error};
use sea_orm::{DbErr, FromQueryResult, sqlx};

use crate::item::{
    Item,
    etag::ETag,
    key::Key,
    precondition::{Precondition, TagMatch},
    time::Time,
    value::Value,
};

use super::expiry::Expiry;

/// How often a write is run again after it lost against another one.
pub(crate) const MAX_RERUNS: u32 = 50;

/// One change of one key.
#[derive(Clone, Debug)]
pub struct Write {
    pub key: Key,
    pub action: Action,
    pub precondition: Precondition,
    pub expiry: Expiry,
}

/// What to do with the key.
#[derive(Clone, Debug)]
pub enum Action {
    /// Store the value if the key does not exist.
    Create(Value),
    /// Store the value if the key exists.
    Update(Value),
    /// Store the value in any case.
    Upsert(Value),
    Delete,
}

/// What to do about a row that another session has locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLocked {
    /// Wait for it as long as the session does.
    Wait,
    /// Do not wait where the engine lets one statement decide so (MySQL, MariaDB: `NOWAIT`);
    /// elsewhere the session's lock timeout counts.
    Fail,
}

/// What a write did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Created(Item),
    Updated(Item),
    Deleted,
    /// The key to create exists already; nothing was written.
    Exists,
    /// There is no such key; nothing was written.
    Missing,
    /// The precondition did not hold; nothing was written. The tag is the item's as it was then,
    /// if there is one, and never fulfils the precondition.
    PreconditionFailed(Option<ETag>),
}

/// A write without an outcome.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The caller gave it up before anything was sent.
    #[error("abandoned before it was sent")]
    Abandoned,
    /// Other writers changed the key again and again; nothing was written.
    #[error("others write this key all the time; nothing was written")]
    Contended,
    /// The database took the write, stored nothing, and reported no error.
    #[error("a trigger, a rule or a policy of the database ignored it; nothing was written")]
    Ignored,
    /// Nothing was written.
    #[error("nothing was written: {0}")]
    NotWritten(DbErr),
    /// It may have been written, or may still be.
    #[error("the outcome is unknown: {0}")]
    Unknown(DbErr),
}

impl Write {
    /// Whether it creates the item if the key does not exist.
    pub(super) fn creates(&self) -> bool {
        match self.action {
            Action::Create(_) => true,
            Action::Upsert(_) => self.precondition.if_match.is_none(),
            Action::Update(_) | Action::Delete => false,
        }
    }

    /// Whether it is done whatever the tag, and the item never expires.
    pub(super) fn is_plain(&self) -> bool {
        self.precondition == Precondition::default() && self.expiry == Expiry::Never
    }

    /// The text to store; empty if there is none.
    pub fn value(&self) -> &str {
        match &self.action {
            Action::Create(value) | Action::Update(value) | Action::Upsert(value) => value.as_str(),
            Action::Delete => "",
        }
    }
}

/// A part of a precondition as the statements take it: `*` or a list such as `,1-1,2-7,`. `NULL` stands
/// for no condition. So the text of a statement is the same for any number of tags.
pub(super) fn listed(part: &TagMatch) -> String {
    match part {
        TagMatch::Any => "*".to_owned(),
        TagMatch::Tags(tags) => tags
            .iter()
            .fold(",".to_owned(), |list, tag: &ETag| format!("{list}{tag},")),
    }
}

impl WriteError {
    /// The error of a statement that writes.
    pub(crate) fn of(error: DbErr) -> Self {
        match Failure::of(&error) {
            Failure::Unknown => Self::Unknown(error),
            Failure::NoConnection
            | Failure::Duplicate
            | Failure::RolledBack
            | Failure::Locked
            | Failure::Cancelled
            | Failure::NoRoom
            | Failure::ReadOnly
            | Failure::NotMigrated
            | Failure::NoRight
            | Failure::Refused
            | Failure::Unreadable => Self::NotWritten(error),
        }
    }

    /// The statement succeeded, but what it did cannot be read.
    pub(super) fn unread(error: sqlx::Error) -> Self {
        Self::Unknown(statement_error(error))
    }
}

/// What follows from the latest of `attempts`: `Some` ends the write, `None` runs it again.
///
/// `Ok(None)` is an attempt that another write overtook.
pub(super) fn concluded<T>(
    attempt: Result<Option<T>, WriteError>,
    attempts: u32,
) -> Option<Result<T, WriteError>> {
    match attempt {
        Ok(Some(done)) => Some(Ok(done)),
        Ok(None) if attempts <= MAX_RERUNS => None,
        Ok(None) => Some(Err(WriteError::Contended)),
        Err(WriteError::NotWritten(error))
            if Failure::of(&error) == Failure::RolledBack && attempts <= MAX_RERUNS =>
        {
            None
        }
        Err(error) => Some(Err(error)),
    }
}

/// What the engine reports of a write.
pub enum Done {
    Stored(Written),
    Deleted,
    Exists,
    Missing,
    PreconditionFailed(ETag),
}

impl Done {
    /// What it means for the caller, whose write this was.
    pub fn outcome(self, write: Write) -> Outcome {
        match (self, write.action) {
            (
                Self::Stored(written),
                Action::Create(value) | Action::Update(value) | Action::Upsert(value),
            ) => {
                let created = written.created;
                let item = written.item(write.key, value);
                if created {
                    Outcome::Created(item)
                } else {
                    Outcome::Updated(item)
                }
            }
            (Self::Deleted | Self::Stored(_), _) => Outcome::Deleted,
            (Self::Exists, _) => Outcome::Exists,
            // An upsert accepts a missing key, unless `If-Match` asks for a tag or for `*`.
            (Self::Missing, Action::Upsert(_)) => Outcome::PreconditionFailed(None),
            (Self::Missing, _) => Outcome::Missing,
            (Self::PreconditionFailed(tag), _) => Outcome::PreconditionFailed(Some(tag)),
        }
    }
}

/// What the server decides about a stored item.
#[derive(FromQueryResult)]
pub struct Written {
    /// Whether it is a new item.
    pub(super) created: bool,
    pub(super) id: i64,
    pub(super) version: i64,
    pub(super) created_at: Time,
    pub(super) updated_at: Time,
    pub(super) expires_at: Option<Time>,
}

impl Written {
    fn item(self, key: Key, value: Value) -> Item {
        Item {
            id: self.id,
            key: key.into_string(),
            value: value.into_string(),
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
            expires_at: self.expires_at,
        }
    }
}
