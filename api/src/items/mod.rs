//! The operations on items. Each handler reads its parameters, calls the store and maps the outcome.
//!
//! - `parameters`, and what the bodies hold (`answers`); `expiring`: what of them says when an item expires;
//!   `members`: how some of them are read.
//! - `item_reads`: single items. `paging`, `page_reads` and `page_text`: the pages of a list. Both in bounded
//!   memory.
//! - `batch`: many operations in one request.
//! - `operations`: which problems each can answer; `problems`: those that only items have.

mod answers;
mod batch;
mod expiring;
mod item_reads;
mod members;
mod operations;
mod page_reads;
mod page_text;
mod paging;
mod parameters;
mod problems;

use entity::{
    Key, Precondition, Prefix, Value,
    read::Listing,
    token::Access,
    write::{Action, Expiry, Outcome, Write},
};
use poem::web::Data;
use poem_openapi::OpenApi;

use self::{
    answers::{Created, Deleted, Found, Listed, NewItem, NewValue, Stored},
    expiring::expiry,
    item_reads::ItemReads,
    operations::{CreateItem, DeleteItem, GetItem, ListItems, Tag, UpdateItem},
    page_reads::PageReads,
    page_text::PageText,
    paging::{PageRequest, Paging},
    parameters::{Count, IfMatch, IfNoneMatch, PageNumber, PageSize, Walk},
};
pub(crate) use self::{
    batch::{ItemBatches, MOST_BODY_BYTES, not_done},
    expiring::MOST_SECONDS,
    operations::OPERATIONS,
    parameters::key_schema,
    problems::{item_not_found, key_exists, precondition_failed},
};
use crate::{
    auth::Granted,
    http::{Arrival, Failed, Json, MemoryBudget, Param, Problem, Reservation},
    store::{Error, KeptMemory, Store, StoreSettings},
};

#[derive(Clone)]
pub(crate) struct Items {
    store: Store,
    reads: ItemReads,
    pages: PageReads,
    max_value_bytes: usize,
}

impl Items {
    pub(crate) fn new(store: Store, memory: MemoryBudget, settings: &StoreSettings) -> Self {
        Self {
            pages: PageReads::new(store.clone(), memory.clone()),
            reads: ItemReads {
                reads: store.reads().clone(),
                memory,
            },
            store,
            max_value_bytes: settings.max_value_bytes,
        }
    }
}

#[OpenApi(tag = "Tag::Items")]
impl Items {
    /// Create an item
    ///
    /// Stores a value under a key that does not exist yet. A key is 1 to 512 bytes of UTF-8 without
    /// control characters, and neither `.` nor `..`. A value is UTF-8 text without U+0000.
    #[oai(path = "/items", method = "post")]
    async fn create_item(
        &self,
        Data(arrival): Data<&Arrival>,
        Data(granted): Data<&Granted>,
        body: Json<NewItem>,
    ) -> Result<Created, Failed<CreateItem>> {
        let NewItem {
            key,
            value,
            ttl,
            expires_at,
        } = body.document;
        let key = Key::new(key).map_err(Problem::from)?;
        let value = self.value(value)?;
        let expiry = expiry(ttl, expires_at.as_deref(), false)?;
        granted.check_key(Access::Write, &key)?;
        let change = Write {
            key,
            action: Action::Create(value),
            precondition: Precondition::default(),
            expiry,
        };
        let (kept, memory) = shared(body.memory);
        match self.store.write(change, kept, arrival.deadline).await? {
            Outcome::Created(item) | Outcome::Updated(item) => Ok(Created::new(item, memory)),
            Outcome::Exists | Outcome::PreconditionFailed(_) => Err(key_exists().into()),
            Outcome::Missing | Outcome::Deleted => Err(Problem::internal().into()),
        }
    }

    /// Read an item
    ///
    /// With `If-None-Match` the tag of a copy one has: 304 if the copy is still good.
    #[oai(path = "/items/:key", method = "get")]
    async fn get_item(
        &self,
        Data(arrival): Data<&Arrival>,
        /// The key, percent-encoded: one path segment.
        #[oai(name = "key")]
        Param(key): Param<Key>,
        /// Answer only if the item has one of these tags (`"17-3"`); `*`: any.
        #[oai(name = "If-Match")]
        Param(if_match): Param<IfMatch>,
        /// Answer 304 if the item has one of these tags (`"17-3"`).
        #[oai(name = "If-None-Match")]
        Param(if_none_match): Param<IfNoneMatch>,
    ) -> Result<Found, Failed<GetItem>> {
        let precondition = precondition(if_match, if_none_match);
        let read = self
            .reads
            .read(key, *arrival, |tag| precondition.holds(tag))
            .await?;
        let read = read.ok_or_else(item_not_found)?;
        match read.text {
            Some(text) => Ok(Found::new(text, read.etag)),
            None if precondition.if_match_holds(read.etag) => Ok(Found::not_modified(read.etag)),
            None => Err(precondition_failed(Some(read.etag)).into()),
        }
    }

    /// Update an item, or create it
    ///
    /// Overwrites the value of a key that exists. `upsert=true` also creates it, and
    /// `If-None-Match: *` creates only. `If-Match` with the tag one has read makes it a
    /// compare-and-set.
    #[oai(path = "/items/:key", method = "put")]
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a parameter of the document"
    )]
    // Long: each parameter is described.
    async fn update_item(
        &self,
        Data(arrival): Data<&Arrival>,
        /// The key, percent-encoded: one path segment.
        #[oai(name = "key")]
        Param(key): Param<Key>,
        /// Create the item if the key does not exist.
        #[oai(name = "upsert")]
        Param(upsert): Param<bool>,
        /// Let the item expire as it would have, instead of never.
        #[oai(name = "keep_ttl")]
        Param(keep_ttl): Param<bool>,
        /// Write only if the item has one of these tags (`"17-3"`); `*`: if it exists.
        #[oai(name = "If-Match")]
        Param(if_match): Param<IfMatch>,
        /// Write only if the item has none of these tags; `*`: only if the key does not exist.
        #[oai(name = "If-None-Match")]
        Param(if_none_match): Param<IfNoneMatch>,
        body: Json<NewValue>,
    ) -> Result<Stored, Failed<UpdateItem>> {
        let NewValue {
            value,
            ttl,
            expires_at,
        } = body.document;
        let value = self.value(value)?;
        let precondition = precondition(if_match, if_none_match);
        let change = Write {
            key,
            action: match upsert || precondition.wants_absent() {
                true => Action::Upsert(value),
                false => Action::Update(value),
            },
            precondition,
            expiry: expiry(ttl, expires_at.as_deref(), keep_ttl)?,
        };
        let (kept, memory) = shared(body.memory);
        match self.store.write(change, kept, arrival.deadline).await? {
            Outcome::Created(item) => Ok(Stored::created(item, memory)),
            Outcome::Updated(item) => Ok(Stored::updated(item, memory)),
            Outcome::PreconditionFailed(tag) => Err(precondition_failed(tag).into()),
            Outcome::Missing => Err(item_not_found().into()),
            Outcome::Exists | Outcome::Deleted => Err(Problem::internal().into()),
        }
    }

    /// Delete an item
    ///
    /// For good: a key that is created again is another item, with another tag.
    #[oai(path = "/items/:key", method = "delete")]
    async fn delete_item(
        &self,
        Data(arrival): Data<&Arrival>,
        /// The key, percent-encoded: one path segment.
        #[oai(name = "key")]
        Param(key): Param<Key>,
        /// Delete only if the item has one of these tags (`"17-3"`); `*`: if it exists.
        #[oai(name = "If-Match")]
        Param(if_match): Param<IfMatch>,
        /// Delete only if the item has none of these tags.
        #[oai(name = "If-None-Match")]
        Param(if_none_match): Param<IfNoneMatch>,
    ) -> Result<Deleted, Failed<DeleteItem>> {
        let change = Write {
            key,
            action: Action::Delete,
            precondition: precondition(if_match, if_none_match),
            expiry: Expiry::Never,
        };
        match self.store.write(change, None, arrival.deadline).await? {
            Outcome::Deleted => Ok(Deleted::Deleted),
            Outcome::PreconditionFailed(tag) => Err(precondition_failed(tag).into()),
            Outcome::Missing => Err(item_not_found().into()),
            Outcome::Created(_) | Outcome::Updated(_) | Outcome::Exists => {
                Err(Problem::internal().into())
            }
        }
    }

    /// List items
    ///
    /// Ordered by key, byte for byte. By `page`, or by `cursor`: a walk that costs the same however
    /// deep it is, sees no key twice and skips none that stays in place.
    #[oai(path = "/items", method = "get")]
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a parameter of the document"
    )]
    async fn list_items(
        &self,
        Data(arrival): Data<&Arrival>,
        /// Number of the page, from 1 (the default). Not together with `cursor`.
        #[oai(name = "page")]
        Param(page): Param<Option<PageNumber>>,
        /// Most items of a page.
        #[oai(name = "page_size")]
        Param(page_size): Param<PageSize>,
        /// Only keys that begin with this.
        #[oai(name = "prefix")]
        Param(prefix): Param<Prefix>,
        /// Leave the values out.
        #[oai(name = "keys_only")]
        Param(keys_only): Param<bool>,
        /// Whether to count all items; by default `exact` with `page`, `none` with `cursor`.
        #[oai(name = "count")]
        Param(count): Param<Option<Count>>,
        /// Empty to begin a walk, then the `next_cursor` of the answer before.
        #[oai(name = "cursor")]
        Param(walk): Param<Option<Walk>>,
    ) -> Result<Listed, Failed<ListItems>> {
        let PageSize(size) = page_size;
        let paging = Paging::new(page, walk, &prefix)?;
        let listing = Listing {
            start: paging.start(size),
            prefix,
            limit: size,
            keys_only,
        };
        let request = PageRequest {
            listing,
            counts: paging.counts(count),
            paging,
        };
        let page = self.page(&request, *arrival).await?;
        let link = paging::link(&request, count, page.total, page.next.as_ref());
        Ok(Listed::Listed(page.text.into(), link))
    }
}

impl Items {
    /// A page and, if it is wanted, a total, counted before it: again while more items come in between than the page
    /// can tell of.
    async fn page(&self, request: &PageRequest, arrival: Arrival) -> Result<PageText, Error> {
        if !request.counts {
            return self.pages.read(request.clone(), None, arrival).await;
        }
        loop {
            let counts = self.store.counts();
            let counted = counts.count(&request.listing.prefix, arrival.deadline);
            let counted = Some(counted.await?);
            let page = self.pages.read(request.clone(), counted, arrival).await?;
            if !page.outdated {
                return Ok(page);
            }
        }
    }

    fn value(&self, text: String) -> Result<Value, Problem> {
        Ok(Value::new(text, self.max_value_bytes)?)
    }
}

/// Memory for a write, and the same for its answer.
fn shared(memory: Option<Reservation>) -> (Option<KeptMemory>, Option<Reservation>) {
    let kept = memory.clone().map(|memory| Box::new(memory) as KeptMemory);
    (kept, memory)
}

fn precondition(
    IfMatch(if_match): IfMatch,
    IfNoneMatch(if_none_match): IfNoneMatch,
) -> Precondition {
    Precondition {
        if_match,
        if_none_match,
    }
}
