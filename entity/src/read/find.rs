//! Items by their keys.

use std::{iter, sync::LazyLock};

use database::{Postgres, Session, statement_error};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, FromQueryResult, QueryFilter,
    QueryResult, QuerySelect, QueryTrait, Select, Statement,
    sea_query::{CaseStatement, Expr, ExprTrait, Func, FunctionCall},
    sqlx::{self, Row, postgres::PgRow},
};

use crate::{
    clock::now,
    item::{Column, Entity, Item, etag::ETag},
    read::live::live,
};

/// The item of a key. Takes any text, so that rows written by other software can be found too.
///
/// # Errors
/// What the database said.
pub async fn find(db: &impl ConnectionTrait, key: &str) -> Result<Option<Item>, DbErr> {
    Entity::find()
        .filter(Column::Key.eq(key))
        .filter(live(db.get_database_backend()))
        .one(db)
        .await
}

/// An item that was looked up.
#[derive(Clone, Debug)]
pub enum FoundItem {
    Whole(Item),
    Large(LargeItem),
}

/// An item whose value stayed in the database, because it is larger than was asked for.
#[derive(Clone, Debug)]
pub struct LargeItem {
    pub key: String,
    pub etag: ETag,
    pub value_bytes: usize,
}

impl FoundItem {
    pub fn key(&self) -> &str {
        match self {
            Self::Whole(item) => &item.key,
            Self::Large(item) => &item.key,
        }
    }

    /// The tag of the item as it is now.
    pub fn etag(&self) -> ETag {
        match self {
            Self::Whole(item) => item.etag(),
            Self::Large(item) => item.etag,
        }
    }
}

/// The items of these keys, in no order. One round trip for up to `MOST_KEYS` keys. A value of more than
/// `most_value_bytes` bytes stays in the database.
///
/// # Errors
/// What the database said.
pub async fn find_many(
    session: &Session,
    keys: &[&str],
    most_value_bytes: usize,
) -> Result<Vec<FoundItem>, DbErr> {
    let most = signed(most_value_bytes);
    if let Some(mut postgres) = session.postgres().await {
        return find_in_postgres(&mut postgres, keys, most).await;
    }
    let lookups = match session.get_database_backend() {
        DbBackend::MySql => &*MYSQL,
        _ => &*SQLITE,
    };
    let mut items = Vec::new();
    for keys in keys.chunks(MOST_KEYS) {
        for row in session.query_all_raw(lookups.of(keys, most)).await? {
            items.push(found(&row)?);
        }
    }
    Ok(items)
}

/// Raw: the builder would copy each key, assemble the same text for every request, and look up the
/// columns of every row by their names.
async fn find_in_postgres(
    postgres: &mut Postgres,
    keys: &[&str],
    most_value_bytes: i32,
) -> Result<Vec<FoundItem>, DbErr> {
    let query = sqlx::query(
        "SELECT id, key, CASE WHEN octet_length(value) <= $2 THEN value END, octet_length(value), \
         version, created_at, updated_at, expires_at FROM items WHERE key = ANY($1) \
         AND (expires_at IS NULL OR expires_at > statement_timestamp())",
    );
    postgres.plan_once(true).await?;
    let rows = postgres.fetch_all(query.bind(keys).bind(most_value_bytes));
    let found: sqlx::Result<_> = rows.await?.iter().map(found_in_postgres).collect();
    found.map_err(statement_error)
}

fn found_in_postgres(row: &PgRow) -> sqlx::Result<FoundItem> {
    let (id, key, version) = (row.try_get(0)?, row.try_get(1)?, row.try_get(4)?);
    Ok(match row.try_get(2)? {
        Some(value) => FoundItem::Whole(Item {
            id,
            key,
            value,
            version,
            created_at: row.try_get(5)?,
            updated_at: row.try_get(6)?,
            expires_at: row.try_get(7)?,
        }),
        None => FoundItem::Large(LargeItem {
            key,
            etag: ETag { id, version },
            value_bytes: unsigned(row.try_get(3)?),
        }),
    })
}

fn found(row: &QueryResult) -> Result<FoundItem, DbErr> {
    let key = row.try_get("", "key")?;
    let (id, version) = (row.try_get("", "id")?, row.try_get("", "version")?);
    Ok(match row.try_get("", "value")? {
        Some(value) => FoundItem::Whole(Item {
            id,
            key,
            value,
            version,
            created_at: row.try_get("", "created_at")?,
            updated_at: row.try_get("", "updated_at")?,
            expires_at: row.try_get("", "expires_at")?,
        }),
        None => FoundItem::Large(LargeItem {
            key,
            etag: ETag { id, version },
            value_bytes: unsigned(row.try_get("", VALUE_BYTES)?),
        }),
    })
}

/// The name of [`value_bytes`] in a row.
pub(super) const VALUE_BYTES: &str = "value_bytes";

/// How many bytes a value has. No engine reads the value for that, if it is stored apart from its row.
pub(super) fn value_bytes() -> FunctionCall {
    Func::cust("octet_length").arg(Expr::col((Entity, Column::Value)))
}

/// The value, or `NULL` if it has more bytes than this.
pub(super) fn value_within(most_bytes: i32) -> CaseStatement {
    let fits = Expr::expr(value_bytes()).lte(most_bytes);
    CaseStatement::new().case(fits, Expr::col((Entity, Column::Value)))
}

/// No engine holds a value of more bytes.
pub(super) fn signed(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

pub(super) fn unsigned(bytes: i32) -> usize {
    usize::try_from(bytes).unwrap_or_default()
}

/// The most keys of one statement where it has a parameter for each.
const MOST_KEYS: usize = 64;

static MYSQL: LazyLock<Lookups> = LazyLock::new(|| Lookups::new(DbBackend::MySql));
static SQLITE: LazyLock<Lookups> = LazyLock::new(|| Lookups::new(DbBackend::Sqlite));

/// The statements of an engine that look up several keys, and how many keys each has. They are few,
/// so that a connection prepares each once; and the builder, which takes microseconds, writes each once.
struct Lookups {
    backend: DbBackend,
    texts: [(usize, String); 4],
}

impl Lookups {
    fn new(backend: DbBackend) -> Self {
        let text = |size| {
            let select = Entity::find()
                .select_only()
                .columns([Column::Id, Column::Key, Column::Version])
                .columns([Column::CreatedAt, Column::UpdatedAt, Column::ExpiresAt])
                .expr_as(value_within(0), "value")
                .expr_as(value_bytes(), VALUE_BYTES)
                .filter(Column::Key.is_in(vec![""; size]))
                .filter(live(backend));
            (size, select.build(backend).sql)
        };
        Self {
            backend,
            texts: [1, 4, 16, MOST_KEYS].map(text),
        }
    }

    /// Looks up these keys, at most [`MOST_KEYS`]. The first one again fills the places that are left.
    fn of(&self, keys: &[&str], most_value_bytes: i32) -> Statement {
        let [shorter @ .., longest] = &self.texts;
        let fits = shorter.iter().find(|(size, _)| *size >= keys.len());
        let (size, text) = fits.unwrap_or(longest);
        let filling = iter::repeat_n(keys[0], size - keys.len());
        let keys = keys.iter().copied().chain(filling).map(Into::into);
        let values = iter::once(most_value_bytes.into()).chain(keys);
        Statement::from_sql_and_values(self.backend, text, values)
    }
}

pub(crate) fn select_etag(key: &str) -> Select<Entity> {
    Entity::find()
        .select_only()
        .columns([Column::Id, Column::Version])
        .filter(Column::Key.eq(key))
}

/// The item of a key as a write finds it.
#[derive(FromQueryResult)]
pub(crate) struct FoundTag {
    pub id: i64,
    pub version: i64,
    /// Whether it has an end.
    pub ends: bool,
    /// Whether that has come, by the database's clock.
    pub is_gone: bool,
}

impl FoundTag {
    pub(crate) fn etag(&self) -> ETag {
        ETag {
            id: self.id,
            version: self.version,
        }
    }
}

/// Also if its end has come.
///
/// # Errors
/// What the database said.
pub(crate) async fn find_tag(
    db: &impl ConnectionTrait,
    key: &str,
) -> Result<Option<FoundTag>, DbErr> {
    let end = || Expr::col(Column::ExpiresAt);
    let is_past = end().lte(now(db.get_database_backend()));
    let is_gone = end().is_not_null().and(is_past);
    select_etag(key)
        .expr_as(end().is_not_null(), "ends")
        .expr_as(is_gone, "is_gone")
        .into_model()
        .one(db)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_keys_are_looked_up_by_one_of_few_statements() {
        let lookup = |keys| {
            let statement = SQLITE.of(&vec!["a"; keys], 9);
            let values = statement.values.map_or(0, |values| values.0.len());
            assert_eq!(statement.sql.matches('?').count(), values);
            // The first is the most bytes of a value.
            values - 1
        };
        assert_eq!(
            [1, 2, 4, 5, 16, 17, 64].map(lookup),
            [1, 4, 4, 16, 16, 64, 64]
        );
    }
}
