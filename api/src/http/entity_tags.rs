//! The header fields `If-Match` and `If-None-Match` (RFC 9110, sections 8.8.3 and 13.1).

use entity::{ETag, TagMatch};
use poem::http::HeaderValue;

/// The tags of a header field; `None` if the request does not have it.
#[derive(Debug, PartialEq, Eq)]
pub struct EntityTags(pub Option<TagMatch>);

/// How tags are compared (RFC 9110, section 8.8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// A weak tag matches nothing, nor does one that a proxy has renamed: for `If-Match`.
    Strong,
    /// A weak tag matches as if it were strong, and a renamed one as if it were ours: for
    /// `If-None-Match`, because a proxy that compresses an answer makes its tag weak or renames it.
    Weak,
}

/// What Apache appends to the tag of an answer that it compresses (`DeflateAlterETag` and
/// `BrotliAlterETag`), since another content coding is another representation (RFC 9110, section
/// 8.8.3.3). None of our tags ends so.
const CODING_SUFFIXES: [&str; 2] = ["-gzip", "-br"];

/// The field is neither `*` nor a list of entity tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected * or a list of entity tags, such as \"17-3\", \"18-1\"")]
pub struct InvalidEntityTags;

/// Reads the lines of a field as one list.
///
/// A tag that is not of the form of ours is well-formed all the same, and matches nothing.
pub fn entity_tags<'a>(
    lines: impl IntoIterator<Item = &'a HeaderValue>,
    comparison: Comparison,
) -> Result<EntityTags, InvalidEntityTags> {
    let lines: Vec<_> = lines.into_iter().map(HeaderValue::as_bytes).collect();
    if lines.is_empty() {
        return Ok(EntityTags(None));
    }
    let field = lines.join(&b", "[..]);
    if field.trim_ascii() == b"*" {
        return Ok(EntityTags(Some(TagMatch::Any)));
    }
    list(&field, comparison).map(|tags| EntityTags(Some(TagMatch::Tags(tags))))
}

/// `#entity-tag`: elements by comma, of which empty ones do not count, but one must be there.
fn list(mut rest: &[u8], comparison: Comparison) -> Result<Vec<ETag>, InvalidEntityTags> {
    let mut tags = Vec::new();
    let mut elements = 0;
    loop {
        rest = rest.trim_ascii_start();
        match rest.first() {
            None if elements > 0 => return Ok(tags),
            None => return Err(InvalidEntityTags),
            Some(b',') => rest = &rest[1..],
            Some(_) => {
                let (tag, after) = entity_tag(rest, comparison).ok_or(InvalidEntityTags)?;
                tags.extend(tag);
                elements += 1;
                rest = after.trim_ascii_start();
                if !rest.is_empty() && rest[0] != b',' {
                    return Err(InvalidEntityTags);
                }
            }
        }
    }
}

/// One entity tag, if it can match one of ours, and what stands behind it.
fn entity_tag(text: &[u8], comparison: Comparison) -> Option<(Option<ETag>, &[u8])> {
    let (weak, text) = match text.strip_prefix(b"W/") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let text = text.strip_prefix(b"\"")?;
    let end = text.iter().position(|byte| *byte == b'"')?;
    let (opaque, after) = (&text[..end], &text[end + 1..]);
    // etagc: any visible character but the quote, and obs-text.
    if !opaque
        .iter()
        .all(|byte| matches!(byte, 0x21..=0x7e | 0x80..))
    {
        return None;
    }
    let ours = str::from_utf8(opaque)
        .ok()
        .and_then(|tag| match comparison {
            Comparison::Strong if weak => None,
            Comparison::Strong => tag.parse().ok(),
            Comparison::Weak => without_coding(tag).parse().ok(),
        });
    Some((ours, after))
}

fn without_coding(tag: &str) -> &str {
    let mut suffixes = CODING_SUFFIXES.iter();
    suffixes
        .find_map(|suffix| tag.strip_suffix(suffix))
        .unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&str]) -> Result<Option<TagMatch>, InvalidEntityTags> {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| HeaderValue::from_bytes(line.as_bytes()).unwrap())
            .collect();
        entity_tags(&lines, Comparison::Strong).map(|EntityTags(tags)| tags)
    }

    fn tags(tags: &[(i64, i64)]) -> Result<Option<TagMatch>, InvalidEntityTags> {
        let tags = tags.iter().map(|&(id, version)| ETag { id, version });
        Ok(Some(TagMatch::Tags(tags.collect())))
    }

    #[test]
    fn lists_stars_and_lines() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["*"]), Ok(Some(TagMatch::Any)));
        assert_eq!(read(&[" * "]), Ok(Some(TagMatch::Any)));
        assert_eq!(read(&["\"1-2\""]), tags(&[(1, 2)]));
        assert_eq!(read(&["\"1-2\" ,, \"3-4\","]), tags(&[(1, 2), (3, 4)]));
        assert_eq!(read(&["\"1-2\"", "\"3-4\""]), tags(&[(1, 2), (3, 4)]));
        assert_eq!(read(&["\"a,b\", \"1-2\""]), tags(&[(1, 2)]));
        assert_eq!(read(&["W/\"1-2\""]), tags(&[]));
        assert_eq!(read(&["\"\""]), tags(&[]));
        assert_eq!(read(&["\"é\""]), tags(&[]));
    }

    #[test]
    fn a_weak_tag_matches_only_where_the_comparison_is_weak() {
        let line = HeaderValue::from_static("W/\"1-2\"");
        let EntityTags(weak) = entity_tags([&line], Comparison::Weak).unwrap();
        assert_eq!(Ok(weak), tags(&[(1, 2)]));
        assert_eq!(read(&["W/\"1-2\""]), tags(&[]));
    }

    #[test]
    fn a_tag_renamed_for_its_coding_matches_only_where_the_comparison_is_weak() {
        for tag in ["\"1-2-gzip\"", "W/\"1-2-gzip\"", "\"1-2-br\""] {
            let line = HeaderValue::from_static(tag);
            let EntityTags(weak) = entity_tags([&line], Comparison::Weak).unwrap();
            assert_eq!(Ok(weak), tags(&[(1, 2)]), "{tag}");
            assert_eq!(read(&[tag]), tags(&[]), "{tag}");
        }
        for tag in [
            "\"1-2-gzip-br\"",
            "\"1-2gzip\"",
            "\"-gzip\"",
            "\"1-2-GZIP\"",
            "\"1-2-\"",
        ] {
            let line = HeaderValue::from_static(tag);
            let EntityTags(weak) = entity_tags([&line], Comparison::Weak).unwrap();
            assert_eq!(Ok(weak), tags(&[]), "{tag}");
        }
    }

    #[test]
    fn anything_else_is_malformed() {
        for line in [
            "",
            " ",
            ",",
            "1-2",
            "\"1-2",
            "1-2\"",
            "\"1-2\" \"3-4\"",
            "\"1-2\"x",
            "w/\"1-2\"",
            "\"a b\"",
            "*, \"1-2\"",
            "\"1-2\", *",
            "W/",
            "W/*",
            "'1-2'",
        ] {
            assert_eq!(read(&[line]), Err(InvalidEntityTags), "{line:?}");
        }
        assert_eq!(read(&["*", "*"]), Err(InvalidEntityTags));
    }

    proptest! {
        #[test]
        fn every_list_of_tags_reads_back(list in prop::collection::vec((1..=i64::MAX, 1..=i64::MAX), 1..5)) {
            let line: Vec<_> = list.iter().map(|(id, version)| format!("\"{id}-{version}\"")).collect();
            prop_assert_eq!(read(&[&line.join(",")]), tags(&list));
        }

        #[test]
        fn no_field_makes_it_panic(line in "[\\x20-\\x7e]{0,40}") {
            let _ = read(&[&line]);
        }
    }
}
