//! Migrations up and down, under a lock.

use sea_orm_migration::{
    MigratorTrait, SchemaManager,
    sea_orm::{
        ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement,
        sea_query::{Alias, Query, Table},
    },
};

use crate::{
    error::MigrateError,
    lock::{lock, unlock},
    migrator::{MIGRATION_TABLE, Migrator},
    shape::{Shape, shape},
    status::{HandMade, applied, hand_made, has_migration_table, status},
};

/// What [`up`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migrated {
    /// The migrations that were applied, oldest first.
    pub applied: Vec<String>,
    /// The table `items` had been made by hand and is now kvd's.
    pub adopted: bool,
}

/// Applies what is pending; nothing if a newer version has migrated the database further. Calls
/// `adopting` before it adopts a table made by hand, because that takes long if the table is large.
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
    check_schema(transaction).await?;
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

/// Keys and values are any UTF-8 text, in the order of its bytes. MySQL and MariaDB have an encoding for
/// each column, and no database as a whole has.
async fn check_encoding(transaction: &DatabaseTransaction) -> Result<(), MigrateError> {
    let backend = transaction.get_database_backend();
    // Raw SQL: the builder says no more than these calls of functions.
    let sql = match backend {
        DbBackend::Postgres => "SELECT current_setting('server_encoding') AS encoding",
        DbBackend::Sqlite => "SELECT encoding FROM pragma_encoding",
        _ => return Ok(()),
    };
    let row = transaction
        .query_one_raw(Statement::from_string(backend, sql))
        .await?;
    let encoding = row.map(|row| row.try_get::<String>("", "encoding"));
    match encoding.transpose()? {
        Some(encoding) if !["UTF8", "UTF-8"].contains(&encoding.as_str()) => {
            Err(MigrateError::Encoding(encoding))
        }
        _ => Ok(()),
    }
}

/// The first schema of PostgreSQL's search path is where a table is made.
async fn check_schema(transaction: &DatabaseTransaction) -> Result<(), MigrateError> {
    let backend = transaction.get_database_backend();
    if backend != DbBackend::Postgres {
        return Ok(());
    }
    // Raw SQL: the builder says no more than this one call of a function.
    let sql = "SELECT 1 WHERE current_setting('search_path') ~ '^ *\"?pg_temp'";
    let statement = Statement::from_string(backend, sql);
    match transaction.query_one_raw(statement).await? {
        Some(_) => Err(MigrateError::Temporary),
        None => Ok(()),
    }
}

/// Forgets the migrations of a table that is gone: it was dropped by hand, or a `down` was stopped on
/// MySQL or MariaDB, whose schema changes are not transactional. What only a newer version knows is
/// not judged here.
async fn forget_half_done(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    let is_half_done = has_migration_table(transaction).await?
        && status(transaction).await?.newer.is_empty()
        && shape(transaction).await? == Shape::Absent;
    if is_half_done {
        let delete = Query::delete()
            .from_table(Alias::new(MIGRATION_TABLE))
            .to_owned();
        transaction.execute(&delete).await?;
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
        // A table that is there was not made by kvd, and must not be dropped.
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
