//! Pages of items in the byte order of their keys.

use sea_orm::{
    ConnectionTrait, DbBackend, DbErr, QueryResult,
    sea_query::{Alias, Expr, ExprTrait, Order, Query, SelectStatement, UnionType},
};

use crate::{
    item::{Column, Entity, etag::ETag, key::Prefix, time::Time},
    read::{
        cursor::Cursor,
        find::{VALUE_BYTES, signed, unsigned, value_bytes, value_within},
        live::{expired, live},
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
    pub expires_at: Option<Time>,
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
        .query_all(&page(
            db.get_database_backend(),
            listing,
            signed(most_value_bytes),
        ))
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
    let total = total(db.get_database_backend(), prefix);
    let row = db.query_one(&total).await?;
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
        expires_at: row.try_get("", "expires_at")?,
    })
}

/// The keys of the page first, from the index alone, and only then their rows: a deep page skips
/// index entries, not rows.
fn page(backend: DbBackend, listing: &Listing, most_value_bytes: i32) -> SelectStatement {
    let keys = Alias::new("k");
    let mut select = Query::select();
    select.columns(columns(true).map(|column| (Entity, column)));
    if !listing.keys_only {
        select
            .expr_as(value_within(most_value_bytes), Column::Value)
            .expr_as(value_bytes(), Alias::new(VALUE_BYTES));
    }
    select
        .from_subquery(page_keys(backend, listing), keys.clone())
        .inner_join(
            Entity,
            Expr::col((Entity, Column::Key)).equals((keys.clone(), Column::Key)),
        )
        .order_by((keys, Column::Key), Order::Asc)
        .to_owned()
}

/// From this offset on a page is deep: it skips many keys, and to look at the end of each takes longer than to find out
/// that nothing has expired.
const DEEP: u64 = 1_000;

/// The keys of a page. A deep one looks at ends only if anything has expired that is not removed yet.
fn page_keys(backend: DbBackend, listing: &Listing) -> SelectStatement {
    let all = || {
        let mut select = keys_from(listing);
        within(&mut select, &listing.prefix);
        select
    };
    let of_live = all().cond_where(live(backend)).to_owned();
    match listing.start {
        Start::Offset(offset) if offset >= DEEP => {}
        Start::Offset(_) | Start::After(_) => return of_live,
    }
    let waits = || Expr::from(expired_at_all(backend));
    let either = |mut keys: SelectStatement, when: Expr| {
        let mut select = Query::select();
        select.column(Column::Key);
        // PostgreSQL would look at the condition for each row within; the others would read all of it without.
        match backend {
            DbBackend::Postgres => select.and_where(when),
            _ => keys.and_where(when),
        };
        select.from_subquery(keys, Alias::new("e"));
        select
    };
    let mut keys = either(all(), waits().eq(0));
    keys.union(UnionType::All, either(of_live, waits().gt(0)));
    keys
}

/// 1 if anything has expired that is not removed yet, else 0. It does not depend on the row, so it is asked once.
fn expired_at_all(backend: DbBackend) -> SelectStatement {
    let mut first = Query::select();
    first.column(Column::Id).from(Entity);
    first.and_where(expired(backend)).limit(1);
    let mut select = Query::select();
    select.expr(Expr::cust("count(*)"));
    select.from_subquery(first, Alias::new("f"));
    select
}

/// The keys of a page of all items there are, expired or not.
fn keys_from(listing: &Listing) -> SelectStatement {
    let mut select = Query::select();
    select.column((Entity, Column::Key)).from(Entity);
    match &listing.start {
        Start::Offset(offset) => {
            // The drivers carry numbers as signed.
            select.offset(Ord::min(*offset, i64::MAX as u64));
        }
        Start::After(None) => {}
        Start::After(Some(key)) => {
            select.and_where(Expr::col((Entity, Column::Key)).gt(key.as_str()));
        }
    }
    select
        .order_by((Entity, Column::Key), Order::Asc)
        .limit(listing.limit.saturating_add(1));
    select
}

/// All but what has expired, of which there is hardly any: so where nothing expires, no row is looked at for that.
fn total(backend: DbBackend, prefix: &Prefix) -> SelectStatement {
    let counted = || {
        let mut select = Query::select();
        select.expr(Expr::cust("count(*)")).from(Entity);
        within(&mut select, prefix);
        select
    };
    let all = counted();
    let mut gone = counted();
    gone.and_where(expired(backend));
    let total = Expr::from(all).sub(Expr::from(gone));
    Query::select()
        .expr_as(total, Alias::new("total"))
        .to_owned()
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
        Column::ExpiresAt,
    ]
    .into_iter()
    .chain(value)
}
