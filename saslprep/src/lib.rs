//! SASLprep (RFC 4013) as libpq has it: a password that it prohibits, such as one with an emoji that is
//! younger than Unicode 3.2, is used as it is.
//!
//! PostgreSQL stores the verifier of such a password, and psql logs in with it. The driver would refuse it,
//! and show the prohibited character. It asks the crate `stringprep`, for which this one stands.

use std::{borrow::Cow, convert::Infallible};

/// Prepares a password, or leaves it as it is.
///
/// # Errors
/// None: the type is that of the crate it stands for.
pub fn saslprep(text: &str) -> Result<Cow<'_, str>, Infallible> {
    Ok(published::saslprep(text).unwrap_or(Cow::Borrowed(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_prepared_is_and_the_rest_stays() {
        for (text, prepared) in [
            ("plain", "plain"),
            // A soft hyphen is nothing, and a Roman numeral is letters.
            ("I\u{ad}X", "IX"),
            ("\u{2168}", "IX"),
            ("\u{1f980}", "\u{1f980}"),
            ("a\u{7}b", "a\u{7}b"),
            // Text in both directions.
            ("\u{627}1", "\u{627}1"),
        ] {
            let Ok(said) = saslprep(text);
            assert_eq!(said, prepared, "{text:?}");
        }
    }
}
