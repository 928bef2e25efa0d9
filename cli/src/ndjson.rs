//! Items as lines of JSON: what `export` writes and `import` reads.

use std::io::{BufRead, Read};

use entity::{Key, load::Line};
use serde::{Deserialize, de::IgnoredAny};

use crate::{arguments::MaxValueBytes, error::CliError};

/// A byte order mark, as some editors put it in front.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// Reads items, a JSON object on each line; empty lines are left out.
pub struct Items<R> {
    reader: R,
    /// What errors call it.
    name: String,
    max: MaxValueBytes,
    number: u64,
}

/// A line. What an export tells beside key and value is left unread.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with key and value")]
struct Row {
    key: String,
    value: String,
    #[serde(rename = "version", default)]
    _version: IgnoredAny,
    #[serde(rename = "etag", default)]
    _etag: IgnoredAny,
    #[serde(rename = "created_at", default)]
    _created_at: IgnoredAny,
    #[serde(rename = "updated_at", default)]
    _updated_at: IgnoredAny,
}

impl<R: BufRead> Items<R> {
    pub fn new(reader: R, name: String, max: MaxValueBytes) -> Self {
        Self {
            reader,
            name,
            max,
            number: 0,
        }
    }

    /// The next line with its number, without the bytes that end it.
    fn line(&mut self) -> Result<Option<Vec<u8>>, CliError> {
        // A key and a value of escapes only, and as much again as anybody may put around them.
        let most = 6 * (self.max.max_value_bytes + entity::key::MAX_KEY_BYTES) + 4096;
        let mut line = Vec::new();
        let read = (&mut self.reader)
            .take(most as u64)
            .read_until(b'\n', &mut line)
            .map_err(|error| CliError::io(self.name.as_str(), error))?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if read == most && !line.ends_with(b"\n") {
            return Err(self.wrong("it is longer than any item can be"));
        }
        if self.number == 1 && line.starts_with(MARK) {
            line.drain(..MARK.len());
        }
        line.truncate(line.trim_ascii_end().len());
        Ok(Some(line))
    }

    fn item(&self, line: &[u8]) -> Result<Line, CliError> {
        if !line.trim_ascii_start().starts_with(b"{") {
            return Err(self.wrong("it is no JSON object"));
        }
        let row: Row = serde_json::from_slice(line).map_err(|error| {
            let position = format!(" at line {} column {}", error.line(), error.column());
            let text = error.to_string().replace(&position, "");
            self.wrong(&format!("{text} (column {})", error.column()))
        })?;
        let key = Key::new(row.key).map_err(|error| self.wrong(&error.to_string()))?;
        let value = self.max.value(row.value);
        let value = value.map_err(|error| self.wrong(&error))?;
        Ok(Line {
            number: self.number,
            key,
            value,
        })
    }

    fn wrong(&self, why: &str) -> CliError {
        let Self { name, number, .. } = self;
        CliError::Failed(format!("{name}: line {number}: {why}; nothing was written"))
    }
}

impl<R: BufRead> Iterator for Items<R> {
    type Item = Result<Line, CliError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.line().transpose()? {
                Ok(line) if line.is_empty() => {}
                Ok(line) => return Some(self.item(&line)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
