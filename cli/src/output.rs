//! What is written to standard output, and notes on standard error.

use std::{
    io::{self, BufWriter, IsTerminal, StdoutLock, Write},
    sync::LazyLock,
};

use clap::ValueEnum;
use entity::{Item, read::ListedItem};
use serde::{Serialize, Serializer};

use crate::{
    error::CliError,
    escape::{one_line, visible, visible_json},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
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
    /// Whether one document is to be written as JSON, which for one document NDJSON is too.
    ///
    /// # Errors
    /// One document is no table.
    pub(crate) fn is_json(self) -> Result<bool, CliError> {
        match self {
            Self::Text => Ok(false),
            Self::Json | Self::Ndjson => Ok(true),
            Self::Table => Err(CliError::Usage(
                "this command writes text or json; only list writes a table".to_owned(),
            )),
        }
    }
}

/// Whether standard output is a terminal. The system is asked once, not for each of many items.
pub(crate) fn for_a_person() -> bool {
    static TERMINAL: LazyLock<bool> = LazyLock::new(|| io::stdout().is_terminal());
    *TERMINAL
}

/// Standard output with a buffer, for what is written in many pieces.
pub(crate) fn buffered() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(64 * 1024, io::stdout().lock())
}

/// Names standard output as the place of an error.
pub(crate) fn stdout_error(error: io::Error) -> CliError {
    CliError::io("standard output", error)
}

/// Writes text as it is.
///
/// # Errors
/// Standard output cannot be written to.
pub(crate) fn text(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(stdout_error)
}

/// Writes a line: its control characters are escaped, for a terminal also what cannot be seen.
///
/// # Errors
/// Standard output cannot be written to.
pub(crate) fn line(line: &str) -> Result<(), CliError> {
    let line = if for_a_person() {
        visible(line)
    } else {
        one_line(line)
    };
    text(&format!("{line}\n"))
}

/// Writes the text of a help page, which shows values of the environment.
///
/// # Errors
/// Standard output cannot be written to.
pub(crate) fn help(page: &str) -> Result<(), CliError> {
    page.lines().try_for_each(line)
}

/// Writes something to know to standard error.
pub(crate) fn note(text: &str) {
    // A closed standard error changes nothing about the work.
    let _ = writeln!(io::stderr(), "kvctl: {}", visible(text));
}

/// Writes a value byte for byte, on a terminal with a newline behind it.
///
/// # Errors
/// Standard output cannot be written to.
pub(crate) fn value(value: &str) -> Result<(), CliError> {
    if for_a_person() {
        text(&format!("{value}\n"))
    } else {
        text(value)
    }
}

/// An item as the HTTP interface shows it.
#[derive(Debug, Serialize)]
pub(crate) struct ItemJson<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    version: i64,
    etag: String,
    created_at: String,
    updated_at: String,
    expires_at: Option<String>,
}

impl<'a> ItemJson<'a> {
    pub(crate) fn item(item: &'a Item) -> Self {
        Self {
            key: &item.key,
            value: Some(&item.value),
            version: item.version,
            etag: item.etag().to_string(),
            created_at: item.created_at.to_string(),
            updated_at: item.updated_at.to_string(),
            expires_at: item.expires_at.map(|end| end.to_string()),
        }
    }

    pub(crate) fn listed(item: &'a ListedItem) -> Self {
        Self {
            key: &item.key,
            value: item.value.as_deref(),
            version: item.etag.version,
            etag: item.etag.to_string(),
            created_at: item.created_at.to_string(),
            updated_at: item.updated_at.to_string(),
            expires_at: item.expires_at.map(|end| end.to_string()),
        }
    }
}

/// Writes one line of JSON: an object whose members keep this order.
///
/// # Errors
/// Standard output cannot be written to.
pub(crate) fn members<V: Serialize>(
    members: impl IntoIterator<Item = (&'static str, V)>,
) -> Result<(), CliError> {
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut text);
    let done = serializer.collect_map(members);
    done.map_err(|error| stdout_error(error.into()))?;
    json_line(&String::from_utf8_lossy(&text))
}

/// Writes one line of JSON.
///
/// # Errors
/// Standard output cannot be written to.
pub(crate) fn json(shown: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(shown).map_err(|error| stdout_error(error.into()))?;
    json_line(&text)
}

fn json_line(document: &str) -> Result<(), CliError> {
    if for_a_person() {
        text(&format!("{}\n", visible_json(document)))
    } else {
        text(&format!("{document}\n"))
    }
}

/// Writes a JSON document of many to what becomes standard output.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write_json(out: &mut dyn Write, shown: &impl Serialize) -> io::Result<()> {
    if for_a_person() {
        let document = serde_json::to_string(shown)?;
        return out.write_all(visible_json(&document).as_bytes());
    }
    Ok(serde_json::to_writer(out, shown)?)
}
