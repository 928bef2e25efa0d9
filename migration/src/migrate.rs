//! Migrations up, under a lock.

use sea_orm_migration::{
    MigrationName, MigratorTrait, SchemaManager,
    sea_orm::{
        ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
        sea_query::{Alias, Condition, Expr, ExprTrait, Query, Table},
    },
};

use crate::{
    checks::{check_encoding, check_items, check_schema, check_tokens},
    error::MigrateError,
    lock::{begin, end, patiently},
    m20260101_000001_items::CreateItems,
    m20261129_000002_tokens::{CreateTokens, TOKEN_TABLE},
    m20261201_000004_expiry_indexes::{IndexExpiry, are_made},
    migrator::{MIGRATION_TABLE, Migrator, is_beside},
    shape::{Shape, shape},
    status::{HandMade, applied, status},
    tables::has_table,
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
/// See [`MigrateError`]; then nothing was changed, unless the database said it.
pub async fn up(
    db: &DatabaseConnection,
    adopting: impl FnOnce(HandMade),
) -> Result<Migrated, MigrateError> {
    let mut adopting = Some(adopting);
    let mut migrated = Migrated::default();
    patiently(db, async || {
        let before = migrated.clone();
        let transaction = begin(db).await?;
        let done = up_locked(&transaction, &mut adopting, &mut migrated).await;
        let done = end(transaction, done).await;
        if done.is_err() && db.get_database_backend() != DbBackend::MySql {
            // It was rolled back.
            migrated = before;
        }
        done?;
        migrated.applied.extend(up_beside(db).await?);
        Ok(())
    })
    .await?;
    Ok(migrated)
}

/// Applies what runs in no transaction.
async fn up_beside(db: &DatabaseConnection) -> Result<Option<String>, MigrateError> {
    let status = status(db).await?;
    let Some(name) = status.pending().find(|name| is_beside(db, name)) else {
        return Ok(None);
    };
    if !status.newer.is_empty() {
        return Ok(None);
    }
    Migrator::up(db, Some(1)).await?;
    Ok(Some(name.to_owned()))
}

async fn up_locked(
    transaction: &DatabaseTransaction,
    adopting: &mut Option<impl FnOnce(HandMade)>,
    migrated: &mut Migrated,
) -> Result<(), MigrateError> {
    forget_half_done(transaction).await?;
    let status = status(transaction).await?;
    let pending: Vec<_> = status.pending().collect();
    if pending.is_empty() {
        return Ok(());
    }
    if !status.newer.is_empty() {
        return Err(MigrateError::Newer(status.newer.join(", ")));
    }
    check_encoding(transaction).await?;
    check_schema(transaction).await?;
    if pending.contains(&CreateTokens.name()) {
        check_tokens(transaction).await?;
    }
    // Asked before anything is made, because MySQL cannot take a made table back.
    if pending.contains(&CreateItems.name()) {
        migrated.adopted = check_items(transaction, adopting).await?;
    }
    for name in pending {
        if !is_beside(transaction, name) {
            Migrator::up(transaction, Some(1)).await?;
            migrated.applied.push(name.to_owned());
        }
    }
    Ok(())
}

/// Forgets the migrations of a table that is gone: it was dropped by hand, or a `down` was stopped on
/// MySQL or MariaDB, whose schema changes are not transactional. Forgets that of the indexes, too, if they were being
/// taken back. What only a newer version knows is not judged here.
async fn forget_half_done(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    let is_judged = has_table(transaction, MIGRATION_TABLE).await?
        && status(transaction).await?.newer.is_empty();
    if !is_judged {
        return Ok(());
    }
    let mut forgotten = Condition::any();
    let named = |name: &str| Expr::col("version").eq(name);
    if shape(transaction).await? == Shape::Absent {
        forgotten = forgotten.add(Expr::col("version").is_not_null());
    } else if !are_made(transaction).await? {
        forgotten = forgotten.add(named(IndexExpiry.name()));
    }
    if !has_table(transaction, TOKEN_TABLE).await? {
        forgotten = forgotten.add(named(CreateTokens.name()));
    }
    if forgotten.is_empty() {
        return Ok(());
    }
    let delete = Query::delete()
        .from_table(Alias::new(MIGRATION_TABLE))
        .cond_where(forgotten)
        .to_owned();
    transaction.execute(&delete).await.map(drop)
}

/// Drops the tables of the items and of the migrations, if `drops_tokens` also that of the tokens, and makes them anew.
///
/// # Errors
/// See [`MigrateError`].
pub async fn fresh(
    db: &DatabaseConnection,
    drops_tokens: bool,
    adopting: impl FnOnce(HandMade),
) -> Result<Migrated, MigrateError> {
    let mut adopting = Some(adopting);
    let mut migrated = Migrated::default();
    patiently(db, async || {
        migrated = Migrated::default();
        let transaction = begin(db).await?;
        let done = fresh_locked(&transaction, drops_tokens, &mut adopting, &mut migrated).await;
        end(transaction, done).await
    })
    .await?;
    let beside = up(db, |_| ()).await?;
    migrated.applied.extend(beside.applied);
    Ok(migrated)
}

async fn fresh_locked(
    transaction: &DatabaseTransaction,
    drops_tokens: bool,
    adopting: &mut Option<impl FnOnce(HandMade)>,
    migrated: &mut Migrated,
) -> Result<(), MigrateError> {
    if applied(transaction).await?.is_empty() && shape(transaction).await? != Shape::Ours {
        // A table that is there was not made by kvd, and must not be dropped.
        return up_locked(transaction, adopting, migrated).await;
    }
    // Asked before anything is dropped, because MySQL cannot take that back.
    check_tokens(transaction).await?;
    check_encoding(transaction).await?;
    check_schema(transaction).await?;
    let manager = SchemaManager::new(transaction);
    // The record comes last, as MySQL may have to begin again: without it nothing would be dropped.
    let tokens = drops_tokens.then_some(TOKEN_TABLE);
    for table in tokens.into_iter().chain(["items", MIGRATION_TABLE]) {
        let drop = Table::drop()
            .table(Alias::new(table))
            .if_exists()
            .to_owned();
        manager.drop_table(drop).await?;
    }
    up_locked(transaction, adopting, migrated).await
}
