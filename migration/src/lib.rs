//! The schema of kvd and how a database gets it. Knows no HTTP.
//!
//! - [`migrate`]: `up`, `down`, `fresh` under a lock, so that several may start at once; `status`
//!   and `pending`, which only read.
//! - [`shape`]: what a table `items` looks like before kvd touches it.
//! - `m20260101_000001_items`: the table `items`, created or adopted.

mod m20260101_000001_items;
pub mod migrate;
pub mod shape;

use sea_orm_migration::prelude::{Alias, DynIden, IntoIden, MigrationTrait, MigratorTrait};

/// The table that records our migrations. Not SeaORM's default name: another application with its
/// own migrations may share the database.
pub const MIGRATION_TABLE: &str = "kvd_migrations";

/// All migrations, oldest first.
struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m20260101_000001_items::Migration)]
    }

    fn migration_table_name() -> DynIden {
        Alias::new(MIGRATION_TABLE).into_iden()
    }
}
