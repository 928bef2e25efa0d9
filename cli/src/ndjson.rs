//! Items as lines of JSON: what `export` writes and `import` reads.

use std::io::{BufRead, Read};

use chrono::DateTime;
use entity::{Key, Time, load::Line};
use serde::{Deserialize, de::IgnoredAny};

use crate::{arguments::MaxValueBytes, error::CliError, other_formats::OtherFormat};

/// A byte order mark, as some editors put it in front.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// Reads items, a JSON object on each line; empty lines are left out.
pub(crate) struct Items<R> {
    reader: R,
    /// What error messages call the source.
    name: String,
    max: MaxValueBytes,
    number: u64,
    /// Whether a line was read that is not empty.
    begun: bool,
}

/// A line. What else an export tells is left unread.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with key and value")]
struct Row {
    key: String,
    value: String,
    expires_at: Option<String>,
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
    pub(crate) fn new(reader: R, name: String, max: MaxValueBytes) -> Self {
        Self {
            reader,
            name,
            max,
            number: 0,
            begun: false,
        }
    }

    /// The next line with its number, without the bytes that end it.
    fn line(&mut self) -> Result<Option<Vec<u8>>, CliError> {
        let most = entity::max_json_bytes(self.max.max_value_bytes as usize);
        let mut line = Vec::new();
        let read = (&mut self.reader)
            .take(most as u64)
            .read_until(b'\n', &mut line)
            .map_err(|error| CliError::io(self.name.as_str(), error))?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if self.number == 1 && line.starts_with(MARK) {
            line.drain(..MARK.len());
        }
        if !self.begun {
            self.begin(&line)?;
        }
        if read == most && !line.ends_with(b"\n") {
            return Err(self.wrong("it is longer than any item can be"));
        }
        line.truncate(line.trim_ascii_end().len());
        Ok(Some(line))
    }

    /// # Errors
    /// The source begins like a file of another format.
    fn begin(&mut self, line: &[u8]) -> Result<(), CliError> {
        self.begun = !line.trim_ascii().is_empty();
        let name = &self.name;
        let wrong = |format| CliError::Failed(format!("{name}: {format}; nothing was written"));
        OtherFormat::of(line).map_or(Ok(()), |format: OtherFormat| Err(wrong(format)))
    }

    fn item(&self, line: &[u8]) -> Result<Line, CliError> {
        if !line.trim_ascii_start().starts_with(b"{") {
            return Err(self.wrong("it is no JSON object"));
        }
        let row: Row = serde_json::from_slice(line).map_err(|error| {
            let position = format!(" at line {} column {}", error.line(), error.column());
            let text = error.to_string().replace(&position, "");
            let text = text.replace("duplicate field", "repeated member");
            let text = text.replace(" field `", " member `");
            self.wrong(&format!("{text} (column {})", error.column()))
        })?;
        let key = Key::new(row.key).map_err(|error| self.wrong(&error.to_string()))?;
        let value = self.max.value(row.value);
        let value = value.map_err(|error| self.wrong(&error))?;
        let expires_at = row.expires_at.as_deref().map(time).transpose();
        Ok(Line {
            number: self.number,
            key,
            value,
            expires_at: expires_at.map_err(|error| self.wrong(error))?,
        })
    }

    fn wrong(&self, why: &str) -> CliError {
        let Self { name, number, .. } = self;
        CliError::Failed(format!("{name}: line {number}: {why}; nothing was written"))
    }
}

/// A time as RFC 3339 has it, with any offset; what is less than a microsecond is cut.
fn time(text: &str) -> Result<Time, &'static str> {
    match DateTime::parse_from_rfc3339(text) {
        Ok(time) => Ok(time.to_utc().into()),
        Err(_) => Err("expires_at is no time such as 2026-01-31T09:30:00Z"),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const MAX: MaxValueBytes = MaxValueBytes {
        max_value_bytes: 100,
    };

    fn items(bytes: &[u8]) -> Items<&[u8]> {
        Items::new(bytes, "file".to_owned(), MAX)
    }

    fn read(bytes: &[u8]) -> Result<Vec<(u64, String, String)>, String> {
        let items = items(bytes).map(|line| {
            let line = line.map_err(|error| error.to_string())?;
            let (key, value) = (line.key.into_string(), line.value.into_string());
            Ok((line.number, key, value))
        });
        items.collect()
    }

    #[test]
    fn empty_lines_are_counted_and_left_out() {
        let text = "\u{feff}{\"key\":\"a\",\"value\":\"\"}\r\n\n \n{\"value\":\"b\",\"key\":\"c\"}";
        let expected = [(1, "a".into(), "".into()), (4, "c".into(), "b".into())];
        assert_eq!(read(text.as_bytes()).unwrap(), expected);
        assert_eq!(read(b"").unwrap(), []);
    }

    #[test]
    fn a_line_longer_than_any_item_is_not_read_to_its_end() {
        let endless = std::io::repeat(b'x');
        let mut items = Items::new(std::io::BufReader::new(endless), "file".to_owned(), MAX);
        let error = items.next().unwrap().unwrap_err().to_string();
        assert!(error.contains("line 1: it is longer"), "{error}");
    }

    #[test]
    fn the_end_is_a_time_with_any_offset_or_none() {
        let end = |member: &str| {
            let line = format!("{{\"key\":\"a\",\"value\":\"\"{member}}}");
            let line = items(line.as_bytes()).next().unwrap();
            line.map(|line| line.expires_at.map(|time| time.to_string()))
        };
        for member in ["", ",\"expires_at\":null"] {
            assert_eq!(end(member).unwrap(), None);
        }
        for (text, expected) in [
            (
                "2999-01-31T10:30:00.1234567+01:00",
                "2999-01-31T09:30:00.123456Z",
            ),
            ("9999-12-31T23:59:59-01:00", "9999-12-31T23:59:59.999999Z"),
            ("1999-01-31t09:30:00z", "1999-01-31T09:30:00.000000Z"),
        ] {
            let member = format!(",\"expires_at\":\"{text}\"");
            assert_eq!(end(&member).unwrap().as_deref(), Some(expected));
        }
        for wrong in [
            "\"tomorrow\"",
            "\"2999-01-31\"",
            "\"2999-01-31T09:30:00\"",
            "\"\"",
            "1",
            "{}",
        ] {
            let error = end(&format!(",\"expires_at\":{wrong}"))
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("file: line 1: "), "{wrong}: {error}");
        }
    }

    proptest! {
        #[test]
        fn every_item_reads_back(key in "[^\0-\x1f\x7f]{1,20}", value in "[^\0]{0,20}") {
            prop_assume!(!matches!(key.as_str(), "." | ".."));
            let line = json!({ "key": key, "value": value, "version": 1, "etag": "1-1" });
            prop_assert_eq!(read(line.to_string().as_bytes()).unwrap(), [(1, key, value)]);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = read(&bytes);
        }
    }
}
