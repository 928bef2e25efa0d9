//! Reads of pages, which may be large and slow. A request for a page that is already asked for, and not being
//! read yet, gets the same one.
//!
//! Of a page, small values come at once. If there are larger ones, only their sizes come: then memory is
//! reserved for exactly this page, and it is read once more. A small page is one for all clients; a large
//! one is read for each client, from its own share of the memory, so that none waits for the share of another.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use database::Session;
use entity::read::{Listing, Page, list};
use sea_orm::DbErr;
use tokio::time::Instant;

use super::{
    page_text::{PageNeed, PageText},
    paging::PageRequest,
};
use crate::{
    http::{Arrival, MemoryBudget, Reservation, client_network, is_exempt},
    store::{Asker, Error, ListTurn, ReadQuery, Reply, SharedReads, Store},
};

/// The most bytes of all values that come with a page at once: no memory is reserved for those, so only
/// the pages that are being read have them.
const MOST_SMALL_VALUES: usize = 512 << 10;

#[derive(Clone)]
pub(super) struct PageReads(Arc<PageReader>);

struct PageReader {
    store: Store,
    memory: MemoryBudget,
    pages: SharedReads<PageRequest, PageAsker>,
    /// The requests for each large page, of each client for itself.
    large: Mutex<HashMap<(IpAddr, PageRequest), LargePage>>,
}

/// A large page that is not being read yet.
struct LargePage {
    need: PageNeed,
    replies: Vec<Reply<PageText>>,
}

/// A client that asks for a page.
struct PageAsker {
    client: IpAddr,
    reply: Reply<PageText>,
}

impl Asker for PageAsker {
    type Answer = PageText;

    fn reply(&self) -> &Reply<PageText> {
        &self.reply
    }

    fn into_reply(self) -> Reply<PageText> {
        self.reply
    }
}

/// A listing, and the size in bytes beyond which a value stays in the database.
struct BoundedListing<'a>(&'a Listing, usize);

impl ReadQuery for BoundedListing<'_> {
    type Answer = Page;
    const PLANNED_ONCE: bool = false;

    async fn ask(&self, session: &Session) -> Result<Page, DbErr> {
        session.plan_for_values().await?;
        list(session, self.0, self.1).await
    }
}

impl PageReads {
    pub(super) fn new(store: Store, memory: MemoryBudget) -> Self {
        Self(Arc::new(PageReader {
            pages: SharedReads::new(store.list_turns().clone()),
            store,
            memory,
            large: Mutex::default(),
        }))
    }

    /// # Errors
    /// Never [`Error::Unknown`].
    pub(super) async fn read(
        &self,
        request: PageRequest,
        Arrival {
            client, deadline, ..
        }: Arrival,
    ) -> Result<PageText, Error> {
        let reader = &self.0;
        let submit = |reply| {
            let client = client_network(client);
            if reader.pages.join(&request, PageAsker { client, reply }) {
                reader.start(request);
            }
        };
        reader.store.sessions().call(deadline, submit).await
    }
}

impl PageReader {
    fn start(self: &Arc<Self>, request: PageRequest) {
        tokio::spawn(self.clone().serve(request));
    }

    async fn serve(self: Arc<Self>, request: PageRequest) {
        let begun = self.pages.begin(&request).await;
        if self.pages.next(&request) {
            self.start(request.clone());
        }
        let Some((askers, turn)) = begun else {
            return;
        };
        let most = MOST_SMALL_VALUES / usize::try_from(request.listing.limit).unwrap_or(usize::MAX);
        match self.page(&request.listing, most, turn).await {
            Ok(page) => self.answer(&request, page, askers),
            Err(error) => {
                for asker in askers {
                    asker.reply.failed(error.clone());
                }
            }
        }
    }

    /// Gives each client its answer, or has it wait for the memory for it.
    fn answer(self: &Arc<Self>, request: &PageRequest, page: Page, askers: Vec<PageAsker>) {
        let (text, need) = match page.left_out {
            None => {
                let (text, need) = PageText::small(page, request);
                (Some(text), need)
            }
            Some(_) => (None, PageNeed::of(&page)),
        };
        for (client, replies) in by_client(askers) {
            match text.as_ref().and_then(|text| self.held(text, client)) {
                Some(text) => {
                    for reply in replies {
                        reply.done(text.clone());
                    }
                }
                None => self.wait(client, request, need, replies),
            }
        }
    }

    /// A small page for this client, if it may have the memory at once that the page keeps.
    fn held(&self, page: &PageText, client: IpAddr) -> Option<PageText> {
        if is_exempt(&page.text) {
            return Some(page.clone());
        }
        let reserved = self.memory.try_reserve(client, page.text.len())?;
        let text = reserved.hold(page.text.clone());
        Some(PageText {
            text,
            ..page.clone()
        })
    }

    /// Has the requests of a client wait for a large page, with others of this client if there are any.
    fn wait(
        self: &Arc<Self>,
        client: IpAddr,
        request: &PageRequest,
        need: PageNeed,
        replies: Vec<Reply<PageText>>,
    ) {
        let page = (client, request.clone());
        let is_first = within(&self.large, |large| match large.entry(page.clone()) {
            Entry::Occupied(mut waiting) => {
                waiting.get_mut().need = need;
                waiting.get_mut().replies.extend(replies);
                false
            }
            Entry::Vacant(place) => {
                place.insert(LargePage { need, replies });
                true
            }
        });
        if is_first {
            tokio::spawn(self.clone().serve_large(page, need));
        }
    }

    async fn serve_large(self: Arc<Self>, page: (IpAddr, PageRequest), mut need: PageNeed) {
        let mut replies = Vec::new();
        let text = loop {
            let deadline = self.latest_deadline(&page, &replies);
            let place = self.place(page.0, need, deadline).await;
            let joined = within(&self.large, |large| large.remove(&page));
            if let Some(joined) = joined {
                need = joined.need;
                replies.extend(joined.replies);
            }
            if let Err(error) = &place {
                // Who joined in the meantime may have more time.
                for reply in replies.extract_if(.., |reply| reply.deadline() <= deadline) {
                    reply.failed(error.clone());
                }
            }
            replies.retain(|reply: &Reply<PageText>| !reply.is_gone());
            if replies.is_empty() {
                return;
            }
            let Ok((reserved, turn)) = place else {
                continue;
            };
            let read = match self.page(&page.1.listing, need.largest_value, turn).await {
                Ok(read) => read,
                Err(error) => break Err(error),
            };
            // The page may need more, after other writes in between or with values that are escaped.
            match read.left_out {
                Some(_) => need = PageNeed::of(&read),
                None => match PageText::large(read, &page.1, reserved) {
                    Ok(text) => break Ok(text),
                    Err(more) => need = more,
                },
            }
        };
        for reply in replies {
            reply.conclude(text.clone());
        }
    }

    /// Until when the last of those waits who ask for a large page.
    fn latest_deadline(
        &self,
        page: &(IpAddr, PageRequest),
        replies: &[Reply<PageText>],
    ) -> Instant {
        within(&self.large, |large| {
            let joined = large.get(page).map_or(&[][..], |large| &large.replies);
            let deadlines = replies.iter().chain(joined).map(Reply::deadline);
            deadlines.max().unwrap_or_else(Instant::now)
        })
    }

    /// Memory for a large page, and then the turn to read it.
    async fn place(
        &self,
        client: IpAddr,
        need: PageNeed,
        deadline: Instant,
    ) -> Result<(Reservation, ListTurn<'_>), Error> {
        let reserved = self.memory.reserve(client, need.memory, deadline).await?;
        Ok((reserved, self.store.list_turns().turn(deadline).await?))
    }

    async fn page(
        &self,
        listing: &Listing,
        most_value_bytes: usize,
        turn: ListTurn<'_>,
    ) -> Result<Page, Error> {
        let query = BoundedListing(listing, most_value_bytes);
        let page = self.store.sessions().read(&query).await;
        drop(turn);
        page.map_err(Error::Failed)
    }
}

/// The requests of each client.
fn by_client(askers: Vec<PageAsker>) -> HashMap<IpAddr, Vec<Reply<PageText>>> {
    let mut clients: HashMap<_, Vec<_>> = HashMap::new();
    for PageAsker { client, reply } in askers {
        clients.entry(client).or_default().push(reply);
    }
    clients
}

/// Does something with a locked map.
fn within<K: Eq + Hash, V, T>(
    map: &Mutex<HashMap<K, V>>,
    act: impl FnOnce(&mut HashMap<K, V>) -> T,
) -> T {
    act(&mut map.lock().unwrap_or_else(PoisonError::into_inner))
}
