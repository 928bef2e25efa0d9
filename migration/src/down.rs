//! Migrations down, under a lock.

use sea_orm_migration::{
    MigrationName, MigratorTrait, SchemaManager,
    prelude::MigrationTrait,
    sea_orm::{
        ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
        sea_query::{Expr, ExprTrait, Query, SelectStatement},
    },
};

use crate::{
    checks::check_tokens,
    error::{Losses, MigrateError},
    lock::{begin, end, patiently},
    m20261129_000002_tokens::{CreateTokens, TOKEN_TABLE},
    m20261201_000003_expiry::{AddExpiry, EXPIRES_AT, now},
    m20261201_000004_expiry_indexes::IndexExpiry,
    migrator::{Migrator, is_beside},
    status::status,
    tables::{columns, has_table},
};

/// Takes the last `steps` migrations back and names them, newest first. Loses tokens, and the end of items, only if
/// `may_lose`.
///
/// # Errors
/// See [`MigrateError`].
pub async fn down(
    db: &DatabaseConnection,
    steps: u32,
    may_lose: bool,
) -> Result<Vec<String>, MigrateError> {
    let mut plan = Plan {
        steps,
        may_lose,
        names: None,
    };
    patiently(db, async || {
        down_beside(db, &mut plan).await?;
        let transaction = begin(db).await?;
        let done = down_locked(&transaction, &mut plan).await;
        end(transaction, done).await
    })
    .await?;
    Ok(plan.names.unwrap_or_default())
}

/// Takes back what runs in no transaction, if it is the last migration.
async fn down_beside(db: &DatabaseConnection, plan: &mut Plan) -> Result<(), MigrateError> {
    if db.get_database_backend() != DbBackend::Postgres {
        return Ok(());
    }
    let names = plan.left(db).await?;
    if names.first().is_some_and(|name| is_beside(db, name)) {
        Migrator::down(db, Some(1)).await?;
    }
    unindex(&SchemaManager::new(db), &names).await
}

/// Takes indexes back that an attempt to make them left without a record. Their column must not go before them: with it
/// PostgreSQL drops the constraint that keeps the keys unique.
async fn unindex(manager: &SchemaManager<'_>, names: &[String]) -> Result<(), MigrateError> {
    if names.iter().any(|name| name == AddExpiry.name()) {
        IndexExpiry.down(manager).await?;
    }
    Ok(())
}

async fn down_locked(
    transaction: &DatabaseTransaction,
    plan: &mut Plan,
) -> Result<(), MigrateError> {
    let names = plan.left(transaction).await?;
    if transaction.get_database_backend() == DbBackend::MySql {
        unindex(&SchemaManager::new(transaction), &names).await?;
    }
    if !names.is_empty() {
        Migrator::down(transaction, Some(names.len() as u32)).await?;
    }
    Ok(())
}

/// Which migrations are to be taken back. It is made once, as on MySQL and MariaDB an attempt that failed may have done
/// a part of it.
struct Plan {
    steps: u32,
    may_lose: bool,
    /// The last ones, newest first, as they were at first.
    names: Option<Vec<String>>,
}

impl Plan {
    /// The names of those that are applied, newest first.
    async fn left(&mut self, db: &impl ConnectionTrait) -> Result<Vec<String>, MigrateError> {
        let status = status(db).await?;
        if !status.newer.is_empty() {
            return Err(MigrateError::Newer(status.newer.join(", ")));
        }
        let known = status.known.into_iter().rev();
        let applied = known.filter_map(|(name, applied)| applied.then_some(name));
        let oldest = match &self.names {
            Some(names) => names.last(),
            None => {
                let names: Vec<_> = applied.clone().take(self.steps as usize).collect();
                check_losses(db, &names, self.may_lose).await?;
                self.names.insert(names).last()
            }
        };
        Ok(match oldest {
            Some(oldest) => applied.take_while(|name| name >= oldest).collect(),
            None => Vec::new(),
        })
    }
}

async fn check_losses(
    db: &impl ConnectionTrait,
    names: &[String],
    may_lose: bool,
) -> Result<(), MigrateError> {
    let mut losses = Losses::default();
    if names.iter().any(|name| name == CreateTokens.name()) {
        check_tokens(db).await?;
        losses.tokens = tokens(db).await?;
    }
    if names.iter().any(|name| name == AddExpiry.name()) {
        losses.ends = ends(db).await?;
    }
    match losses == Losses::default() || may_lose {
        true => Ok(()),
        false => Err(MigrateError::Loses(losses)),
    }
}

/// The number of tokens that are not revoked.
async fn tokens(db: &impl ConnectionTrait) -> Result<u64, DbErr> {
    if !has_table(db, TOKEN_TABLE).await? {
        return Ok(0);
    }
    let is_live = Expr::col("revoked_at").is_null();
    count(db, Query::select().from(TOKEN_TABLE).and_where(is_live)).await
}

/// The number of items that are to expire, and have not yet.
async fn ends(db: &impl ConnectionTrait) -> Result<u64, DbErr> {
    if !columns(db, "items").await?.contains(EXPIRES_AT) {
        return Ok(0);
    }
    let has_end = Expr::col(EXPIRES_AT).gt(Expr::cust(now(db.get_database_backend())));
    count(db, Query::select().from("items").and_where(has_end)).await
}

async fn count(db: &impl ConnectionTrait, rows: &mut SelectStatement) -> Result<u64, DbErr> {
    let select = rows.expr_as(Expr::cust("count(*)"), "rows_found");
    let row = db.query_one(select).await?;
    let found = row.map(|row| row.try_get::<i64>("", "rows_found"));
    Ok(found.transpose()?.unwrap_or_default().unsigned_abs())
}
