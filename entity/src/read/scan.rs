//! All items of a prefix in the byte order of their keys, one after the other.

use futures_util::{Stream, StreamExt};
use sea_orm::{
    DatabaseConnection, DbErr, StreamTrait,
    sea_query::{Expr, ExprTrait, Order, Query},
};

use crate::{
    item::{Column, Entity, key::Prefix},
    read::{
        list::{ListedItem, columns, listed, value, within},
        live::live,
    },
};

/// Which items to go through.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    pub prefix: Prefix,
    /// Only keys above this.
    pub after: Option<String>,
    /// The most items.
    pub limit: Option<u64>,
    /// Leave the values out.
    pub keys_only: bool,
}

/// One statement, so all rows are of one snapshot. They come as the caller takes them, so memory is
/// bounded.
///
/// # Errors
/// What the database said.
pub async fn scan<'a>(
    db: &'a DatabaseConnection,
    scan: &Scan,
) -> Result<impl Stream<Item = Result<ListedItem, DbErr>> + 'a, DbErr> {
    let mut select = Query::select();
    select
        .columns(columns(scan.keys_only))
        .from(Entity)
        .order_by(Column::Key, Order::Asc);
    within(&mut select, &scan.prefix);
    select.cond_where(live(db.get_database_backend()));
    if let Some(after) = &scan.after {
        select.and_where(Expr::col(Column::Key).gt(after.as_str()));
    }
    if let Some(limit) = scan.limit {
        // The drivers carry numbers as signed.
        select.limit(Ord::min(limit, i64::MAX as u64));
    }
    let keys_only = scan.keys_only;
    let rows = db.stream(&select).await?;
    Ok(rows.map(move |row| {
        let row = row?;
        let value = value(&row, keys_only)?;
        listed(&row, value)
    }))
}
