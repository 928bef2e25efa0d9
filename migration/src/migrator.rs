//! The list of all migrations, and the table that records those that are applied.

use sea_orm_migration::prelude::{Alias, DynIden, IntoIden, MigrationTrait, MigratorTrait};

use crate::{m20260101_000001_items::CreateItems, m20261129_000002_tokens::CreateTokens};

/// The table that records our migrations. Not SeaORM's default name: another application with its
/// own migrations may share the database.
pub(crate) const MIGRATION_TABLE: &str = "kvd_migrations";

/// All migrations, oldest first.
pub(crate) struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(CreateItems), Box::new(CreateTokens)]
    }

    fn migration_table_name() -> DynIden {
        Alias::new(MIGRATION_TABLE).into_iden()
    }
}
