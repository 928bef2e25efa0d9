//! Pages of items, which may be large and slow: all those being made and sent share bounded memory, and
//! all those being read a part of the connections. Who asks for a page that somebody else still waits
//! to have read gets the same one.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use entity::read::{Cursor, ListedItem, Listing, Page};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::{
    config::Config,
    database::{Line, Waiting},
    pages::{PageBody, Paging},
    problem::Problem,
    room::{Room, Taken},
};

/// The most bytes that an item takes beside its value, as text or not: a key of which each byte is
/// escaped, a tag, two times, the names of the members.
const BESIDE_VALUE: usize = 2048;

/// What an item usually takes as text beside key and value, and what the page does beside its items.
const USUAL_BESIDE_VALUE: usize = 256;

#[derive(Clone)]
pub struct Lists(Arc<Inner>);

struct Inner {
    line: Arc<Line>,
    room: Room,
    /// Of those that are read.
    turns: Semaphore,
    /// How long a page waits to be read.
    time: Duration,
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
        let connections = config.database_max_connections as usize;
        Self(Arc::new(Inner {
            room: Room::default(),
            // The others are for single items.
            turns: Semaphore::new((connections / 2).max(1)),
            // What waited longer would have no time left to be read.
            time: line.timeout.mul_f64(0.8),
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
        let place = timeout(self.time, self.place(&asked.listing)).await;
        // Who comes from here on waits for a later page: a read is sent after its request arrived.
        let mut readers = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.remove(&asked).unwrap_or_default()
        };
        readers.retain(|reader| !reader.waiting.is_gone());
        let Ok(Some((room, turn))) = place else {
            return tell_all(readers, Problem::overloaded);
        };
        if readers.is_empty() {
            return;
        }
        let page = self.line.read(&asked.listing).await;
        drop(turn);
        let page = match page {
            Ok(page) => page,
            Err(error) => return tell_all(readers, || Problem::not_written(&error)),
        };
        match text(page, &asked, room) {
            Ok(page) => readers
                .into_iter()
                .for_each(|reader| reader.waiting.done(page.clone())),
            Err(problem) => tell_all(readers, || problem.clone()),
        }
    }

    /// Memory for a page, and then the turn to read it.
    async fn place(&self, listing: &Listing) -> Option<(Taken, SemaphorePermit<'_>)> {
        let room = self.room.take(self.usual_bytes(listing)).await?;
        // Only a closed semaphore has none, and this one is never closed.
        Some((room, self.turns.acquire().await.ok()?))
    }

    /// Twice the values: the rows beside the values read from them, and then these beside the text.
    fn usual_bytes(&self, listing: &Listing) -> usize {
        let value = if listing.keys_only {
            0
        } else {
            self.max_value_bytes
        };
        usize::try_from(listing.limit).unwrap_or_default() * (2 * value + BESIDE_VALUE)
            + BESIDE_VALUE
    }
}

fn tell_all(readers: Vec<Reader>, problem: impl Fn() -> Problem) {
    for reader in readers {
        reader.waiting.failed(&problem);
    }
}

/// Measured first only where it is longer than usual: values may be escaped, byte for byte, or larger
/// than kvd takes them now.
///
/// # Errors
/// There is no room for it.
fn text(page: Page, asked: &Asked, room: Taken) -> Result<PageText, Problem> {
    let (total, next) = (page.total, page.next.clone());
    let value = |item: &ListedItem| item.value.as_ref().map_or(0, String::len);
    let values: usize = page.items.iter().map(value).sum();
    let keys: usize = page.items.iter().map(|item| item.key.len()).sum();
    let usual = values + keys + USUAL_BESIDE_VALUE * (page.items.len() + 1);
    let body = PageBody::new(page, &asked.paging, asked.listing.limit);

    let mut room = room
        .enlarge(values + usual)
        .ok_or_else(Problem::overloaded)?;
    let mut text = Bounded(Vec::with_capacity(usual));
    if serde_json::to_writer(&mut text, &body).is_err() {
        drop(text);
        let mut count = Count(0);
        serde_json::to_writer(&mut count, &body).map_err(|_| Problem::internal())?;
        room = room
            .enlarge(values + count.0)
            .ok_or_else(Problem::overloaded)?;
        text = Bounded(Vec::with_capacity(count.0));
        serde_json::to_writer(&mut text, &body).map_err(|_| Problem::internal())?;
    }
    let text = room.hold(text.0);
    Ok(PageText { text, total, next })
}

/// Never grows.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if self.0.capacity() - self.0.len() < text.len() {
            return Ok(0);
        }
        self.0.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many bytes were written.
struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0 += text.len();
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
