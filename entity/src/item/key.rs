//! Keys and prefixes of keys.

use std::fmt;

/// The longest key, in bytes of UTF-8.
pub(crate) const MAX_KEY_BYTES: usize = 512;

/// A key: 1 to 512 bytes of UTF-8 without control characters (U+0000–U+001F, U+007F), and neither
/// `.` nor `..`, which clients resolve away in paths. This rule never gets stricter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// Why a text is no [`Key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    #[error("a key has at least 1 byte")]
    Empty,
    #[error("a key has at most {MAX_KEY_BYTES} bytes, not {0}")]
    TooLong(usize),
    #[error("a key has no control characters, and this one has U+{:04X}", *.0 as u32)]
    ControlCharacter(char),
    #[error("a key is neither \".\" nor \"..\"")]
    Dots,
}

impl Key {
    /// # Errors
    /// The part of the rule that the text breaks.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidKey> {
        let text = text.into();
        match text.as_str() {
            "" => Err(InvalidKey::Empty),
            "." | ".." => Err(InvalidKey::Dots),
            long if long.len() > MAX_KEY_BYTES => Err(InvalidKey::TooLong(long.len())),
            _ => match text.chars().find(char::is_ascii_control) {
                Some(control) => Err(InvalidKey::ControlCharacter(control)),
                None => Ok(Self(text)),
            },
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The beginning of keys: 0 to 512 bytes of UTF-8 without U+0000, which PostgreSQL cannot hold.
/// Other control characters are allowed, so that rows written by other software can be found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Prefix(String);

/// Why a text is no [`Prefix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrefix {
    #[error("a prefix has at most {MAX_KEY_BYTES} bytes, not {0}")]
    TooLong(usize),
    #[error("a prefix has no U+0000")]
    Nul,
}

impl Prefix {
    /// # Errors
    /// The part of the rule that the text breaks.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidPrefix> {
        let text = text.into();
        if text.len() > MAX_KEY_BYTES {
            return Err(InvalidPrefix::TooLong(text.len()));
        }
        if text.contains('\0') {
            return Err(InvalidPrefix::Nul);
        }
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The least text above every text that begins with this prefix; `None` when there is none.
    ///
    /// By code point, because the successor by byte may be no valid UTF-8. UTF-8 sorts by byte as
    /// it does by code point.
    pub fn successor(&self) -> Option<String> {
        let mut text = self.0.clone();
        while let Some(last) = text.pop() {
            if let Some(next) = next_char(last) {
                text.push(next);
                return Some(text);
            }
        }
        None
    }
}

/// The next code point that is a character: the surrogates are skipped.
fn next_char(c: char) -> Option<char> {
    (c..=char::MAX).nth(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_rule_holds_at_its_borders() {
        assert_eq!(Key::new(""), Err(InvalidKey::Empty));
        assert_eq!(Key::new("."), Err(InvalidKey::Dots));
        assert_eq!(Key::new(".."), Err(InvalidKey::Dots));
        assert!(Key::new("...").is_ok());
        assert!(Key::new("a".repeat(512)).is_ok());
        assert_eq!(Key::new("a".repeat(513)), Err(InvalidKey::TooLong(513)));
        assert!(Key::new("é".repeat(256)).is_ok());
        assert_eq!(Key::new("é".repeat(257)), Err(InvalidKey::TooLong(514)));
        assert!(Key::new("\u{80}").is_ok(), "C1 is not forbidden");
        for c in ('\0'..='\u{1f}').chain(['\u{7f}']) {
            assert_eq!(
                Key::new(format!("a{c}")),
                Err(InvalidKey::ControlCharacter(c))
            );
        }
    }

    #[test]
    fn the_successor_skips_what_is_no_character() {
        let successor = |text: &str| Prefix::new(text).unwrap().successor();
        assert_eq!(successor(""), None);
        assert_eq!(successor("a"), Some("b".into()));
        assert_eq!(successor("a\u{10ffff}"), Some("b".into()));
        assert_eq!(successor("\u{10ffff}"), None);
        assert_eq!(successor("\u{d7ff}"), Some("\u{e000}".into()));
    }

    proptest! {
        #[test]
        fn a_text_is_a_key_exactly_if_it_follows_the_rule(text in "[\\x00-\\x80.é]{0,4}|[a😀]{500,520}") {
            let follows = (1..=512).contains(&text.len())
                && text != "." && text != ".."
                && text.chars().all(|c| c >= ' ' && c != '\x7f');
            prop_assert_eq!(Key::new(text.clone()).map(Key::into_string).ok(), follows.then_some(text));
        }

        #[test]
        fn the_range_of_a_prefix_is_exactly_the_texts_that_begin_with_it(
            prefix in "[a-c\u{d7ff}\u{10ffff}]{0,3}",
            text in "[a-d\u{d7ff}\u{e000}\u{10ffff}]{0,4}",
        ) {
            let range = Prefix::new(prefix.clone()).unwrap();
            let inside = text.as_str() >= range.as_str()
                && range.successor().is_none_or(|end| text < end);
            prop_assert_eq!(inside, text.starts_with(&prefix));
        }
    }
}
