//! One item as the contract has it, and what each operation does to it.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
};

use crate::history::{
    life::Life,
    record::{End, Operation, Outcome, Record, Tag, Value},
};

/// What a key may be at some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct State {
    /// Also one that has ended, until another takes its place.
    item: Option<Item>,
    /// The ids of items that were deleted or replaced, which never come back.
    gone: BTreeSet<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    /// `None` until an answer tells it: a create of unknown outcome tells no client which id it has made.
    id: Option<i64>,
    version: i64,
    /// `None` if it is one that no answer shows.
    value: Option<Value>,
    life: Life,
}

/// What the answers of a whole history tell: the one value of each tag, the one tag and the end of each value, and the
/// last version of each id. It is only for giving up early, since each answer must come true sooner or later.
#[derive(Default)]
pub(super) struct Book {
    values: HashMap<Tag, Value>,
    tags: HashMap<Value, Tag>,
    ends: HashMap<Value, End>,
    last: HashMap<i64, i64>,
}

impl Book {
    pub(super) fn of(history: &[Record]) -> Self {
        let mut book = Self::default();
        for record in history {
            let Some(tag) = record.outcome.tag() else {
                continue;
            };
            let last = book.last.entry(tag.id).or_default();
            *last = tag.version.max(*last);
            if let Some((tag, value)) = record.shows() {
                // Where two answers contradict each other, the second will have no explanation.
                book.values.entry(tag).or_insert(value);
                book.tags.entry(value).or_insert(tag);
                if record.end != End::Untold {
                    book.ends.entry(value).or_insert(record.end);
                }
            }
        }
        book
    }

    /// Whether an answer shows this value.
    pub(super) fn shows(&self, value: Value) -> bool {
        self.tags.contains_key(&value)
    }
}

impl State {
    /// What the key is after the operation; `None` if the operation could not have this outcome here, or, when its
    /// outcome is unknown, would have no effect here. `operation` is the record's, or one of those that its upsert of
    /// unknown outcome may have been.
    pub(super) fn after(&self, record: &Record, operation: Operation, book: &Book) -> Option<Self> {
        use Operation::{Create, Delete, Read, Update, Upsert};
        use Outcome::{Created, Deleted, Exists, Found, Missing, Refused, Unknown, Updated};

        let live = || self.found_by(record);
        match (operation, record.outcome) {
            (Read, Found(tag, value)) => {
                let state = live()?.with(tag)?;
                (state.item?.value == Some(value)).then_some(())?;
                state.told(record.end)
            }
            (Read | Update(..) | Delete(_), Missing) => self.missed_by(record),
            (Create(_), Exists) => live(),
            (Create(_), Refused(tag)) => live()?.with(tag),
            (Update(_, Some(sent)) | Delete(Some(sent)), Refused(tag)) if tag != sent => {
                live()?.with(tag)
            }
            (Create(value) | Upsert(value), Created(tag)) if tag.version == 1 => {
                let state = self.missed_by(record)?.deleted(book)?;
                state.born(Some(tag.id), value, record, book)
            }
            (Update(value, None) | Upsert(value), Updated(tag)) => {
                live()?.with(tag.before())?.updated(value, record, book)
            }
            (Update(value, Some(sent)), Updated(tag)) if sent == tag.before() => {
                live()?.with(sent)?.updated(value, record, book)
            }
            (Delete(None), Deleted | Unknown) => live()?.deleted(book),
            (Delete(Some(sent)), Deleted | Unknown) => live()?.with(sent)?.deleted(book),
            (Create(value), Unknown) => {
                let state = self.missed_by(record)?.deleted(book)?;
                state.born(None, value, record, book)
            }
            (Update(value, None), Unknown) => live()?.updated(value, record, book),
            (Update(value, Some(sent)), Unknown) => {
                live()?.with(sent)?.updated(value, record, book)
            }
            _ => None,
        }
    }

    /// The same for an operation that finds an item.
    fn found_by(&self, record: &Record) -> Option<Self> {
        let item = self.item?;
        self.living(item, item.life.found_by(record)?)
    }

    /// The same for an operation that finds none, be it that there is one which has ended.
    fn missed_by(&self, record: &Record) -> Option<Self> {
        match self.item {
            None => Some(self.clone()),
            Some(item) => self.living(item, item.life.missed_by(record)?),
        }
    }

    /// The same after an answer that tells the end.
    fn told(&self, end: End) -> Option<Self> {
        let item = self.item?;
        self.living(item, item.life.told(end)?)
    }

    fn living(&self, item: Item, life: Life) -> Option<Self> {
        self.holding(Item { life, ..item })
    }

    /// The same with this tag, if it can have it.
    fn with(&self, tag: Tag) -> Option<Self> {
        let item = self.item?;
        match item.id {
            _ if item.version != tag.version => None,
            Some(id) => (id == tag.id).then(|| self.clone()),
            None => self.holding(Item {
                id: Some(tag.id),
                ..item
            }),
        }
    }

    fn holding(&self, item: Item) -> Option<Self> {
        let reused = item.id.is_some_and(|id| self.gone.contains(&id));
        (!reused).then(|| Self {
            item: Some(item),
            gone: self.gone.clone(),
        })
    }

    fn born(&self, id: Option<i64>, value: Value, record: &Record, book: &Book) -> Option<Self> {
        let item = Item {
            id,
            version: 1,
            value: book.shows(value).then_some(value),
            life: Life::asked(record.expiry, None),
        };
        self.holding(item)?.by(record, book)
    }

    fn updated(&self, value: Value, record: &Record, book: &Book) -> Option<Self> {
        let item = self.item?;
        let item = Item {
            version: item.version + 1,
            value: book.shows(value).then_some(value),
            life: Life::asked(record.expiry, Some(item.life)),
            ..item
        };
        self.holding(item)?.by(record, book)
    }

    /// Without its item, if there is one.
    fn deleted(&self, book: &Book) -> Option<Self> {
        let Some(item) = self.item else {
            return Some(self.clone());
        };
        let mut gone = self.gone.clone();
        if let Some(id) = item.id {
            // A client is told of a later version, which could then never come about.
            if book.last.get(&id).is_some_and(|last| *last > item.version) {
                return None;
            }
            gone.insert(id);
        }
        Some(Self { item: None, gone })
    }

    /// Itself, unless what is stored now contradicts the record that stores it, or the book.
    fn by(self, record: &Record, book: &Book) -> Option<Self> {
        let item = self.item?;
        let end = item.value.and_then(|value| book.ends.get(&value).copied());
        let end = end.unwrap_or(End::Untold);
        // Nobody was told anything of what is unknown.
        let answered = match record.outcome {
            Outcome::Unknown => End::Untold,
            _ => record.end,
        };
        let told = self.told(end)?.told(answered)?;
        record.may_give(end).then_some(())?;
        let state = match item.value.and_then(|value| book.tags.get(&value)) {
            Some(tag) => told.with(*tag)?,
            None => told,
        };
        let version = item.version;
        let tag = state.item?.id.map(|id| Tag { id, version });
        let told = tag.and_then(|tag| book.values.get(&tag));
        (told.is_none() || told == item.value.as_ref()).then_some(state)
    }
}

impl Tag {
    /// The tag that an update made this one of.
    fn before(self) -> Self {
        Self {
            version: self.version - 1,
            ..self
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.item {
            None => write!(f, "absent"),
            Some(item) => {
                let id = item.id.map_or("?".to_owned(), |id| id.to_string());
                write!(f, "{id}-{}", item.version)?;
                match item.value {
                    Some(value) => write!(f, " with value {value}"),
                    None => write!(f, " with a value never seen"),
                }?;
                item.life.fmt(f)
            }
        }
    }
}
