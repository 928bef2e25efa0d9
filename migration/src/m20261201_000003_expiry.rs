//! The column `expires_at` of the table `items`, without which nothing expires.

use sea_orm_migration::{
    prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, Table},
    sea_orm::{
        ConnectionTrait, DbBackend,
        sea_query::{Expr, ExprTrait, Query},
    },
};

use crate::tables::columns;

pub(crate) const EXPIRES_AT: &str = "expires_at";

#[derive(DeriveMigrationName)]
pub(crate) struct AddExpiry;

#[async_trait::async_trait]
impl MigrationTrait for AddExpiry {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        // An earlier run on MySQL or MariaDB may have been stopped before the migration was recorded.
        if columns(db, "items").await?.contains(EXPIRES_AT) {
            return Ok(());
        }
        // Raw SQL: the builder has no `ALGORITHM`, and its types of times are others.
        db.execute_unprepared(match db.get_database_backend() {
            DbBackend::Postgres => "ALTER TABLE items ADD COLUMN expires_at timestamptz",
            // No copy of the table, and no lock but for a moment.
            DbBackend::MySql => {
                "ALTER TABLE items ADD COLUMN expires_at datetime(6) NULL, ALGORITHM = INSTANT"
            }
            _ => "ALTER TABLE items ADD COLUMN expires_at TEXT",
        })
        .await
        .map(drop)
    }

    /// What has expired is deleted, since it is gone; the rest loses its end.
    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        if !columns(db, "items").await?.contains(EXPIRES_AT) {
            return Ok(());
        }
        let has_expired = Expr::col(EXPIRES_AT).lte(Expr::cust(now(db.get_database_backend())));
        let expired = Query::delete()
            .from_table("items")
            .and_where(has_expired)
            .to_owned();
        db.execute(&expired).await?;
        let drop_column = Table::alter()
            .table("items")
            .drop_column(EXPIRES_AT)
            .to_owned();
        manager.alter_table(drop_column).await
    }
}

/// The clock of the database, as the column has it.
pub(crate) fn now(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Postgres => "clock_timestamp()",
        DbBackend::MySql => "UTC_TIMESTAMP(6)",
        _ => "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
    }
}
