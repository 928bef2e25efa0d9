//! What is written to standard output.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use entity::Item;
use serde_json::{Value, json};

use crate::error::CliError;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

/// Text as it is.
///
/// # Errors
/// Standard output cannot be written to.
pub fn text(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| CliError::Io("standard output".to_owned(), error))
}

/// A line.
///
/// # Errors
/// Standard output cannot be written to.
pub fn line(line: &str) -> Result<(), CliError> {
    text(&format!("{line}\n"))
}

/// A value byte for byte, on a terminal with a newline behind it.
///
/// # Errors
/// Standard output cannot be written to.
pub fn value(value: &str) -> Result<(), CliError> {
    if io::stdout().is_terminal() {
        line(value)
    } else {
        text(value)
    }
}

/// An item as the HTTP interface shows it.
pub fn item(item: &Item) -> Value {
    let time = |time: &sea_orm::entity::prelude::DateTimeUtc| {
        time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
    };
    json!({
        "key": item.key,
        "value": item.value,
        "version": item.version,
        "etag": item.etag().to_string(),
        "created_at": time(&item.created_at),
        "updated_at": time(&item.updated_at),
    })
}
