//! Characters that must not reach a line of a log or a terminal as they are.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// They join letters and emoji, which look wrong without them: U+200C and U+200D.
const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];

/// Whether a terminal would obey this character, or show nothing (Unicode technical report 36, 3.1):
/// controls (C0, DEL, C1), ends of lines and paragraphs, and formats (bidirectional controls, zero width,
/// tags) but the joiners.
pub fn is_unprintable(c: char) -> bool {
    match c.general_category() {
        GeneralCategory::Control
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator => true,
        GeneralCategory::Format => !JOINERS.contains(&c),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commands_hides_or_turns_is_unprintable_and_words_are_not() {
        for c in "\n\r\t\0\u{7f}\u{1b}\u{9b}\u{85}\u{202e}\u{2066}\u{200b}\u{2028}\u{feff}".chars()
        {
            assert!(is_unprintable(c), "{c:?}");
        }
        let words = "aé漢🙂\u{301}\u{200d}\u{a0} \"\\$";
        assert!(!words.contains(is_unprintable));
    }
}
