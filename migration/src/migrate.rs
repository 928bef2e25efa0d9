//! Migrations up and down, under a lock.

use sea_orm_migration::{
    MigrationName, MigratorTrait, SchemaManager,
    sea_orm::{
        ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement,
        sea_query::{Alias, Expr, ExprTrait, Query, Table},
    },
};

use crate::{
    error::MigrateError,
    lock::{lock, unlock},
    m20261129_000002_tokens::{CreateTokens, TOKEN_COLUMNS, TOKEN_TABLE},
    migrator::{MIGRATION_TABLE, Migrator},
    shape::{Shape, shape},
    status::{HandMade, applied, hand_made, status},
    tables::{columns, has_table},
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
    if applied.iter().any(|name| name == CreateTokens.name()) {
        check_tokens(transaction).await?;
    }
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

/// A table of tokens that is there is kvd's own: it is neither used nor dropped otherwise.
async fn check_tokens(transaction: &DatabaseTransaction) -> Result<(), MigrateError> {
    let found = columns(transaction, TOKEN_TABLE).await?;
    let is_ours = found.iter().map(String::as_str).eq(TOKEN_COLUMNS);
    match has_table(transaction, TOKEN_TABLE).await? {
        true if is_ours => Ok(()),
        false if found.is_empty() => Ok(()),
        _ => Err(MigrateError::ForeignTokens),
    }
}

/// Forgets the migrations of a table that is gone: it was dropped by hand, or a `down` was stopped on
/// MySQL or MariaDB, whose schema changes are not transactional. What only a newer version knows is
/// not judged here.
async fn forget_half_done(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    let is_judged = has_table(transaction, MIGRATION_TABLE).await?
        && status(transaction).await?.newer.is_empty();
    if !is_judged {
        return Ok(());
    }
    let mut delete = Query::delete();
    delete.from_table(Alias::new(MIGRATION_TABLE));
    if shape(transaction).await? != Shape::Absent {
        if has_table(transaction, TOKEN_TABLE).await? {
            return Ok(());
        }
        delete.and_where(Expr::col(Alias::new("version")).eq(CreateTokens.name()));
    }
    transaction.execute(&delete).await.map(drop)
}

/// Takes the last `steps` migrations back and names them, newest first. Loses tokens only if `may_lose_tokens`.
///
/// # Errors
/// See [`MigrateError`].
pub async fn down(
    db: &DatabaseConnection,
    steps: u32,
    may_lose_tokens: bool,
) -> Result<Vec<String>, MigrateError> {
    let transaction = lock(db).await?;
    let done = down_locked(&transaction, steps, may_lose_tokens).await;
    unlock(transaction, done).await
}

async fn down_locked(
    transaction: &DatabaseTransaction,
    steps: u32,
    may_lose_tokens: bool,
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
    if names.iter().any(|name| name == CreateTokens.name()) {
        check_tokens(transaction).await?;
        match tokens(transaction).await? {
            tokens if tokens > 0 && !may_lose_tokens => {
                return Err(MigrateError::LosesTokens(tokens));
            }
            _ => {}
        }
    }
    if !names.is_empty() {
        Migrator::down(transaction, Some(steps)).await?;
    }
    Ok(names)
}

/// The number of tokens that are not revoked.
async fn tokens(transaction: &DatabaseTransaction) -> Result<u64, DbErr> {
    if !has_table(transaction, TOKEN_TABLE).await? {
        return Ok(0);
    }
    let select = Query::select()
        .expr_as(Expr::cust("count(*)"), Alias::new("tokens"))
        .from(Alias::new(TOKEN_TABLE))
        .and_where(Expr::col(Alias::new("revoked_at")).is_null())
        .to_owned();
    let row = transaction.query_one(&select).await?;
    let tokens = row
        .map(|row| row.try_get::<i64>("", "tokens"))
        .transpose()?;
    Ok(tokens.unwrap_or_default().unsigned_abs())
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
    let transaction = lock(db).await?;
    let done = fresh_locked(&transaction, drops_tokens, adopting).await;
    unlock(transaction, done).await
}

async fn fresh_locked(
    transaction: &DatabaseTransaction,
    drops_tokens: bool,
    adopting: impl FnOnce(HandMade),
) -> Result<Migrated, MigrateError> {
    if applied(transaction).await?.is_empty() && shape(transaction).await? != Shape::Ours {
        // A table that is there was not made by kvd, and must not be dropped.
        return up_locked(transaction, adopting).await;
    }
    // Asked before anything is dropped, because MySQL cannot take that back.
    check_tokens(transaction).await?;
    check_encoding(transaction).await?;
    check_schema(transaction).await?;
    let manager = SchemaManager::new(transaction);
    let tokens = drops_tokens.then_some(TOKEN_TABLE);
    for table in ["items", MIGRATION_TABLE].into_iter().chain(tokens) {
        let drop = Table::drop()
            .table(Alias::new(table))
            .if_exists()
            .to_owned();
        manager.drop_table(drop).await?;
    }
    up_locked(transaction, adopting).await
}
