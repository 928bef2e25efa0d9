//! The queries that only look. This file looks items up by their keys.

mod cursor;
mod inspect;
mod list;
mod odd_keys;
mod scan;

use database::{Session, statement_error};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, FromQueryResult, QueryFilter,
    QuerySelect, Statement, Values,
    sqlx::{self, Row, postgres::PgRow},
};

pub use self::{
    cursor::{Cursor, InvalidCursor},
    inspect::disk_bytes,
    list::{ListedItem, Listing, Page, Start, count, list},
    odd_keys::odd_keys,
    scan::{Scan, scan},
};
use crate::item::{Column, Entity, Item, etag::ETag};

/// The item of a key. Takes any text, so that rows written by other software can be found too.
///
/// # Errors
/// What the database said.
pub async fn find(db: &impl ConnectionTrait, key: &str) -> Result<Option<Item>, DbErr> {
    Entity::find().filter(Column::Key.eq(key)).one(db).await
}

/// The items of these keys, in no order. One round trip for up to `MOST_KEYS` keys.
///
/// # Errors
/// What the database said.
pub async fn find_many(session: &Session, keys: &[&str]) -> Result<Vec<Item>, DbErr> {
    if let Some(mut postgres) = session.postgres().await {
        let query = sqlx::query(
            "SELECT id, key, value, version, created_at, updated_at FROM items WHERE key = ANY($1)",
        );
        let rows = postgres.fetch_all(query.bind(keys)).await?;
        let model = |row: &PgRow| {
            Ok(Item {
                id: row.try_get(0)?,
                key: row.try_get(1)?,
                value: row.try_get(2)?,
                version: row.try_get(3)?,
                created_at: row.try_get(4)?,
                updated_at: row.try_get(5)?,
            })
        };
        let items: sqlx::Result<_> = rows.iter().map(model).collect();
        return items.map_err(statement_error);
    }
    let backend = session.get_database_backend();
    let mut items = Vec::new();
    for keys in keys.chunks(MOST_KEYS) {
        let (sql, padding) = by_keys(backend, keys.len());
        let padding = std::iter::repeat_n(keys[0], padding);
        let values = keys
            .iter()
            .copied()
            .chain(padding)
            .map(Into::into)
            .collect();
        let statement = Statement::from_sql_and_values(backend, sql, Values(values));
        for row in session.query_all_raw(statement).await? {
            items.push(Item::from_query_result(&row, "")?);
        }
    }
    Ok(items)
}

/// The most keys of one statement where it has a parameter for each.
const MOST_KEYS: usize = 64;

/// The statement for so many keys, and how many more it takes: there are few of them, so that each
/// is prepared once.
fn by_keys(backend: DbBackend, keys: usize) -> (String, usize) {
    let size = [1, 4, 16].into_iter().find(|size| *size >= keys);
    let size = size.unwrap_or(MOST_KEYS);
    let key = if backend == DbBackend::MySql {
        "`key`"
    } else {
        "key"
    };
    let places = vec!["?"; size].join(", ");
    let sql = format!(
        "SELECT id, {key}, value, version, created_at, updated_at FROM items WHERE {key} IN ({places})"
    );
    (sql, size - keys)
}

/// The tag of a key's item.
///
/// # Errors
/// What the database said.
pub async fn find_etag(db: &impl ConnectionTrait, key: &str) -> Result<Option<ETag>, DbErr> {
    let row: Option<(i64, i64)> = Entity::find()
        .select_only()
        .columns([Column::Id, Column::Version])
        .filter(Column::Key.eq(key))
        .into_tuple()
        .one(db)
        .await?;
    Ok(row.map(|(id, version)| ETag { id, version }))
}
