//! Text that cannot command a terminal.

use std::{borrow::Cow, fmt::Write};

/// Text on one line that cannot command a terminal: control characters are escaped. This cannot be
/// reversed, since a backslash stays as it is.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
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
