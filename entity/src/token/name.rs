//! The names of tokens.

use std::{fmt, str::FromStr};

use super::secret::MARK;

const MAX_BYTES: usize = 64;

/// 1 to 64 of `A-Za-z0-9._-`. It is taken for no id, so not digits alone, and for no token, so it begins with no
/// `kvd_`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenName(String);

/// Why a text is no [`TokenName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTokenName {
    #[error(
        "a name of a token has 1 to {MAX_BYTES} letters, digits, dots, underscores and hyphens"
    )]
    Characters,
    #[error("a name of a token is not digits alone, which are its id")]
    Digits,
    #[error("a name of a token does not begin with {MARK}, as tokens do")]
    Token,
}

impl FromStr for TokenName {
    type Err = InvalidTokenName;

    fn from_str(text: &str) -> Result<Self, InvalidTokenName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=MAX_BYTES).contains(&text.len()) || !text.bytes().all(allowed) {
            return Err(InvalidTokenName::Characters);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidTokenName::Digits);
        }
        match text.starts_with(MARK) {
            true => Err(InvalidTokenName::Token),
            false => Ok(Self(text.to_owned())),
        }
    }
}

impl TokenName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
