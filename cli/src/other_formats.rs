//! Files that are no NDJSON, told by how they begin, and what makes NDJSON of them.

use std::fmt;

/// What a file is instead of NDJSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OtherFormat {
    name: &'static str,
    /// What to do.
    instead: &'static str,
}

impl fmt::Display for OtherFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this is {}, not NDJSON; {}", self.name, self.instead)
    }
}

/// For what no standard tool makes lines of.
const EACH_LINE: &str = r#"each line has to be an object such as {"key":"k","value":"v"}"#;

/// How files of other programs begin. None of these beginnings has the end of a line in it.
const SIGNATURES: [(&[u8], &str, &str); 12] = [
    // RFC 1952.
    (
        b"\x1f\x8b",
        "gzip",
        "gunzip -c FILE | kvctl import - reads it",
    ),
    // RFC 8878.
    (
        b"\x28\xb5\x2f\xfd",
        "zstd",
        "zstd -dc FILE | kvctl import - reads it",
    ),
    (b"BZh", "bzip2", "bunzip2 -c FILE | kvctl import - reads it"),
    (b"\xfd7zXZ\0", "xz", "xz -dc FILE | kvctl import - reads it"),
    (
        b"PK\x03\x04",
        "a ZIP archive or a spreadsheet",
        "unzip it first, or save it as text",
    ),
    (
        b"SQLite format 3\0",
        "an SQLite database",
        "kvctl --database-url sqlite://FILE export reads it",
    ),
    (b"PGDMP", "a dump of PostgreSQL", "pg_restore reads it"),
    // The marks of UTF-32 begin with those of UTF-16.
    (
        b"\xff\xfe\0\0",
        "UTF-32",
        "iconv -f UTF-32 -t UTF-8 FILE | kvctl import - reads it",
    ),
    (
        b"\0\0\xfe\xff",
        "UTF-32",
        "iconv -f UTF-32 -t UTF-8 FILE | kvctl import - reads it",
    ),
    (
        b"\xff\xfe",
        "UTF-16",
        "iconv -f UTF-16 -t UTF-8 FILE | kvctl import - reads it",
    ),
    (
        b"\xfe\xff",
        "UTF-16",
        "iconv -f UTF-16 -t UTF-8 FILE | kvctl import - reads it",
    ),
    (b"---", "YAML", EACH_LINE),
];

impl OtherFormat {
    /// What a file is, by its first line that is not empty; `None` if that may be NDJSON, or if it
    /// is like nothing known.
    pub(crate) fn of(line: &[u8]) -> Option<Self> {
        let known = |(signature, ..): &&(&[u8], _, _)| line.starts_with(signature);
        let (name, instead) = match SIGNATURES.iter().find(known) {
            Some((_, name, instead)) => (*name, *instead),
            None if line.get(257..262) == Some(b"ustar") => {
                ("a tar archive", "tar -xOf FILE | kvctl import - reads it")
            }
            None => without_mark(line).or_else(|| text(line.trim_ascii()))?,
        };
        Some(Self { name, instead })
    }
}

/// UTF-32 and UTF-16 without a byte order mark: the zeros beside a character of ASCII.
fn without_mark(line: &[u8]) -> Option<(&'static str, &'static str)> {
    let zeros: Vec<_> = line.iter().take(4).map(|byte| *byte == 0).collect();
    Some(match zeros[..] {
        [true, true, true, false] => (
            "UTF-32",
            "iconv -f UTF-32BE -t UTF-8 FILE | kvctl import - reads it",
        ),
        [false, true, true, true] => (
            "UTF-32",
            "iconv -f UTF-32LE -t UTF-8 FILE | kvctl import - reads it",
        ),
        [true, false, ..] => (
            "UTF-16",
            "iconv -f UTF-16BE -t UTF-8 FILE | kvctl import - reads it",
        ),
        [false, true, ..] => (
            "UTF-16",
            "iconv -f UTF-16LE -t UTF-8 FILE | kvctl import - reads it",
        ),
        _ => return None,
    })
}

/// How a line of SQL begins, in capitals: the comments and statements that dumps put first. One word of SQL may be a
/// title of CSV.
const SQL: [&[u8]; 16] = [
    b"--",
    b"/*",
    b"INSERT INTO ",
    b"CREATE TABLE ",
    b"CREATE TEMPORARY ",
    b"CREATE DATABASE ",
    b"CREATE SCHEMA ",
    b"CREATE INDEX ",
    b"CREATE UNIQUE ",
    b"CREATE SEQUENCE ",
    b"CREATE EXTENSION ",
    b"PRAGMA ",
    b"BEGIN TRANSACTION",
    b"SET NAMES ",
    b"DROP TABLE ",
    b"DROP DATABASE ",
];

fn is_sql(line: &[u8]) -> bool {
    SQL.iter().any(|begin| after(line, begin).is_some()) || sets_variable(line)
}

/// `SET name = value`.
fn sets_variable(line: &[u8]) -> bool {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_@.".contains(byte);
    after(line, b"SET ").is_some_and(|assignment| {
        let name = assignment
            .iter()
            .take_while(|byte| is_of_name(byte))
            .count();
        name > 0 && assignment[name..].trim_ascii_start().starts_with(b"=")
    })
}

/// What follows this beginning, whatever the case of its letters.
fn after<'a>(line: &'a [u8], begin: &[u8]) -> Option<&'a [u8]> {
    let (begins, rest) = line.split_at_checked(begin.len())?;
    begins.eq_ignore_ascii_case(begin).then_some(rest)
}

fn text(line: &[u8]) -> Option<(&'static str, &'static str)> {
    let separates = |byte: &u8| matches!(byte, b',' | b';' | b'\t');
    match line {
        b"{" => Some((
            "JSON over several lines",
            "jq -c . FILE | kvctl import - reads it, if each document is an item",
        )),
        [b'[', ..] => Some((
            "a JSON array",
            "jq -c '.[]' FILE | kvctl import - reads it, and kvctl export writes NDJSON",
        )),
        [b'<', ..] => Some(("XML or HTML", EACH_LINE)),
        _ if is_sql(line) => Some((
            "SQL",
            "psql, mysql or sqlite3 reads it, and kvctl export writes NDJSON of their table items",
        )),
        [b'"' | b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9', rest @ ..]
            if rest.iter().any(separates) =>
        {
            Some(("CSV or similar", EACH_LINE))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(line: &[u8]) -> Option<&'static str> {
        OtherFormat::of(line).map(|format| format.name)
    }

    #[test]
    fn lines_of_ndjson_are_no_other_format() {
        let item = br#"  {"key":"k,;","value":"v"}"#;
        for line in [
            &b""[..],
            b"\n",
            b" ",
            b"{}",
            item,
            b"{ ",
            b"x",
            b"null",
            b"\"k\"",
            b"7",
        ] {
            let may_be = matches!(name(line), None | Some("JSON over several lines"));
            assert!(may_be, "{line:?}");
        }
    }

    #[test]
    fn titles_of_csv_are_no_sql() {
        for (line, format) in [
            (&b"Create date,size"[..], "CSV or similar"),
            (b"Set name;color", "CSV or similar"),
            (b"Set;a = b", "CSV or similar"),
            (b"create table items (", "SQL"),
            (b"CREATE DATABASE kvd;", "SQL"),
            (b"SET NAMES utf8mb4;", "SQL"),
            (b"SET statement_timeout = 0;", "SQL"),
            (b"set @old_mode=@@sql_mode;", "SQL"),
        ] {
            assert_eq!(name(line), Some(format), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn text_of_wide_characters_is_told_with_and_without_its_mark() {
        let utf_16 = |text: &str| text.encode_utf16().collect::<Vec<_>>();
        let utf_32 = |text: &str| text.chars().map(u32::from).collect::<Vec<_>>();
        for text in ["{\"key\"", "\u{feff}{\"key\""] {
            let (units, points) = (utf_16(text), utf_32(text));
            let big: Vec<_> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
            let little: Vec<_> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            assert_eq!(
                (name(&big), name(&little)),
                (Some("UTF-16"), Some("UTF-16"))
            );
            let big: Vec<_> = points.iter().flat_map(|c| c.to_be_bytes()).collect();
            let little: Vec<_> = points.iter().flat_map(|c| c.to_le_bytes()).collect();
            assert_eq!(
                (name(&big), name(&little)),
                (Some("UTF-32"), Some("UTF-32"))
            );
        }
    }
}
