//! The schema of kvd and how a database gets it. Knows no HTTP.
//!
//! - `migrate`: `up`, `down` and `fresh`, each under the `lock`, so that several may start at once.
//! - `status`: what is applied and what is pending. It only reads.
//! - `tables`: which tables are there. It only reads.
//! - `rights`: which rights the user of the database lacks. It only reads.
//! - `shape`: what a table `items` looks like before kvd touches it.
//! - `migrator`: the list of migrations; `m20260101_000001_items`: the table `items`, created or
//!   adopted; `m20261129_000002_tokens`: the table `kvd_tokens`.
//! - `error`: why a migration was not run.

mod error;
mod lock;
mod m20260101_000001_items;
mod m20261129_000002_tokens;
mod migrate;
mod migrator;
mod rights;
mod shape;
mod status;
mod tables;

pub use self::{
    error::MigrateError,
    migrate::{Migrated, down, fresh, up},
    rights::{MissingRight, NeededTable, Right, missing_rights, unless_read_only},
    status::{Found, HandMade, Status, found, status},
};
