//! Text that cannot command a terminal, and that stays on its line.

use std::{borrow::Cow, fmt::Write};

use settings::is_unprintable;

/// Text for a person: what commands a terminal, changes the direction or the end of a line, or
/// cannot be seen is escaped. This cannot be reversed, since a backslash stays as it is.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, is_unprintable, write_braced)
}

/// Text on one line for a program: only control characters are escaped.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, char::is_control, write_braced)
}

/// JSON for a person: the same document, with the characters of [`visible`] escaped as RFC 8259,
/// section 7, has it. They stand only inside of its strings.
pub(crate) fn visible_json(text: &str) -> Cow<'_, str> {
    escaped(text, is_unprintable, |out, c| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    })
}

fn escaped(
    text: &str,
    must_be: fn(char) -> bool,
    write_escaped: fn(&mut String, char),
) -> Cow<'_, str> {
    if !text.contains(must_be) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if must_be(c) {
            write_escaped(&mut escaped, c);
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

fn write_braced(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        // Writing to a string cannot fail.
        c => drop(write!(out, "\\u{{{:x}}}", c as u32)),
    }
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

    #[test]
    fn nothing_that_is_not_seen_stays_but_what_joins() {
        let bidirectional = "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
        let unseen = "\u{ad}\u{200b}\u{2028}\u{2029}\u{2060}\u{feff}\u{fff9}\u{e0001}\u{e0041}";
        for c in bidirectional.chars().chain(unseen.chars()) {
            assert_eq!(visible(&c.to_string()), format!("\\u{{{:x}}}", c as u32));
        }
        for seen in [
            "👩\u{200d}💻",
            "می\u{200c}خواهم",
            "❤\u{fe0f}",
            "e\u{301}",
            "\u{a0}",
        ] {
            assert_eq!(visible(seen), seen);
        }
    }

    #[test]
    fn a_program_gets_every_character_that_keeps_a_line() {
        assert_eq!(
            one_line("\u{1b}\u{85}\u{202e}\n"),
            "\\u{1b}\\u{85}\u{202e}\\n"
        );
    }

    #[test]
    fn escaped_json_is_the_same_document() {
        let text = "\u{9b}\u{7f}\u{202e}\u{2028}\u{e0041}\n\"é👩\u{200d}💻";
        let json = serde_json::to_string(text).unwrap();
        let shown = visible_json(&json);
        assert!(!shown.contains(is_unprintable), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
    }
}
