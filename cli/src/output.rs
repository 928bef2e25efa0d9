//! What is written to standard output, and notes on standard error.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, BufWriter, IsTerminal, StdoutLock, Write},
};

use clap::ValueEnum;
use entity::{ETag, Item, Time, read::ListedItem};
use serde::{Serialize, Serializer};

use crate::error::CliError;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people and simple scripts
    Text,
    /// One JSON document
    Json,
    /// A JSON document for each item, one a line
    Ndjson,
    /// Aligned columns, only for list
    Table,
}

impl Format {
    /// Whether one thing is to be written as JSON: for one thing, NDJSON is the same.
    ///
    /// # Errors
    /// One thing is no table.
    pub fn is_json(self) -> Result<bool, CliError> {
        match self {
            Self::Text => Ok(false),
            Self::Json | Self::Ndjson => Ok(true),
            Self::Table => Err(CliError::Usage(
                "this command writes text or json; only list writes a table".to_owned(),
            )),
        }
    }
}

/// Standard output for much: buffered.
pub fn buffered() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(64 * 1024, io::stdout().lock())
}

/// For `map_err` of what is written there.
pub fn stdout_error(error: io::Error) -> CliError {
    CliError::io("standard output", error)
}

/// Text as it is.
///
/// # Errors
/// Standard output cannot be written to.
pub fn text(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(stdout_error)
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
    let _ = writeln!(io::stderr(), "kvctl: {}", visible(text));
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

/// Text on one line that cannot command a terminal: control characters are escaped. Not reversible,
/// since nothing else is.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut visible = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => visible.push_str("\\n"),
            '\r' => visible.push_str("\\r"),
            '\t' => visible.push_str("\\t"),
            // Writing to a string cannot fail.
            c if c.is_control() => drop(write!(visible, "\\u{{{:x}}}", c as u32)),
            c => visible.push(c),
        }
    }
    Cow::Owned(visible)
}

/// An item as the HTTP interface shows it.
#[derive(Debug, Serialize)]
pub struct Shown<'a> {
    pub key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<&'a str>,
    pub version: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    pub created_at: String,
    pub updated_at: String,
}

impl<'a> Shown<'a> {
    pub fn item(item: &'a Item) -> Self {
        let times = (item.created_at, item.updated_at);
        Self::new(&item.key, Some(&item.value), item.etag(), times)
    }

    pub fn listed(item: &'a ListedItem) -> Self {
        let times = (item.created_at, item.updated_at);
        Self::new(&item.key, item.value.as_deref(), item.etag, times)
    }

    fn new(
        key: &'a str,
        value: Option<&'a str>,
        etag: ETag,
        (created_at, updated_at): (Time, Time),
    ) -> Self {
        Self {
            key,
            value,
            version: etag.version,
            etag: Some(etag.to_string()),
            created_at: created_at.to_string(),
            updated_at: updated_at.to_string(),
        }
    }
}

/// One line of JSON: an object whose members keep this order.
///
/// # Errors
/// Standard output cannot be written to.
pub fn members<V: Serialize>(
    members: impl IntoIterator<Item = (&'static str, V)>,
) -> Result<(), CliError> {
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut text);
    let done = serializer.collect_map(members);
    done.map_err(|error| stdout_error(error.into()))?;
    line(&String::from_utf8_lossy(&text))
}

/// One line of JSON.
///
/// # Errors
/// Standard output cannot be written to.
pub fn json(shown: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(shown).map_err(|error| stdout_error(error.into()))?;
    line(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_commands_a_terminal_stays() {
        assert_eq!(visible("a\\b é 漢"), "a\\b é 漢");
        assert_eq!(visible("a\nb\r\t"), "a\\nb\\r\\t");
        assert_eq!(
            visible("\u{1b}[31m\u{9b}\u{7f}"),
            "\\u{1b}[31m\\u{9b}\\u{7f}"
        );
    }
}
