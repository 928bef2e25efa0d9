//! The text of one field of a line. It may come from a database, a client or a file: it can neither end
//! the line nor command a terminal, and it is at most 1 KiB.

use std::fmt::{self, Write};

use settings::is_unprintable;

/// The most bytes of a text, escaped. The rest of 1 KiB is for the mark of a cut.
const MOST_BYTES: usize = 1000;

/// Where a text is to stand, which decides what is escaped.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// A line for people. A backslash stays as it is, so this cannot be reversed.
    Plain,
    /// Between quotes in a line for people.
    Quoted,
    /// Between the quotes of JSON.
    Json,
}

impl Form {
    /// How the character is written, if not as it is.
    fn escaped(self, c: char) -> Option<String> {
        match (self, c) {
            (Self::Plain, '"' | '\\') => None,
            (Self::Quoted | Self::Json, '"' | '\\') => Some(format!("\\{c}")),
            _ if !is_unprintable(c) => None,
            (Self::Plain | Self::Quoted, _) => Some(c.escape_default().to_string()),
            (Self::Json, _) => {
                let units = c.encode_utf16(&mut [0; 2]).to_vec();
                Some(units.iter().map(|unit| format!("\\u{unit:04x}")).collect())
            }
        }
    }
}

/// The text of a value, which is written with `Debug` because that is what fields offer.
pub(super) struct FieldText<'a>(pub(super) Form, pub(super) &'a dyn fmt::Debug);

impl fmt::Debug for FieldText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = BoundedText::new(self.0, f);
        // A value that fails to write itself is a short text, and the line is still written.
        let _ = write!(text, "{:?}", self.1);
        text.finish()
    }
}

/// Escapes what is written to it, and cuts it.
struct BoundedText<W> {
    form: Form,
    out: W,
    /// Bytes that may still be written.
    left: usize,
    /// Bytes of the whole text, not escaped.
    bytes: usize,
    is_cut: bool,
}

impl<W: Write> BoundedText<W> {
    fn new(form: Form, out: W) -> Self {
        Self {
            form,
            out,
            left: MOST_BYTES,
            bytes: 0,
            is_cut: false,
        }
    }

    fn piece(&mut self, piece: &str) -> fmt::Result {
        match self.left.checked_sub(piece.len()) {
            Some(left) if !self.is_cut => {
                self.left = left;
                self.out.write_str(piece)
            }
            _ => {
                self.is_cut = true;
                Ok(())
            }
        }
    }

    /// Says how long a text was that has been cut.
    fn finish(mut self) -> fmt::Result {
        match self.is_cut {
            true => write!(self.out, "…[{} bytes]", self.bytes),
            false => Ok(()),
        }
    }
}

impl<W: Write> Write for BoundedText<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes += text.len();
        for c in text.chars() {
            if self.is_cut {
                break;
            }
            match self.form.escaped(c) {
                Some(escaped) => self.piece(&escaped)?,
                None => self.piece(c.encode_utf8(&mut [0; 4]))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(form: Form, value: &str) -> String {
        format!("{:?}", FieldText(form, &format_args!("{value}")))
    }

    #[test]
    fn no_text_ends_its_line_or_commands_a_terminal() {
        let hostile = "a\n\u{1b}[2K\u{9b}\u{202e}\u{e0041} \"b\\é";
        assert_eq!(
            text(Form::Plain, hostile),
            "a\\n\\u{1b}[2K\\u{9b}\\u{202e}\\u{e0041} \"b\\é"
        );
        assert_eq!(
            text(Form::Quoted, hostile),
            "a\\n\\u{1b}[2K\\u{9b}\\u{202e}\\u{e0041} \\\"b\\\\é"
        );
        let json = text(Form::Json, hostile);
        assert!(!json.contains(is_unprintable), "{json}");
        let read: String = serde_json::from_str(&format!("\"{json}\"")).unwrap();
        assert_eq!(read, hostile);
    }

    #[test]
    fn a_long_text_is_cut_at_1_kib_and_its_length_is_told() {
        for character in ["x", "é", "\n", "\u{e0041}", "\""] {
            let long = character.repeat(300_000);
            for form in [Form::Plain, Form::Quoted, Form::Json] {
                let text = text(form, &long);
                assert!((950..=1024).contains(&text.len()), "{}", text.len());
                let told = format!("…[{} bytes]", long.len());
                assert!(text.ends_with(&told), "{text}");
            }
        }
        let fits = "x".repeat(MOST_BYTES);
        assert_eq!(text(Form::Plain, &fits), fits);
    }
}
