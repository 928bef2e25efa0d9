//! The schema of kvd and how a database gets it. Knows no HTTP.
//!
//! - `migrate`: `up`, `down` and `fresh`, each under the `lock`, so that several may start at once.
//! - `status`: what is applied and what is pending. It only reads.
//! - `rights`: which rights the user of the database lacks. It only reads.
//! - `shape`: what a table `items` looks like before kvd touches it.
//! - `migrator`: the list of migrations; `m20260101_000001_items`: the table `items`, created or
//!   adopted.
//! - `error`: why a migration was not run.

mod error;
mod lock;
mod m20260101_000001_items;
mod migrate;
mod migrator;
mod rights;
mod shape;
mod status;

pub use self::{
    error::MigrateError,
    migrate::{Migrated, down, fresh, up},
    rights::{MissingRight, Right, missing_rights, unless_read_only},
    status::{Found, HandMade, Status, found, status},
};
