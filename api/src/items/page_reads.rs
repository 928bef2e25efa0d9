//! Reads of pages, which may be large and slow. All pages being made and sent share bounded memory, and
//! all those being read a part of the connections. A request for a page that is already asked for, and
//! not being read yet, gets the same one.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use database::Session;
use entity::read::{Listing, Page, list};
use sea_orm::DbErr;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use super::{
    page_memory::{PageMemory, Reservation},
    page_text::{NoText, PageText},
    paging::PageRequest,
};
use crate::store::{Error, ReadQuery, Reply, RequestTime, Store, StoreSettings};

/// The most bytes that an item takes beside its value, as text or not: a key of which each byte is
/// escaped, a tag, two times, the names of the members.
const BESIDE_VALUE: usize = 2048;

#[derive(Clone)]
pub(super) struct PageReads(Arc<PageReader>);

struct PageReader {
    store: Store,
    memory: PageMemory,
    /// The right to be read, for a part of the connections.
    turns: Semaphore,
    time: RequestTime,
    max_value_bytes: usize,
    /// The requests for each page that is not being read yet.
    waiting: Mutex<HashMap<PageRequest, Vec<Reply<PageText>>>>,
}

impl ReadQuery for Listing {
    type Answer = Page;

    async fn ask(&self, session: &Session) -> Result<Page, DbErr> {
        list(session, self).await
    }
}

impl PageReads {
    pub(super) fn new(store: Store, settings: &StoreSettings) -> Self {
        Self(Arc::new(PageReader {
            store,
            memory: PageMemory::default(),
            // The other half is for single items.
            turns: Semaphore::new((settings.connections as usize / 2).max(1)),
            time: settings.time,
            max_value_bytes: settings.max_value_bytes,
            waiting: Mutex::default(),
        }))
    }

    /// # Errors
    /// Never [`Error::Unknown`].
    pub(super) async fn read(
        &self,
        request: PageRequest,
        deadline: Instant,
    ) -> Result<PageText, Error> {
        let reader = &self.0;
        let submit = |reply| {
            if reader.join(&request, reply) {
                tokio::spawn(reader.clone().serve(request, deadline));
            }
        };
        reader.store.sessions().call(deadline, submit).await
    }
}

impl PageReader {
    /// Whether this is the first request that waits for the page.
    fn join(&self, request: &PageRequest, reply: Reply<PageText>) -> bool {
        match self.waiting().entry(request.clone()) {
            Entry::Occupied(mut replies) => {
                replies.get_mut().push(reply);
                false
            }
            Entry::Vacant(place) => {
                place.insert(vec![reply]);
                true
            }
        }
    }

    async fn serve(self: Arc<Self>, request: PageRequest, deadline: Instant) {
        let last_turn = self.time.last_page_turn(deadline);
        let place = timeout_at(last_turn, self.place(&request.listing)).await;
        // A request that comes from here on waits for a later page: a read is sent after its request
        // arrived.
        let mut replies = self.waiting().remove(&request).unwrap_or_default();
        replies.retain(|reply| !reply.is_gone());
        if replies.is_empty() {
            return;
        }
        let page = match place {
            Ok(Some((reservation, turn))) => self.page(&request, reservation, turn).await,
            Ok(None) | Err(_) => Err(Error::Overloaded),
        };
        for reply in replies {
            reply.conclude(page.clone());
        }
    }

    /// Memory for a page, and then the turn to read it.
    async fn place(&self, listing: &Listing) -> Option<(Reservation, SemaphorePermit<'_>)> {
        let reservation = self.memory.reserve(self.usual_bytes(listing)).await?;
        // Only a closed semaphore has none, and this one is never closed.
        Some((reservation, self.turns.acquire().await.ok()?))
    }

    async fn page(
        &self,
        request: &PageRequest,
        reservation: Reservation,
        turn: SemaphorePermit<'_>,
    ) -> Result<PageText, Error> {
        let page = self.store.sessions().read(&request.listing).await;
        drop(turn);
        let page = page.map_err(Error::Failed)?;
        PageText::new(page, request, reservation).map_err(|no_text| match no_text {
            NoText::NoMemory => Error::Overloaded,
            NoText::Unwritable => Error::Lost,
        })
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

    fn waiting(&self) -> MutexGuard<'_, HashMap<PageRequest, Vec<Reply<PageText>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
