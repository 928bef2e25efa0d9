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

use super::{
    page_text::{PageNeed, PageText},
    paging::PageRequest,
};
use crate::{
    http::{Arrival, MemoryBudget, Reservation, client_network, is_exempt},
    store::{
        Asker, Counted, Error, ListTurn, ReadQuery, Reply, SharedReads, Store,
        unless_all_turned_away,
    },
};
use database::Session;
use entity::read::{Listing, Page, list};
use sea_orm::DbErr;

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
    counted: Option<Counted>,
    replies: Vec<Reply<PageText>>,
}

/// A client that asks for a page.
struct PageAsker {
    client: IpAddr,
    /// If a total is wanted.
    counted: Option<Counted>,
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
        counted: Option<Counted>,
        Arrival {
            client, deadline, ..
        }: Arrival,
    ) -> Result<PageText, Error> {
        let reader = &self.0;
        let submit = |reply| {
            let asker = PageAsker {
                client: client_network(client),
                counted,
                reply,
            };
            if reader.pages.join(&request, asker) {
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
        if self.pages.let_next_begin(&request) {
            self.start(request.clone());
        }
        let Some((askers, turn)) = begun else {
            return;
        };
        let most = MOST_SMALL_VALUES / usize::try_from(request.listing.limit).unwrap_or(usize::MAX);
        match self.page(&request.listing, most, turn).await {
            Ok(page) => {
                let counted = newest(askers.iter().map(|asker| asker.counted));
                self.answer(&request, page, counted, askers);
            }
            Err(error) => {
                for asker in askers {
                    asker.reply.failed(error.clone());
                }
            }
        }
    }

    /// Gives each client its answer, or has it wait for the memory for it.
    fn answer(
        self: &Arc<Self>,
        request: &PageRequest,
        page: Page,
        counted: Option<Counted>,
        askers: Vec<PageAsker>,
    ) {
        let (text, need) = match page.left_out {
            None => {
                let (text, need) = PageText::small(page, counted, request);
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
                None => {
                    let large = LargePage {
                        need,
                        counted,
                        replies,
                    };
                    self.wait(client, request, large);
                }
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
    fn wait(self: &Arc<Self>, client: IpAddr, request: &PageRequest, page: LargePage) {
        let place = (client, request.clone());
        let is_first = within(&self.large, |large| match large.entry(place.clone()) {
            Entry::Occupied(mut waiting) => {
                let waiting = waiting.get_mut();
                waiting.need = page.need;
                waiting.counted = newest([waiting.counted, page.counted]);
                waiting.replies.extend(page.replies);
                false
            }
            Entry::Vacant(vacant) => {
                vacant.insert(page);
                true
            }
        });
        if is_first {
            tokio::spawn(self.clone().serve_large(place));
        }
    }

    async fn serve_large(self: Arc<Self>, place: (IpAddr, PageRequest)) {
        let granted = self.place(&place).await;
        let Some(mut large) = within(&self.large, |large| large.remove(&place)) else {
            return;
        };
        large.replies.retain(|reply| !reply.is_gone());
        if large.replies.is_empty() {
            return;
        }
        let (client, request) = place;
        let (reserved, turn) = match granted {
            Some(Ok(granted)) => granted,
            Some(Err(error)) => return large.conclude(Err(error)),
            // All were turned away, and these came just then.
            None => return self.wait(client, &request, large),
        };
        let read = self.page(&request.listing, large.need.largest_value, turn);
        let text = match read.await {
            // The page may need more, after other writes in between or with values that are escaped.
            Ok(page) if page.left_out.is_some() => Err(PageNeed::of(&page)),
            Ok(page) => PageText::large(page, large.counted, &request, reserved),
            Err(error) => return large.conclude(Err(error)),
        };
        match text {
            Ok(text) => large.conclude(Ok(text)),
            Err(need) => self.wait(client, &request, LargePage { need, ..large }),
        }
    }

    /// Memory for a large page, and then the turn to read it. `None` if all who ask for it were turned away.
    async fn place(
        &self,
        page: &(IpAddr, PageRequest),
    ) -> Option<Result<(Reservation, ListTurn<'_>), Error>> {
        let turns = self.store.list_turns();
        let last_turn = |reply: &Reply<PageText>| turns.last(reply.deadline());
        let need = within(&self.large, |large| large.get(page).map(|page| page.need))?;
        let granted = async {
            let reserved = self.memory.reserve_at_last(page.0, need.memory).await?;
            Ok((reserved, turns.acquire().await))
        };
        let first = || {
            within(&self.large, |large| {
                large.get(page)?.replies.iter().map(last_turn).min()
            })
        };
        let turn_away = |last| {
            let late = within(&self.large, |large| {
                let Some(large) = large.get_mut(page) else {
                    return Vec::new();
                };
                let late = large
                    .replies
                    .extract_if(.., |reply| last_turn(reply) <= last);
                late.filter(|reply| !reply.is_gone()).collect()
            });
            for reply in late {
                reply.failed(Error::Overloaded);
            }
        };
        unless_all_turned_away(granted, first, turn_away).await
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

impl LargePage {
    fn conclude(self, text: Result<PageText, Error>) {
        for reply in self.replies {
            reply.conclude(text.clone());
        }
    }
}

/// The count that began last.
fn newest(all: impl IntoIterator<Item = Option<Counted>>) -> Option<Counted> {
    all.into_iter()
        .flatten()
        .max_by_key(|counted| counted.begun)
}

/// The requests of each client.
fn by_client(askers: Vec<PageAsker>) -> HashMap<IpAddr, Vec<Reply<PageText>>> {
    let mut clients: HashMap<_, Vec<_>> = HashMap::new();
    for PageAsker { client, reply, .. } in askers {
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
