//! Migrations up and down, under a lock.

use sea_orm_migration::{
    MigratorTrait, SchemaManager,
    prelude::Table,
    sea_orm::{
        ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
        SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
        sea_query::{Alias, Query},
    },
};

use crate::{
    MIGRATION_TABLE, Migrator,
    shape::{Shape, shape},
};

/// PostgreSQL's advisory locks are numbers: this one reads "kvd_migr".
const ADVISORY_LOCK: i64 = 0x6b76_645f_6d69_6772;
/// How long one migration waits for another one, in seconds.
const LOCK_SECONDS: u32 = 60;

/// A table `items` that is there before the migration that makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// [`up`] would adopt it.
    HandMade(HandMade),
    /// [`up`] would refuse it, for this difference.
    Foreign(String),
}

/// A table made by hand that [`up`] would adopt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandMade {
    pub rows: u64,
    /// Those without a creation or update time that RFC 3339 can write.
    pub rows_without_time: u64,
}

/// What [`up`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migrated {
    /// The migrations that were applied, oldest first.
    pub applied: Vec<String>,
    /// The table `items` had been made by hand and is now kvd's.
    pub adopted: bool,
}

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

/// Why a migration was not run.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("there is a table items that is not kvd's, and it was left untouched: {0}")]
    ForeignTable(String),
    #[error("the encoding of the database is {0}, and it has to be UTF8")]
    Encoding(String),
    #[error("the database was migrated by a newer version ({0}); use that version")]
    Newer(String),
    #[error("another migration is running")]
    Locked,
    #[error("{0}")]
    Database(#[from] DbErr),
}

/// What is applied and what is not. Only reads.
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

/// What [`up`] would find where it has something to do. Only reads.
///
/// # Errors
/// What the database said.
pub async fn found(db: &impl ConnectionTrait) -> Result<Found, DbErr> {
    if status(db).await?.pending().next().is_none() {
        return Ok(Found::Nothing);
    }
    match shape(db).await? {
        Shape::Absent | Shape::Ours => Ok(Found::Nothing),
        Shape::Other(difference) => Ok(Found::Foreign(difference.join("; "))),
        Shape::HandMade => hand_made(db).await.map(Found::HandMade),
    }
}

async fn hand_made(db: &impl ConnectionTrait) -> Result<HandMade, DbErr> {
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

async fn applied(db: &impl ConnectionTrait) -> Result<Vec<String>, DbErr> {
    if !has_migration_table(db).await? {
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

async fn has_migration_table(db: &impl ConnectionTrait) -> Result<bool, DbErr> {
    let backend = db.get_database_backend();
    let sql = match backend {
        // Not to_regclass: asked again in one session, it may tell what it knew before.
        DbBackend::Postgres => {
            "SELECT 1 FROM pg_tables \
             WHERE schemaname = ANY(current_schemas(false)) AND tablename = $1"
        }
        DbBackend::MySql => {
            "SELECT 1 FROM information_schema.tables \
             WHERE table_schema = DATABASE() AND table_name = ?"
        }
        _ => "SELECT 1 FROM sqlite_master WHERE name = ?",
    };
    let statement = Statement::from_sql_and_values(backend, sql, [MIGRATION_TABLE.into()]);
    Ok(db.query_one_raw(statement).await?.is_some())
}

/// Applies what is pending; nothing if a newer version has migrated the database further. Tells of a
/// table made by hand before it adopts it, which takes its time if the table is large.
///
/// # Errors
/// See [`MigrateError`]; then nothing was changed.
pub async fn up(
    db: &DatabaseConnection,
    adopting: impl FnOnce(HandMade),
) -> Result<Migrated, MigrateError> {
    let transaction = lock(db).await?;
    let done = up_locked(&transaction, adopting).await;
    unlock(transaction, done).await
}

async fn up_locked(
    transaction: &DatabaseTransaction,
    adopting: impl FnOnce(HandMade),
) -> Result<Migrated, MigrateError> {
    forget_half_done(transaction).await?;
    let status = status(transaction).await?;
    let applied: Vec<_> = status.pending().map(str::to_owned).collect();
    if applied.is_empty() {
        return Ok(Migrated::default());
    }
    if !status.newer.is_empty() {
        return Err(MigrateError::Newer(status.newer.join(", ")));
    }
    check_encoding(transaction).await?;
    // Asked before anything is made, because MySQL cannot take a made table back.
    let adopted = match shape(transaction).await? {
        Shape::Other(difference) => return Err(MigrateError::ForeignTable(difference.join("; "))),
        Shape::HandMade => {
            adopting(hand_made(transaction).await?);
            true
        }
        Shape::Absent | Shape::Ours => false,
    };
    Migrator::up(transaction, None).await?;
    Ok(Migrated { applied, adopted })
}

/// Keys and values are any UTF-8 text. Only PostgreSQL has an encoding for a whole database.
async fn check_encoding(transaction: &DatabaseTransaction) -> Result<(), MigrateError> {
    let backend = transaction.get_database_backend();
    if backend != DbBackend::Postgres {
        return Ok(());
    }
    let sql = "SELECT current_setting('server_encoding') AS encoding";
    let row = transaction
        .query_one_raw(Statement::from_string(backend, sql))
        .await?;
    let encoding = row.map(|row| row.try_get::<String>("", "encoding"));
    match encoding.transpose()? {
        Some(encoding) if encoding != "UTF8" => Err(MigrateError::Encoding(encoding)),
        _ => Ok(()),
    }
}

/// Somebody dropped the table by hand; or was stopped while taking it back, on MySQL and MariaDB, where
/// schema changes are not transactional. What only a newer version knows is not judged here.
async fn forget_half_done(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    let is_half_done = has_migration_table(transaction).await?
        && status(transaction).await?.newer.is_empty()
        && shape(transaction).await? == Shape::Absent;
    if is_half_done {
        let sql = format!("DELETE FROM {MIGRATION_TABLE}");
        transaction.execute_unprepared(&sql).await?;
    }
    Ok(())
}

/// Takes the last `steps` migrations back and names them, newest first.
///
/// # Errors
/// See [`MigrateError`].
pub async fn down(db: &DatabaseConnection, steps: u32) -> Result<Vec<String>, MigrateError> {
    let transaction = lock(db).await?;
    let done = down_locked(&transaction, steps).await;
    unlock(transaction, done).await
}

async fn down_locked(
    transaction: &DatabaseTransaction,
    steps: u32,
) -> Result<Vec<String>, MigrateError> {
    let status = status(transaction).await?;
    if !status.newer.is_empty() {
        return Err(MigrateError::Newer(status.newer.join(", ")));
    }
    let names: Vec<_> = status
        .known
        .into_iter()
        .rev()
        .filter_map(|(name, applied)| applied.then_some(name))
        .take(steps as usize)
        .collect();
    if !names.is_empty() {
        Migrator::down(transaction, Some(steps)).await?;
    }
    Ok(names)
}

/// Drops our own two tables, with all items, and makes them anew.
///
/// # Errors
/// See [`MigrateError`].
pub async fn fresh(
    db: &DatabaseConnection,
    adopting: impl FnOnce(HandMade),
) -> Result<Migrated, MigrateError> {
    let transaction = lock(db).await?;
    let done = fresh_locked(&transaction, adopting).await;
    unlock(transaction, done).await
}

async fn fresh_locked(
    transaction: &DatabaseTransaction,
    adopting: impl FnOnce(HandMade),
) -> Result<Migrated, MigrateError> {
    if applied(transaction).await?.is_empty() && shape(transaction).await? != Shape::Ours {
        // Whatever table there is, kvd has not made it.
        return up_locked(transaction, adopting).await;
    }
    let manager = SchemaManager::new(transaction);
    for table in ["items", MIGRATION_TABLE] {
        let drop = Table::drop()
            .table(Alias::new(table))
            .if_exists()
            .to_owned();
        manager.drop_table(drop).await?;
    }
    up_locked(transaction, adopting).await
}

/// A transaction that excludes every other migration of this database until [`unlock`].
async fn lock(db: &DatabaseConnection) -> Result<DatabaseTransaction, MigrateError> {
    let transaction = db
        .begin_with_options(TransactionOptions {
            // SQLite: one that may write from the start, so it is a lock by itself.
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        })
        .await?;
    match db.get_database_backend() {
        DbBackend::Postgres => {
            let sql = format!("SELECT pg_advisory_xact_lock({ADVISORY_LOCK})");
            transaction.execute_unprepared(&sql).await?;
        }
        // Schema changes end a transaction here, so the lock belongs to the connection.
        DbBackend::MySql => {
            let sql = format!("SELECT GET_LOCK({MYSQL_LOCK}, {LOCK_SECONDS}) AS locked");
            let statement = Statement::from_string(DbBackend::MySql, sql);
            let row = transaction.query_one_raw(statement).await?;
            let locked = row.map(|row| row.try_get::<Option<i64>>("", "locked"));
            if locked.transpose()?.flatten() != Some(1) {
                return Err(MigrateError::Locked);
            }
        }
        _ => {}
    }
    Ok(transaction)
}

/// The lock's name: one for each database of the server.
const MYSQL_LOCK: &str = "CONCAT('kvd:', SHA2(DATABASE(), 224))";

async fn unlock<T>(
    transaction: DatabaseTransaction,
    done: Result<T, MigrateError>,
) -> Result<T, MigrateError> {
    if transaction.get_database_backend() == DbBackend::MySql {
        // If it cannot be released, the server does so with the end of the connection.
        let sql = format!("DO RELEASE_LOCK({MYSQL_LOCK})");
        let _ = transaction.execute_unprepared(&sql).await;
    }
    match done {
        Ok(done) => {
            transaction.commit().await?;
            Ok(done)
        }
        Err(error) => {
            // The error says more than a failure to take back what then is taken back anyway.
            let _ = transaction.rollback().await;
            Err(error)
        }
    }
}
