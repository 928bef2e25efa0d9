//! Pages of items, which may be large: all those being made and sent share bounded memory. Who asks for
//! a page that somebody else still waits to have read gets the same one.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use entity::{
    Cursor,
    list::{Listing, Page},
};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use crate::{
    config::Config,
    database::{Line, Waiting},
    pages::{PageBody, Paging},
    problem::Problem,
    room::{Room, Taken},
};

#[derive(Clone)]
pub struct Lists(Arc<Inner>);

struct Inner {
    line: Arc<Line>,
    room: Room,
    max_value_bytes: usize,
    /// Those who wait for a page that is not being read yet.
    waiting: Mutex<HashMap<Asked, Vec<Reader>>>,
}

struct Reader {
    waiting: Waiting<PageText>,
    _permit: OwnedSemaphorePermit,
}

/// What makes two pages the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    pub listing: Listing,
    pub paging: Paging,
}

/// A page as it is sent, and what its links depend on.
#[derive(Clone, Debug)]
pub struct PageText {
    /// JSON of a [`PageBody`].
    pub text: Bytes,
    pub total: Option<u64>,
    pub next: Option<Cursor>,
}

impl Lists {
    pub fn new(line: Arc<Line>, config: &Config) -> Self {
        Self(Arc::new(Inner {
            // What waited longer would have no time left to be read.
            room: Room::new(line.timeout.mul_f64(0.8)),
            line,
            max_value_bytes: config.max_value_bytes as usize,
            waiting: Mutex::default(),
        }))
    }

    pub async fn list(&self, asked: Asked) -> Result<PageText, Problem> {
        let inner = &self.0;
        let (waiting, told) = Waiting::new();
        let reader = Reader {
            waiting,
            _permit: inner.line.enter()?,
        };
        if inner.join(&asked, reader) {
            tokio::spawn(inner.clone().serve(asked));
        }
        match timeout(inner.line.timeout, told).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Problem::internal()),
            Err(_) => Err(Problem::database_silent()),
        }
    }
}

impl Inner {
    /// Whether this is the first who waits for it.
    fn join(&self, asked: &Asked, reader: Reader) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.entry(asked.clone()) {
            Entry::Occupied(mut readers) => {
                readers.get_mut().push(reader);
                false
            }
            Entry::Vacant(place) => {
                place.insert(vec![reader]);
                true
            }
        }
    }

    async fn serve(self: Arc<Self>, asked: Asked) {
        let room = self.room.take(self.most_bytes(&asked.listing)).await;
        // Who comes from here on waits for a later page: a read is sent after its request arrived.
        let mut readers = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.remove(&asked).unwrap_or_default()
        };
        readers.retain(|reader| !reader.waiting.is_gone());
        let Some(room) = room else {
            return tell_all(readers, Problem::overloaded);
        };
        if readers.is_empty() {
            return;
        }
        let page = match self.line.read(&asked.listing).await {
            Ok(page) => page,
            Err(error) => return tell_all(readers, || Problem::not_written(&error)),
        };
        match text(page, &asked, room) {
            Ok(page) => readers
                .into_iter()
                .for_each(|reader| reader.waiting.done(page.clone())),
            Err(_) => tell_all(readers, Problem::internal),
        }
    }

    /// Twice the values: the rows beside the values read from them, and then these beside the text.
    fn most_bytes(&self, listing: &Listing) -> usize {
        let values = if listing.keys_only { 0 } else { listing.limit };
        2 * usize::try_from(values).unwrap_or_default() * self.max_value_bytes
    }
}

fn tell_all(readers: Vec<Reader>, problem: impl Fn() -> Problem) {
    for reader in readers {
        reader.waiting.failed(&problem);
    }
}

fn text(page: Page, asked: &Asked, room: Taken) -> serde_json::Result<PageText> {
    let (total, next) = (page.total, page.next.clone());
    let body = PageBody::new(page, &asked.paging, asked.listing.limit);
    let text = room.hold(serde_json::to_vec(&body)?);
    Ok(PageText { text, total, next })
}
