//! The schema of kvd and how a database gets it. Knows no HTTP.
//!
//! - `migrate` and `down`: `up`, `fresh` and `down`, each under the `lock`, so that several may start at once.
//! - `checks`: what must hold before anything is changed. It only reads.
//! - `status`: what is applied and what is pending. It only reads.
//! - `tables`: which tables are there. It only reads.
//! - `rights`: which rights the user of the database lacks. It only reads.
//! - `shape`: what a table `items` looks like before kvd touches it.
//! - `migrator`: the list of migrations; `m20260101_000001_items`: the table `items`, created or
//!   adopted; `m20261129_000002_tokens`: the table `kvd_tokens`; `m20261201_000003_expiry` and
//!   `m20261201_000004_expiry_indexes`: the end of items.
//! - `error`: why a migration was not run.

mod checks;
mod down;
mod error;
mod lock;
mod m20260101_000001_items;
mod m20261129_000002_tokens;
mod m20261201_000003_expiry;
mod m20261201_000004_expiry_indexes;
mod migrate;
mod migrator;
mod rights;
mod shape;
mod status;
mod tables;

pub use self::{
    down::down,
    error::{Losses, MigrateError},
    migrate::{Migrated, fresh, up},
    rights::{MissingRight, NeededTable, Right, missing_rights, unless_read_only},
    status::{Found, HandMade, Status, found, status},
};
