//! The five operations on items.

use entity::{
    Key, Precondition, Prefix, Value,
    read::Listing,
    write::{Action, Outcome, Write},
};
use poem::web::Data;
use poem_openapi::OpenApi;

use crate::{
    answers::{Created, Deleted, Found, Listed, NewItem, NewValue, Stored},
    config::Config,
    database::Database,
    document::Tag,
    json::{Json, RequestLimits},
    lists::Asked,
    operations::{CreateItem, DeleteItem, Failed, GetItem, ListItems, UpdateItem},
    pages::{self, Paging},
    params::{Count, IfMatch, IfNoneMatch, PageNumber, PageSize, Param, Walk},
    problem::Problem,
};

#[derive(Clone)]
pub struct Items {
    database: Database,
    max_value_bytes: usize,
}

impl Items {
    pub fn new(database: Database, config: &Config) -> Self {
        Self {
            database,
            max_value_bytes: config.max_value_bytes as usize,
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
        Data(limits): Data<&RequestLimits>,
        body: Json<NewItem>,
    ) -> Result<Created, Failed<CreateItem>> {
        let Json(NewItem { key, value }) = body;
        let change = Write {
            key: Key::new(key).map_err(Problem::from)?,
            action: Action::Create(self.value(value)?),
            precondition: Precondition::default(),
        };
        match self.database.write(change, limits.deadline).await? {
            Outcome::Created(item) | Outcome::Updated(item) => Ok(Created::new(item)),
            Outcome::Exists | Outcome::PreconditionFailed(_) => Err(Problem::key_exists().into()),
            Outcome::Missing | Outcome::Deleted => Err(Problem::internal().into()),
        }
    }

    /// Read an item
    ///
    /// With `If-None-Match` the tag of a copy one has: 304 if the copy is still good.
    #[oai(path = "/items/:key", method = "get")]
    async fn get_item(
        &self,
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
        let item = self.database.find(key).await?;
        let item = item.ok_or_else(Problem::item_not_found)?;
        let tag = item.etag();
        let asked = precondition(if_match, if_none_match);
        if !asked.if_match_holds(tag) {
            return Err(Problem::precondition_failed(Some(tag)).into());
        }
        Ok(if asked.if_none_match_holds(tag) {
            Found::new(item)
        } else {
            Found::not_modified(tag)
        })
    }

    /// Update an item, or create it
    ///
    /// Overwrites the value of a key that exists. `upsert=true` also creates it, and
    /// `If-None-Match: *` creates only. `If-Match` with the tag one has read makes it a
    /// compare-and-set.
    #[oai(path = "/items/:key", method = "put")]
    async fn update_item(
        &self,
        Data(limits): Data<&RequestLimits>,
        /// The key, percent-encoded: one path segment.
        #[oai(name = "key")]
        Param(key): Param<Key>,
        /// Create the item if the key does not exist.
        #[oai(name = "upsert")]
        Param(upsert): Param<bool>,
        /// Write only if the item has one of these tags (`"17-3"`); `*`: if it exists.
        #[oai(name = "If-Match")]
        Param(if_match): Param<IfMatch>,
        /// Write only if the item has none of these tags; `*`: only if the key does not exist.
        #[oai(name = "If-None-Match")]
        Param(if_none_match): Param<IfNoneMatch>,
        body: Json<NewValue>,
    ) -> Result<Stored, Failed<UpdateItem>> {
        let value = self.value(body.0.value)?;
        let precondition = precondition(if_match, if_none_match);
        let action = if upsert || precondition.wants_absent() {
            Action::Upsert(value)
        } else {
            Action::Update(value)
        };
        let change = Write {
            key,
            action,
            precondition,
        };
        match self.database.write(change, limits.deadline).await? {
            Outcome::Created(item) => Ok(Stored::created(item)),
            Outcome::Updated(item) => Ok(Stored::updated(item)),
            Outcome::PreconditionFailed(tag) => Err(Problem::precondition_failed(tag).into()),
            Outcome::Missing => Err(Problem::item_not_found().into()),
            Outcome::Exists | Outcome::Deleted => Err(Problem::internal().into()),
        }
    }

    /// Delete an item
    ///
    /// For good: a key that is created again is another item, with another tag.
    #[oai(path = "/items/:key", method = "delete")]
    async fn delete_item(
        &self,
        Data(limits): Data<&RequestLimits>,
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
        };
        match self.database.write(change, limits.deadline).await? {
            Outcome::Deleted => Ok(Deleted::Deleted),
            Outcome::PreconditionFailed(tag) => Err(Problem::precondition_failed(tag).into()),
            Outcome::Missing => Err(Problem::item_not_found().into()),
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
    async fn list_items(
        &self,
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
        let exact = matches!(paging, Paging::Page(_));
        let listing = Listing {
            start: paging.start(size),
            prefix,
            limit: size,
            keys_only,
            count: count.map_or(exact, |count| count == Count::Exact),
        };
        let asked = Asked { listing, paging };
        let page = self.database.list(asked.clone()).await?;
        let link = pages::link(&asked.listing, &asked.paging, count, &page);
        Ok(Listed::Listed(page.text.into(), link))
    }
}

impl Items {
    fn value(&self, text: String) -> Result<Value, Problem> {
        Ok(Value::new(text, self.max_value_bytes)?)
    }
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
