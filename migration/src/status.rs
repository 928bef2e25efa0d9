//! What is applied, what is pending, and what a migration would find. Only reads.

use sea_orm_migration::{
    MigrationName, MigratorTrait,
    sea_orm::{
        ConnectionTrait, DbErr, Statement,
        sea_query::{Alias, Query},
    },
};

use crate::{
    m20260101_000001_items::CreateItems,
    migrator::{MIGRATION_TABLE, Migrator},
    shape::{Shape, shape},
    tables::has_table,
};

/// The migrations of a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Those this program knows, oldest first, and whether each is applied.
    pub known: Vec<(String, bool)>,
    /// Those that are applied and that only a newer version knows.
    pub newer: Vec<String>,
}

impl Status {
    /// Those this program knows and that are not applied.
    pub fn pending(&self) -> impl Iterator<Item = &str> {
        self.known
            .iter()
            .filter(|(_, applied)| !applied)
            .map(|(name, _)| name.as_str())
    }
}

/// A table `items` that is there before the migration that makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// A migration would adopt it.
    HandMade(HandMade),
    /// A migration would refuse it, for this difference.
    Foreign(String),
}

/// A table made by hand that a migration would adopt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandMade {
    pub rows: u64,
    /// Those without a creation or update time that RFC 3339 can write.
    pub rows_without_time: u64,
}

/// Reads what is applied and what is not.
///
/// # Errors
/// What the database said.
pub async fn status(db: &impl ConnectionTrait) -> Result<Status, DbErr> {
    let applied = applied(db).await?;
    let known: Vec<_> = Migrator::migrations()
        .iter()
        .map(|migration| migration.name().to_owned())
        .map(|name| (name.clone(), applied.contains(&name)))
        .collect();
    let newer = applied
        .into_iter()
        .filter(|name| !known.iter().any(|(known, _)| known == name))
        .collect();
    Ok(Status { known, newer })
}

/// Reads what a migration would find where it has something to do.
///
/// # Errors
/// What the database said.
pub async fn found(db: &impl ConnectionTrait) -> Result<Found, DbErr> {
    let status = status(db).await?;
    if !status.pending().any(|name| name == CreateItems.name()) {
        return Ok(Found::Nothing);
    }
    match shape(db).await? {
        Shape::Absent | Shape::Ours => Ok(Found::Nothing),
        Shape::Other(difference) => Ok(Found::Foreign(difference.join("; "))),
        Shape::HandMade => hand_made(db).await.map(Found::HandMade),
    }
}

/// Counts the rows of a table made by hand.
pub(crate) async fn hand_made(db: &impl ConnectionTrait) -> Result<HandMade, DbErr> {
    // Raw SQL: the builder binds the bounds as text, and PostgreSQL compares no time with a text.
    let sql = "SELECT count(*) AS rows, count(*) FILTER (WHERE ( \
               created_at >= '0001-01-01' AND created_at < '10000-01-01' AND \
               updated_at >= '0001-01-01' AND updated_at < '10000-01-01') IS NOT TRUE) AS timeless \
               FROM items";
    let statement = Statement::from_string(db.get_database_backend(), sql);
    let row = db.query_one_raw(statement).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("the number of rows".into()))?;
    Ok(HandMade {
        rows: row.try_get::<i64>("", "rows")?.unsigned_abs(),
        rows_without_time: row.try_get::<i64>("", "timeless")?.unsigned_abs(),
    })
}

/// The names of the applied migrations, oldest first.
pub(crate) async fn applied(db: &impl ConnectionTrait) -> Result<Vec<String>, DbErr> {
    if !has_table(db, MIGRATION_TABLE).await? {
        return Ok(Vec::new());
    }
    let select = Query::select()
        .column(Alias::new("version"))
        .from(Alias::new(MIGRATION_TABLE))
        .to_owned();
    let rows = db.query_all(&select).await?;
    let mut names = rows
        .iter()
        .map(|row| row.try_get("", "version"))
        .collect::<Result<Vec<String>, _>>()?;
    names.sort();
    Ok(names)
}
