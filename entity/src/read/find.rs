//! Items by their keys.

use std::sync::LazyLock;

use database::{Postgres, Session, statement_error};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, FromQueryResult, QueryFilter,
    QuerySelect, QueryTrait, Select, Statement,
    sqlx::{self, Row, postgres::PgRow},
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
        return find_in_postgres(&mut postgres, keys).await;
    }
    let lookups = match session.get_database_backend() {
        DbBackend::MySql => &*MYSQL,
        _ => &*SQLITE,
    };
    let mut items = Vec::new();
    for keys in keys.chunks(MOST_KEYS) {
        for row in session.query_all_raw(lookups.of(keys)).await? {
            items.push(Item::from_query_result(&row, "")?);
        }
    }
    Ok(items)
}

/// Raw: the builder would copy each key, assemble the same text for every request, and look up the
/// columns of every row by their names.
async fn find_in_postgres(postgres: &mut Postgres, keys: &[&str]) -> Result<Vec<Item>, DbErr> {
    let query = sqlx::query(
        "SELECT id, key, value, version, created_at, updated_at FROM items WHERE key = ANY($1)",
    );
    let rows = postgres.fetch_all(query.bind(keys)).await?;
    let item = |row: &PgRow| {
        Ok(Item {
            id: row.try_get(0)?,
            key: row.try_get(1)?,
            value: row.try_get(2)?,
            version: row.try_get(3)?,
            created_at: row.try_get(4)?,
            updated_at: row.try_get(5)?,
        })
    };
    let items: sqlx::Result<_> = rows.iter().map(item).collect();
    items.map_err(statement_error)
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
            let select = Entity::find().filter(Column::Key.is_in(vec![""; size]));
            (size, select.build(backend).sql)
        };
        Self {
            backend,
            texts: [1, 4, 16, MOST_KEYS].map(text),
        }
    }

    /// Looks up these keys, at most [`MOST_KEYS`]. The first one again fills the places that are left.
    fn of(&self, keys: &[&str]) -> Statement {
        let [shorter @ .., longest] = &self.texts;
        let fits = shorter.iter().find(|(size, _)| *size >= keys.len());
        let (size, text) = fits.unwrap_or(longest);
        let filling = std::iter::repeat_n(keys[0], size - keys.len());
        let values = keys.iter().copied().chain(filling).map(Into::into);
        Statement::from_sql_and_values(self.backend, text, values)
    }
}

/// The tag of a key's item.
///
/// # Errors
/// What the database said.
pub async fn find_etag(db: &impl ConnectionTrait, key: &str) -> Result<Option<ETag>, DbErr> {
    select_etag(key).into_model().one(db).await
}

pub(crate) fn select_etag(key: &str) -> Select<Entity> {
    Entity::find()
        .select_only()
        .columns([Column::Id, Column::Version])
        .filter(Column::Key.eq(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_keys_are_looked_up_by_one_of_few_statements() {
        let lookup = |keys| {
            let statement = SQLITE.of(&vec!["a"; keys]);
            let values = statement.values.map_or(0, |values| values.0.len());
            assert_eq!(statement.sql.matches('?').count(), values);
            values
        };
        assert_eq!(
            [1, 2, 4, 5, 16, 17, 64].map(lookup),
            [1, 4, 4, 16, 16, 64, 64]
        );
    }
}
