//! The file `.env` of the working directory.

use std::{cell::Cell, env, fs, io, path::Path};

/// What is wrong with a line. The line itself is not shown: it may hold a password.
const EXPECTED: &str = "cannot be read: expected NAME=value, with 'single quotes' around a value with spaces \
                        or backslashes";
/// Where the file is described.
const SECTION: &str = "section \"The file .env\" of docs/configuration.md";

/// Sets what `.env` names and the environment does not, or has empty. A file that cannot be reached
/// counts as none.
///
/// Returns what to tell about a file that is there and cannot be read.
///
/// # Errors
/// One line: which line cannot be read, by its number.
pub(crate) fn load() -> Result<Option<String>, String> {
    let file = Path::new(".env");
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        // Whether there is a file in a directory that cannot be searched is not to be known, and a
        // directory of this name is not meant for settings.
        Err(_) if !file.exists() || file.is_dir() => return Ok(None),
        Err(error) => {
            return Ok(Some(format!(
                ".env cannot be read, and counts as none: {error}"
            )));
        }
    };
    let wrong = |(line, why)| format!(".env: line {line} {why}; see {SECTION}");
    let settings = parse(&bytes).map_err(wrong)?;
    // The library may set variables, which here would take code that is marked unsafe.
    dotenvy::from_read_override(unset(settings).as_bytes())
        .map_err(|error| format!(".env: {}", kind(&error)))?;
    Ok(None)
}

/// Never the text of an error, which holds the line.
fn kind(error: &dotenvy::Error) -> &'static str {
    match error {
        dotenvy::Error::Io(_) => "it cannot be read",
        _ => "a line cannot be read",
    }
}

/// The settings that count, as a file in which nothing is left to be understood in two ways.
fn unset(settings: Vec<(String, String)>) -> String {
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let mut text = String::new();
    // Of a name that stands there twice the first one counts, so it comes last.
    for (name, value) in settings.into_iter().rev().filter(|(name, _)| !is_set(name)) {
        let value = value.replace('\\', r"\\").replace('"', "\\\"");
        let value = value.replace('$', r"\$").replace('\n', r"\n");
        text += &format!("{name}=\"{value}\"\n");
    }
    text
}

/// Names and values, in their order.
///
/// # Errors
/// The number of the first line that cannot be read, and why.
fn parse(bytes: &[u8]) -> Result<Vec<(String, String)>, (usize, &'static str)> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let text = str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        (line, "is not UTF-8")
    })?;
    let dollar = stand_in(text);
    let text = hide_dollars(text, dollar) + "\n";
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (mut settings, mut begun) = (Vec::new(), 0);
    while begun < lines.len() {
        let read = Cell::new(begun);
        let line = lines[begun].trim_start();
        // Skipped here, since the library would pass over them and on to the next setting.
        if line.is_empty() || line.starts_with('#') {
            begun += 1;
            continue;
        }
        let reader = Lines {
            lines: &lines,
            next: &read,
            rest: &[],
        };
        match dotenvy::from_read_iter(reader).next() {
            Some(Ok((name, value))) if !value.contains('\0') => {
                settings.push((name, value.replace(dollar, "$")));
            }
            _ => return Err((begun + 1, EXPECTED)),
        }
        begun = read.get();
    }
    Ok(settings)
}

/// Puts `c` for each dollar that a backslash does not escape. The library would put the value of a
/// variable there: half of a password such as `pa$word` would be lost.
fn hide_dollars(text: &str, c: char) -> String {
    let mut hidden = String::with_capacity(text.len());
    let mut is_escaped = false;
    for next in text.chars() {
        hidden.push(if next == '$' && !is_escaped { c } else { next });
        is_escaped = next == '\\' && !is_escaped;
    }
    hidden
}

/// A character for private use that the text has not.
fn stand_in(text: &str) -> char {
    ('\u{e000}'..='\u{f8ff}')
        .find(|c| !text.contains(*c))
        .unwrap_or('\u{10fffd}')
}

/// Gives out one line at a time, so that it is known where the value of a setting ends: one in quotes may
/// have several.
struct Lines<'a> {
    lines: &'a [&'a str],
    /// The first line that has not been asked for.
    next: &'a Cell<usize>,
    /// Of the line before that one.
    rest: &'a [u8],
}

impl io::Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty()
            && let Some(line) = self.lines.get(self.next.get())
        {
            self.rest = line.as_bytes();
            self.next.set(self.next.get() + 1);
        }
        self.rest.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_parsed(text: impl AsRef<[u8]>, expected: &[(&str, &str)]) {
        let parsed = parse(text.as_ref()).expect("it can be read");
        let parsed: Vec<_> = parsed.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(parsed, expected);
        // As the library then reads it again.
        let written = unset(parse(text.as_ref()).expect("it can be read"));
        let again: Vec<_> = dotenvy::from_read_iter(written.as_bytes())
            .map(|read| read.expect("what was written can be read"))
            .collect();
        let again: Vec<_> = again.iter().rev().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(again, expected);
    }

    #[test]
    fn a_dollar_is_a_dollar() {
        for (value, meant) in [
            ("pa$word", "pa$word"),
            ("'pa$word'", "pa$word"),
            ("\"pa$word\"", "pa$word"),
            ("${HOME}$", "${HOME}$"),
            ("\"${HOME\"", "${HOME"),
            ("$$a$", "$$a$"),
            (r"pa\$word", "pa$word"),
            (r#""pa\$word""#, "pa$word"),
            (r"'pa\$word'", r"pa\$word"),
            (r#""a\\$b""#, r"a\$b"),
            (r"'a\\$b'", r"a\\$b"),
            ("a\u{e000}$", "a\u{e000}$"),
        ] {
            assert_parsed(format!("A={value}\n"), &[("A", meant)]);
        }
    }

    #[test]
    fn what_other_programs_write_is_read() {
        let all = "\u{feff}# ours\r\n\r\nexport A=1\r\n B = 2 \r\nC='3 #4' # five\r\n\
                   D=\"x\\ny\"\r\nE=\r\nF=g#h #i\r\nG='two\nlines'\nH=a=b?c&d";
        assert_parsed(
            all,
            &[
                ("A", "1"),
                ("B", "2"),
                ("C", "3 #4"),
                ("D", "x\ny"),
                ("E", ""),
                ("F", "g#h"),
                ("G", "two\nlines"),
                ("H", "a=b?c&d"),
            ],
        );
        assert_parsed("", &[]);
        assert_parsed("\n# only\n  # comments", &[]);
        let long = "x".repeat(100_000);
        assert_parsed(format!("A={long}\nB=1"), &[("A", &long), ("B", "1")]);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named_by_its_number() {
        for (text, line) in [
            (&b"foreign"[..], 1),
            (b"A=1\n\n# c\nforeign line\nB=2\n", 4),
            (b"A='two\nlines'\nB=a b\n", 3),
            // Where the quote begins, however far the end of the file is.
            (b"A=1\nB='open\nC=3\n\n\n", 2),
            (b"A=1\r\nB=\"open", 2),
            (b"A=1\nB=\xFF\n", 2),
            (b"\xFF\xFEA\0=\x001\0", 1),
            (b"A=1\nB=a\0b\n", 2),
            (b"A=a\\b\n", 1),
            (b"1A=1\n", 1),
            (b"=1\n", 1),
            (b"A: 1\n", 1),
        ] {
            let wrong = parse(text).expect_err("it cannot be read");
            assert_eq!(wrong.0, line, "{}", String::from_utf8_lossy(text));
        }
    }
}
