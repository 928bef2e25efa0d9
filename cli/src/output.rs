//! What is written to standard output.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use entity::{Item, item::rfc3339};
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

/// Something to know, for standard error.
pub fn note(text: &str) {
    // Nobody need be there to read it.
    let _ = writeln!(io::stderr(), "kvctl: {text}");
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
    json!({
        "key": item.key,
        "value": item.value,
        "version": item.version,
        "etag": item.etag().to_string(),
        "created_at": rfc3339(&item.created_at),
        "updated_at": rfc3339(&item.updated_at),
    })
}
