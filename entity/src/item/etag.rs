//! The tag of an item.

use std::{fmt, str::FromStr};

use sea_orm::FromQueryResult;

/// `{id}-{version}`: names one state of one item. A key that was deleted and created again has
/// another id, so a tag from before never matches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromQueryResult)]
pub struct ETag {
    pub id: i64,
    pub version: i64,
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.id, self.version)
    }
}

/// The text is not the tag of any item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tag has the form ID-VERSION, such as 17-3")]
pub struct InvalidETag;

impl FromStr for ETag {
    type Err = InvalidETag;

    fn from_str(text: &str) -> Result<Self, InvalidETag> {
        let (id, version) = text.rsplit_once('-').ok_or(InvalidETag)?;
        let tag = Self {
            id: id.parse().map_err(|_| InvalidETag)?,
            version: version.parse().map_err(|_| InvalidETag)?,
        };
        // One state has one spelling: "017-3" and "+17-3" are not its tag.
        if tag.to_string() == text {
            Ok(tag)
        } else {
            Err(InvalidETag)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tag_has_one_spelling() {
        assert_eq!("17-3".parse(), Ok(ETag { id: 17, version: 3 }));
        // A table made by hand may have such ids.
        assert_eq!("-5-1".parse(), Ok(ETag { id: -5, version: 1 }));
        for other in [
            "", "-", "17", "17-", "-3", "017-3", "+17-3", "17-3 ", "17-3-1", "a-b",
        ] {
            assert_eq!(other.parse::<ETag>(), Err(InvalidETag), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn every_tag_reads_back(id in 1..=i64::MAX, version in 1..=i64::MAX) {
            let tag = ETag { id, version };
            prop_assert_eq!(tag.to_string().parse(), Ok(tag));
        }

        #[test]
        fn any_text_is_refused_or_reads_back(text in ".{0,24}") {
            if let Ok(tag) = text.parse::<ETag>() {
                prop_assert_eq!(tag.to_string(), text);
            }
        }
    }
}
