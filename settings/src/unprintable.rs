//! Characters that must not reach a line of a log or a terminal as they are.

/// Whether a character can end a line, command a terminal, or change how the text around it is shown:
/// control characters (Unicode's `Cc`), line separators, and what is invisible or turns the direction
/// of writing (Unicode technical report 36, 3.1). The joiners U+200C and U+200D belong to words and emoji.
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
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
