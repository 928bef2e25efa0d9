//! The list of all migrations, and the table that records those that are applied.

use sea_orm_migration::{
    MigrationName,
    prelude::{Alias, DynIden, IntoIden, MigrationTrait, MigratorTrait},
    sea_orm::{ConnectionTrait, DbBackend},
};

use crate::{
    m20260101_000001_items::CreateItems, m20261129_000002_tokens::CreateTokens,
    m20261201_000003_expiry::AddExpiry, m20261201_000004_expiry_indexes::IndexExpiry,
};

/// The table that records our migrations. Not SeaORM's default name: another application with its
/// own migrations may share the database.
pub(crate) const MIGRATION_TABLE: &str = "kvd_migrations";

/// All migrations, oldest first.
pub(crate) struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(CreateItems),
            Box::new(CreateTokens),
            Box::new(AddExpiry),
            Box::new(IndexExpiry),
        ]
    }

    fn migration_table_name() -> DynIden {
        Alias::new(MIGRATION_TABLE).into_iden()
    }
}

/// Whether a migration runs in no transaction. It is the last one.
pub(crate) fn is_beside(db: &impl ConnectionTrait, name: &str) -> bool {
    db.get_database_backend() == DbBackend::Postgres && name == IndexExpiry.name()
}
