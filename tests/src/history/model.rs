//! One item as the contract has it, and what each operation does to it.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
};

use crate::history::record::{Operation, Outcome, Record, Tag, Value};

/// What a key may be at some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct State {
    item: Option<Item>,
    /// The ids of deleted items, which never come back.
    gone: BTreeSet<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    /// `None` until an answer tells it: a create of unknown outcome tells no client which id it has made.
    id: Option<i64>,
    version: i64,
    /// `None` if it is one that no answer shows.
    value: Option<Value>,
}

/// What the answers of a whole history tell: the one value of each tag, the one tag of each value, and the last
/// version of each id. It is only for giving up early, since each answer must come true sooner or later.
#[derive(Default)]
pub(super) struct Book {
    values: HashMap<Tag, Value>,
    tags: HashMap<Value, Tag>,
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
    /// outcome is unknown, would have no effect here.
    pub(super) fn after(&self, record: &Record, book: &Book) -> Option<Self> {
        use Operation::{Create, Delete, Read, Update, Upsert};
        use Outcome::{Created, Deleted, Exists, Found, Missing, Refused, Unknown, Updated};

        match (record.operation, record.outcome) {
            (Read, Found(tag, value)) => {
                let state = self.with(tag)?;
                (state.item?.value == Some(value)).then_some(state)
            }
            (Read | Update(..) | Delete(_), Missing) => self.item.is_none().then(|| self.clone()),
            (Create(_), Exists) => self.item.map(|_| self.clone()),
            (Create(_), Refused(tag)) => self.with(tag),
            (Update(_, Some(sent)) | Delete(Some(sent)), Refused(tag)) if tag != sent => {
                self.with(tag)
            }
            (Create(value) | Upsert(value), Created(tag)) if tag.version == 1 => {
                self.born(Some(tag.id), value, book)
            }
            (Update(value, None) | Upsert(value), Updated(tag)) => {
                self.with(tag.before())?.updated(value, book)
            }
            (Update(value, Some(sent)), Updated(tag)) if sent == tag.before() => {
                self.with(sent)?.updated(value, book)
            }
            (Delete(None), Deleted | Unknown) => self.deleted(book),
            (Delete(Some(sent)), Deleted | Unknown) => self.with(sent)?.deleted(book),
            (Create(value) | Upsert(value), Unknown) if self.item.is_none() => {
                self.born(None, value, book)
            }
            (Update(value, None) | Upsert(value), Unknown) => self.updated(value, book),
            (Update(value, Some(sent)), Unknown) => self.with(sent)?.updated(value, book),
            _ => None,
        }
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

    fn born(&self, id: Option<i64>, value: Value, book: &Book) -> Option<Self> {
        let item = Item {
            id,
            version: 1,
            value: book.shows(value).then_some(value),
        };
        match self.item {
            None => self.holding(item)?.by(book),
            Some(_) => None,
        }
    }

    fn updated(&self, value: Value, book: &Book) -> Option<Self> {
        let item = self.item?;
        let item = Item {
            version: item.version + 1,
            value: book.shows(value).then_some(value),
            ..item
        };
        self.holding(item)?.by(book)
    }

    fn deleted(&self, book: &Book) -> Option<Self> {
        let item = self.item?;
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

    /// Itself, unless what is stored now contradicts the book.
    fn by(self, book: &Book) -> Option<Self> {
        let item = self.item?;
        let state = match item.value.and_then(|value| book.tags.get(&value)) {
            Some(tag) => self.with(*tag)?,
            None => self,
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
                }
            }
        }
    }
}
