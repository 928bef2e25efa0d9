//! Pages of items in the byte order of their keys.

use sea_orm::{
    ConnectionTrait, DbErr, QueryResult,
    sea_query::{Alias, Expr, ExprTrait, Order, Query, SelectStatement},
};

use crate::{
    item::{Column, Entity, etag::ETag, key::Prefix, time::Time},
    read::{
        cursor::Cursor,
        find::{VALUE_BYTES, signed, unsigned, value_bytes, value_within},
    },
};

/// Which items to list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listing {
    pub prefix: Prefix,
    pub start: Start,
    /// The most items of a page, at least 1.
    pub limit: u64,
    /// Leave the values out.
    pub keys_only: bool,
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Start {
    /// After this many items.
    Offset(u64),
    /// Above this key, or at the first key if there is none.
    After(Option<String>),
}

/// One page, of one snapshot of the database.
#[derive(Clone, Debug)]
pub struct Page {
    pub items: Vec<ListedItem>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
    /// If some values stayed in the database, because they are larger than was asked for.
    pub left_out: Option<LeftOut>,
}

/// The bytes of the values of a page of which some stayed in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// All together, also those that are on the page, and that of the item after it.
    pub all: usize,
    pub largest: usize,
}

/// An item on a page.
#[derive(Clone, Debug)]
pub struct ListedItem {
    pub key: String,
    /// `None` if it was left out.
    pub value: Option<String>,
    pub etag: ETag,
    pub created_at: Time,
    pub updated_at: Time,
}

/// A value of more than `most_value_bytes` bytes stays in the database.
///
/// # Errors
/// What the database said.
pub async fn list(
    db: &impl ConnectionTrait,
    listing: &Listing,
    most_value_bytes: usize,
) -> Result<Page, DbErr> {
    let rows = db
        .query_all(&page(listing, signed(most_value_bytes)))
        .await?;
    let mut items = Vec::with_capacity(rows.len());
    let mut sizes = LeftOut { all: 0, largest: 0 };
    for row in &rows {
        items.push(listed(row, value(row, listing.keys_only)?)?);
        sizes.add(row, listing.keys_only)?;
    }
    // The query asks for one item more than a page has, to know whether there is a next page.
    let more = items.len() as u64 > listing.limit;
    items.truncate(usize::try_from(listing.limit).unwrap_or(usize::MAX));
    let next = match items.last() {
        Some(last) if more => Some(Cursor::new(&listing.prefix, &last.key)),
        _ => None,
    };
    let left_out = (sizes.largest > most_value_bytes).then_some(sizes);
    Ok(Page {
        items,
        next,
        left_out,
    })
}

impl LeftOut {
    fn add(&mut self, row: &QueryResult, keys_only: bool) -> Result<(), DbErr> {
        if !keys_only {
            let bytes = unsigned(row.try_get("", VALUE_BYTES)?);
            self.all += bytes;
            self.largest = self.largest.max(bytes);
        }
        Ok(())
    }
}

/// The number of items of a prefix.
///
/// # Errors
/// What the database said.
pub async fn count(db: &impl ConnectionTrait, prefix: &Prefix) -> Result<u64, DbErr> {
    let row = db.query_one(&total(prefix)).await?;
    let total = row.map(|row| row.try_get::<i64>("", "total")).transpose()?;
    Ok(total.unwrap_or_default().unsigned_abs())
}

/// `None` if the values were left out, or if this one was.
pub(super) fn value(row: &QueryResult, keys_only: bool) -> Result<Option<String>, DbErr> {
    if keys_only {
        return Ok(None);
    }
    row.try_get("", "value")
}

pub(super) fn listed(row: &QueryResult, value: Option<String>) -> Result<ListedItem, DbErr> {
    Ok(ListedItem {
        key: row.try_get("", "key")?,
        value,
        etag: ETag {
            id: row.try_get("", "id")?,
            version: row.try_get("", "version")?,
        },
        created_at: row.try_get("", "created_at")?,
        updated_at: row.try_get("", "updated_at")?,
    })
}

/// The keys of the page first, from the index alone, and only then their rows: a deep page skips
/// index entries, not rows.
fn page(listing: &Listing, most_value_bytes: i32) -> SelectStatement {
    let keys = Alias::new("k");
    let mut select = Query::select();
    select.columns(columns(true).map(|column| (Entity, column)));
    if !listing.keys_only {
        select
            .expr_as(value_within(most_value_bytes), Column::Value)
            .expr_as(value_bytes(), Alias::new(VALUE_BYTES));
    }
    select
        .from_subquery(page_keys(listing), keys.clone())
        .inner_join(
            Entity,
            Expr::col((Entity, Column::Key)).equals((keys.clone(), Column::Key)),
        )
        .order_by((keys, Column::Key), Order::Asc)
        .to_owned()
}

fn page_keys(listing: &Listing) -> SelectStatement {
    let mut select = Query::select();
    select.column((Entity, Column::Key)).from(Entity);
    within(&mut select, &listing.prefix);
    match &listing.start {
        Start::Offset(offset) => {
            // The drivers carry numbers as signed.
            select.offset(Ord::min(*offset, i64::MAX as u64));
        }
        Start::After(Some(key)) => {
            select.and_where(Expr::col((Entity, Column::Key)).gt(key.as_str()));
        }
        Start::After(None) => {}
    }
    select
        .order_by((Entity, Column::Key), Order::Asc)
        .limit(listing.limit.saturating_add(1));
    select
}

fn total(prefix: &Prefix) -> SelectStatement {
    let mut select = Query::select();
    select
        .expr_as(Expr::cust("count(*)"), Alias::new("total"))
        .from(Entity);
    within(&mut select, prefix);
    select
}

/// A range, not `LIKE`: `%` and `_` are characters like any other, and the index serves it.
pub(super) fn within(select: &mut SelectStatement, prefix: &Prefix) {
    if !prefix.as_str().is_empty() {
        select.and_where(Expr::col((Entity, Column::Key)).gte(prefix.as_str()));
    }
    if let Some(end) = prefix.successor() {
        select.and_where(Expr::col((Entity, Column::Key)).lt(end));
    }
}

pub(super) fn columns(keys_only: bool) -> impl Iterator<Item = Column> {
    let value = if keys_only { None } else { Some(Column::Value) };
    [
        Column::Id,
        Column::Key,
        Column::Version,
        Column::CreatedAt,
        Column::UpdatedAt,
    ]
    .into_iter()
    .chain(value)
}
