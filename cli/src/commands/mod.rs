//! A file for each command.

pub mod get;
pub mod migrate;
pub mod put;
