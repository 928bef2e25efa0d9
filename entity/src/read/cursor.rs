//! Where a walk through the keys goes on.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};

use crate::item::key::Prefix;

/// The first byte of the coded form, so that a later form can be told apart.
const FORM: u8 = 1;
/// Form, length of the prefix (2 bytes), checksum (4 bytes).
const HEAD: usize = 7;

/// The last key a walk has seen, and the prefix it walks along: keys above it come next.
///
/// Opaque to clients: URL-safe base64 of a form byte, the length of the prefix in bytes, a CRC-32 and the
/// key. The prefix is the beginning of the key, so its length is enough. The CRC-32 finds texts that
/// were mistyped or cut. A cursor grants nothing, so it is not signed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    prefix_bytes: usize,
    last_key: String,
}

/// The text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is broken")]
pub struct InvalidCursor;

impl Cursor {
    /// The cursor behind `last_key`, which begins with `prefix`.
    pub fn new(prefix: &Prefix, last_key: impl Into<String>) -> Self {
        Self {
            prefix_bytes: prefix.as_str().len(),
            last_key: last_key.into(),
        }
    }

    pub fn prefix(&self) -> &str {
        &self.last_key[..self.prefix_bytes]
    }

    pub fn last_key(&self) -> &str {
        &self.last_key
    }

    pub fn encode(&self) -> String {
        // A prefix has at most 512 bytes.
        let length = (self.prefix_bytes as u16).to_be_bytes();
        let mut bytes = Vec::with_capacity(HEAD + self.last_key.len());
        bytes.push(FORM);
        bytes.extend(length);
        bytes.extend(checksum(length, &self.last_key));
        bytes.extend(self.last_key.as_bytes());
        BASE64.encode(bytes)
    }

    /// # Errors
    /// The text was not made by [`Cursor::encode`].
    pub fn decode(text: &str) -> Result<Self, InvalidCursor> {
        let bytes = BASE64.decode(text).map_err(|_| InvalidCursor)?;
        let (head, key) = bytes.split_at_checked(HEAD).ok_or(InvalidCursor)?;
        let last_key = str::from_utf8(key).map_err(|_| InvalidCursor)?;
        let length = [head[1], head[2]];
        let prefix_bytes = usize::from(u16::from_be_bytes(length));
        let intact = head[0] == FORM
            && head[3..] == checksum(length, last_key)
            && last_key.is_char_boundary(prefix_bytes)
            && !last_key.contains('\0');
        if !intact {
            return Err(InvalidCursor);
        }
        Ok(Self {
            prefix_bytes,
            last_key: last_key.to_owned(),
        })
    }
}

fn checksum(length: [u8; 2], last_key: &str) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(last_key.as_bytes());
    hasher.finalize().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_cursor_reads_back(prefix in "[^\0]{0,9}", rest in "[^\0]{0,90}") {
            let cursor = Cursor::new(&Prefix::new(prefix.clone()).unwrap(), prefix.clone() + &rest);
            prop_assert_eq!(cursor.prefix(), prefix);
            prop_assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
        }

        #[test]
        fn a_cursor_with_one_byte_changed_or_cut_is_refused(
            key in "[^\0]{1,30}",
            at in any::<prop::sample::Index>(),
            flip in 1..=255u8,
        ) {
            let coded = Cursor::new(&Prefix::default(), key).encode();
            let mut bytes = BASE64.decode(&coded).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert_eq!(Cursor::decode(&BASE64.encode(&bytes)), Err(InvalidCursor));
            let cut = at.min(coded.len() - 1);
            prop_assert_eq!(Cursor::decode(&coded[..cut]), Err(InvalidCursor));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = Cursor::decode(&text);
        }
    }
}
