//! The conditions of a request on the state of an item (RFC 9110, section 13).

use crate::item::etag::ETag;

/// What a condition compares the current tag with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagMatch {
    /// `*`: any state of an item that exists.
    Any,
    /// One of these; an empty list matches nothing.
    Tags(Vec<ETag>),
}

impl TagMatch {
    fn matches(&self, current: ETag) -> bool {
        match self {
            Self::Any => true,
            Self::Tags(tags) => tags.contains(&current),
        }
    }
}

/// `If-Match` and `If-None-Match` of one request; both must hold. The default asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precondition {
    pub if_match: Option<TagMatch>,
    pub if_none_match: Option<TagMatch>,
}

impl Precondition {
    /// The item must be in this state.
    pub fn is_tag(tag: ETag) -> Self {
        Self {
            if_match: Some(TagMatch::Tags(vec![tag])),
            if_none_match: None,
        }
    }

    /// The key must not exist.
    pub fn absent() -> Self {
        Self {
            if_match: None,
            if_none_match: Some(TagMatch::Any),
        }
    }

    /// Whether the key must not exist, as `If-None-Match: *` asks.
    pub fn wants_absent(&self) -> bool {
        self.if_match.is_none() && self.if_none_match == Some(TagMatch::Any)
    }

    /// Whether both conditions hold for an item in this state.
    pub fn holds(&self, current: ETag) -> bool {
        self.if_match_holds(current) && self.if_none_match_holds(current)
    }

    pub fn if_match_holds(&self, current: ETag) -> bool {
        self.if_match.as_ref().is_none_or(|m| m.matches(current))
    }

    pub fn if_none_match_holds(&self, current: ETag) -> bool {
        !self
            .if_none_match
            .as_ref()
            .is_some_and(|m| m.matches(current))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: ETag = ETag { id: 1, version: 1 };
    const NOW: ETag = ETag { id: 1, version: 2 };

    #[test]
    fn a_precondition_holds_when_both_parts_do() {
        let tags = |tags: &[ETag]| Some(TagMatch::Tags(tags.to_vec()));
        let any = Some(TagMatch::Any);
        let cases = [
            (None, None, true),
            (any.clone(), None, true),
            (tags(&[OLD, NOW]), None, true),
            (tags(&[OLD]), None, false),
            (tags(&[]), None, false),
            (None, any.clone(), false),
            (None, tags(&[NOW]), false),
            (None, tags(&[OLD]), true),
            (None, tags(&[]), true),
            (tags(&[NOW]), tags(&[OLD]), true),
            (tags(&[NOW]), tags(&[NOW]), false),
            (any, tags(&[OLD]), true),
        ];
        for (if_match, if_none_match, expected) in cases {
            let precondition = Precondition {
                if_match,
                if_none_match,
            };
            assert_eq!(precondition.holds(NOW), expected, "{precondition:?}");
        }
    }
}
