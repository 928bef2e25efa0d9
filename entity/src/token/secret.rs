//! The text of a token.

use std::fmt;

use sha2::{Digest, Sha256};

pub(super) const MARK: &str = "kvd_";
const RANDOM: usize = 30;
const CHECK: usize = 6;

const BASE_62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A token as its client sends it: `kvd_`, 30 random characters of base62 (178 bits), and their CRC-32 as six more.
/// By mark and checksum scanners find leaked ones, and a mistyped one is known without asking anybody.
///
/// It is shown to nobody but who made it: [`fmt::Debug`] leaves it out.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut random = String::with_capacity(RANDOM);
        while random.len() < RANDOM {
            let mut bytes = [0; RANDOM];
            getrandom::fill(&mut bytes)?;
            // 248 is four times 62: above it some characters would be likelier than others.
            let fair = bytes.iter().filter(|byte| **byte < 248);
            let characters = fair.map(|byte| char::from(BASE_62[usize::from(byte % 62)]));
            random.extend(characters.take(RANDOM - random.len()));
        }
        let check = checksum(&random);
        Ok(Self(format!("{MARK}{random}{check}")))
    }

    /// `None` if the text cannot be a token.
    pub fn parse(text: &str) -> Option<Self> {
        let (random, check) = text.strip_prefix(MARK)?.split_at_checked(RANDOM)?;
        let is_sound = random.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (is_sound && checksum(random) == check).then(|| Self(text.to_owned()))
    }

    /// The token itself, to be handed to its owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored of it. Fast to compute: a token is random, so that nobody can try them all.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// In base62, the most significant digit first.
fn checksum(random: &str) -> String {
    let mut rest = crc32fast::hash(random.as_bytes());
    let mut digits = [b'0'; CHECK];
    for digit in digits.iter_mut().rev() {
        *digit = BASE_62[(rest % 62) as usize];
        rest /= 62;
    }
    digits.map(char::from).iter().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_is_generated_is_a_token_and_never_the_same() {
        let all: HashSet<String> = (0..1000)
            .map(|_| Secret::generate().unwrap().0)
            .inspect(|text| assert!(text.len() == 40 && Secret::parse(text).is_some(), "{text}"))
            .collect();
        assert_eq!(all.len(), 1000);
    }

    #[test]
    fn a_typo_is_no_token() {
        let token = Secret::generate().unwrap().0;
        for place in 0..token.len() {
            let mut typo = token.clone().into_bytes();
            typo[place] = if typo[place] == b'x' { b'y' } else { b'x' };
            assert_eq!(Secret::parse(&String::from_utf8(typo).unwrap()), None);
        }
        for other in [
            "",
            "kvd_",
            &token[..39],
            &format!("{token}0"),
            &token[4..],
            &format!("kvd_{}", "é".repeat(18)),
        ] {
            assert_eq!(Secret::parse(other), None, "{other}");
        }
    }

    #[test]
    fn the_form_never_changes() {
        let text = format!("kvd_{}{}", "0".repeat(30), checksum(&"0".repeat(30)));
        assert_eq!(text, "kvd_0000000000000000000000000000002C8GjS");
        assert!(Secret::parse(&text).is_some());
        assert_eq!(format!("{:?}", Secret(text)), "Secret");
    }
}
