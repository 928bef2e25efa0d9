//! What a client asked, what it was told, and when.

use std::{fmt, str::FromStr, time::Duration};

/// How far the records' clock and the database's are apart at most: SQLite's tells milliseconds, and the difference of
/// the two is measured once.
pub const CLOCK_ERROR: Duration = Duration::from_millis(5);

/// What a write stores. No two writes of a history store the same, so a value tells which of them was seen.
pub type Value = u64;

/// `{id}-{version}`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag {
    pub id: i64,
    pub version: i64,
}

/// When an item that is written is to expire. The times are those of the records' clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    #[default]
    Never,
    /// As before; a new item never.
    Keep,
    /// So long after the database's clock was read for the write.
    After(Duration),
    At(Duration),
}

/// When an item expires, as an answer tells it, by the records' clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Untold,
    #[default]
    Never,
    At(Duration),
}

/// What a client asks of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Read,
    Create(Value),
    /// Under `If-Match`, if there is a tag.
    Update(Value, Option<Tag>),
    Upsert(Value),
    /// Under `If-Match`, if there is a tag.
    Delete(Option<Tag>),
}

/// What it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Found(Tag, Value),
    Created(Tag),
    Updated(Tag),
    Deleted,
    /// There is no such key.
    Missing,
    /// The key to create exists.
    Exists,
    /// The precondition does not hold: the item has this tag.
    Refused(Tag),
    /// Nothing was written, and nothing will be.
    NotDone,
    /// It is unknown: a 504, or no answer at all.
    Unknown,
}

/// One operation as its client saw it. The times are those of one clock.
#[derive(Clone, Debug)]
pub struct Record {
    /// Which client asked which server, for the reader of a failure.
    pub by: String,
    pub operation: Operation,
    /// What a write asks for.
    pub expiry: Expiry,
    pub outcome: Outcome,
    /// Of the item that the answer shows.
    pub end: End,
    pub called: Duration,
    /// With [`Outcome::Unknown`] when the client gave up.
    pub returned: Duration,
}

impl Record {
    /// Whether its answer says what it did.
    pub(crate) fn is_answered(&self) -> bool {
        !matches!(self.outcome, Outcome::NotDone | Outcome::Unknown)
    }

    /// The tag and the value that the answer shows, be it the asker's own.
    #[must_use]
    pub fn shows(&self) -> Option<(Tag, Value)> {
        match self.outcome {
            Outcome::Found(tag, value) => Some((tag, value)),
            Outcome::Created(tag) | Outcome::Updated(tag) => Some((tag, self.operation.value()?)),
            _ => None,
        }
    }
}

impl Record {
    /// Whether the item that it stores may end so.
    pub(crate) fn may_give(&self, end: End) -> bool {
        match (self.expiry, end) {
            (Expiry::After(time), End::At(end)) => {
                let latest = self.returned.saturating_add(time + CLOCK_ERROR);
                self.called + time <= end + CLOCK_ERROR
                    && (self.outcome == Outcome::Unknown || end <= latest)
            }
            // What had passed by then ends when it is written.
            (Expiry::At(asked), End::At(end)) if asked < end => {
                let latest = self.returned.saturating_add(CLOCK_ERROR);
                self.called <= end + CLOCK_ERROR
                    && (self.outcome == Outcome::Unknown || end <= latest)
            }
            (Expiry::At(asked), End::At(end)) => asked == end,
            (Expiry::Never, End::At(_)) | (Expiry::After(_) | Expiry::At(_), End::Never) => false,
            (_, End::Untold) | (Expiry::Never, End::Never) | (Expiry::Keep, _) => true,
        }
    }
}

impl Operation {
    /// What it stores.
    #[must_use]
    pub fn value(&self) -> Option<Value> {
        match self {
            Self::Create(value) | Self::Update(value, _) | Self::Upsert(value) => Some(*value),
            Self::Read | Self::Delete(_) => None,
        }
    }
}

impl Outcome {
    /// The tag that it shows.
    #[must_use]
    pub fn tag(&self) -> Option<Tag> {
        match self {
            Self::Found(tag, _) | Self::Created(tag) | Self::Updated(tag) | Self::Refused(tag) => {
                Some(*tag)
            }
            Self::Deleted | Self::Missing | Self::Exists | Self::NotDone | Self::Unknown => None,
        }
    }
}

impl FromStr for Tag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.trim_matches('"').split_once('-');
        let tag = numbers.and_then(|(id, version)| {
            Some(Self {
                id: id.parse().ok()?,
                version: version.parse().ok()?,
            })
        });
        tag.ok_or_else(|| format!("{text} is no tag"))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.id, self.version)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => write!(f, "read"),
            Self::Create(value) => write!(f, "create value {value}"),
            Self::Update(value, None) => write!(f, "update to value {value}"),
            Self::Update(value, Some(tag)) => write!(f, "update {tag} to value {value}"),
            Self::Upsert(value) => write!(f, "upsert value {value}"),
            Self::Delete(None) => write!(f, "delete"),
            Self::Delete(Some(tag)) => write!(f, "delete {tag}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(tag, value) => write!(f, "found {tag} with value {value}"),
            Self::Created(tag) => write!(f, "created {tag}"),
            Self::Updated(tag) => write!(f, "updated, now {tag}"),
            Self::Deleted => write!(f, "deleted"),
            Self::Missing => write!(f, "no such key"),
            Self::Exists => write!(f, "exists"),
            Self::Refused(tag) => write!(f, "refused, it is {tag}"),
            Self::NotDone => write!(f, "not done"),
            Self::Unknown => write!(f, "unknown"),
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => Ok(()),
            Self::Keep => write!(f, ", keeping its end"),
            Self::After(time) => write!(f, ", ending after {:.2}", milliseconds(*time)),
            Self::At(time) => write!(f, ", ending at {:.2}", milliseconds(*time)),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => Ok(()),
            Self::Untold => write!(f, ", until nobody knows when"),
            Self::At(time) => write!(f, ", until {:.2}", milliseconds(*time)),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (called, returned) = (milliseconds(self.called), milliseconds(self.returned));
        write!(f, "{called:9.2} {returned:9.2}  {}: ", self.by)?;
        write!(f, "{}{}", self.operation, self.expiry)?;
        write!(f, " -> {}", self.outcome)?;
        match self.shows() {
            Some(_) => self.end.fmt(f),
            None => Ok(()),
        }
    }
}
