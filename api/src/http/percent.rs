//! Percent-encoding (RFC 3986, 2.1), taken strictly: else `%zz` and `%25zz` would be one key by two URLs.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The decoded text; `None` if a `%` is not followed by two hexadecimal digits, or it is not UTF-8.
pub(crate) fn percent_decoded(text: &str) -> Option<Cow<'_, str>> {
    if !is_percent_encoded(text) {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok()
}

/// Whether each `%` is followed by two hexadecimal digits.
pub(super) fn is_percent_encoded(text: &str) -> bool {
    let digits = |after: &str| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    text.split('%').skip(1).all(digits)
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_malformed_is_not_taken_literally() {
        for text in [
            "%",
            "%4",
            "a%",
            "%zz",
            "%4z",
            "%%41",
            "%2",
            "%+1",
            "%u0041",
            "%\u{e9}1",
            "%FF",
            "%C0%AF",
            "%ED%A0%80",
            "%C3",
            "%C3x",
        ] {
            assert_eq!(percent_decoded(text), None, "{text}");
        }
        assert_eq!(percent_decoded("%25zz").as_deref(), Some("%zz"));
        assert_eq!(percent_decoded("a%c3%A9+").as_deref(), Some("a\u{e9}+"));
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(text in any::<String>()) {
            let encoded = utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string();
            let decoded = percent_decoded(&encoded);
            prop_assert_eq!(decoded.as_deref(), Some(text.as_str()));
        }
    }
}
