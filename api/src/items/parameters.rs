//! The parameters of the item operations: how each is read, and what the document says about it.

use entity::{Key, Prefix, TagMatch, read::Cursor};
use poem::{Request, http::HeaderName};
use poem_openapi::registry::{MetaParamIn, MetaSchema};

use crate::http::{
    Code, Comparison, EntityTags, Parameter, Problem, Query, entity_tags, integer, path_key,
    sentence,
};

fn query<'a>(name: &str, request: &'a Request) -> Option<&'a str> {
    request.data::<Query>().and_then(|query| query.get(name))
}

/// The rule of keys as a schema; that a key has at most 512 *bytes* no schema can say.
pub(crate) fn key_schema() -> MetaSchema {
    MetaSchema {
        min_length: Some(1),
        max_length: Some(512),
        pattern: Some(r"^(?!\.{1,2}$)[^\u0000-\u001f\u007f]+$".to_owned()),
        example: Some("greeting".into()),
        ..MetaSchema::new("string")
    }
}

impl Parameter for Key {
    const IN: MetaParamIn = MetaParamIn::Path;
    const REQUIRED: bool = true;

    fn schema() -> MetaSchema {
        key_schema()
    }

    fn extract(_name: &'static str, request: &Request) -> Result<Self, Problem> {
        path_key(request)
    }
}

impl Parameter for Prefix {
    const IN: MetaParamIn = MetaParamIn::Query;

    fn schema() -> MetaSchema {
        MetaSchema {
            max_length: Some(512),
            pattern: Some(r"^[^\u0000]*$".to_owned()),
            ..MetaSchema::new("string")
        }
    }

    fn extract(name: &'static str, request: &Request) -> Result<Self, Problem> {
        let text = query(name, request).unwrap_or_default();
        Self::new(text).map_err(|error| Problem::invalid(sentence(error)))
    }
}

/// The number of a page, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageNumber(pub u64);

impl Parameter for Option<PageNumber> {
    const IN: MetaParamIn = MetaParamIn::Query;

    fn schema() -> MetaSchema {
        MetaSchema {
            minimum: Some(1.0),
            ..MetaSchema::new_with_format("integer", "int64")
        }
    }

    fn extract(name: &'static str, request: &Request) -> Result<Self, Problem> {
        let number = |text| integer(text).filter(|page| (1..=i64::MAX as u64).contains(page));
        match query(name, request).map(number) {
            None => Ok(None),
            Some(Some(page)) => Ok(Some(PageNumber(page))),
            Some(None) => Err(Problem::invalid("page is a whole number from 1.")),
        }
    }
}

/// How many items a page has at most: 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageSize(pub u64);

impl PageSize {
    const DEFAULT: u64 = 10;
    const MAX: u64 = 100;
}

impl Parameter for PageSize {
    const IN: MetaParamIn = MetaParamIn::Query;

    fn schema() -> MetaSchema {
        MetaSchema {
            minimum: Some(1.0),
            maximum: Some(Self::MAX as f64),
            default: Some(Self::DEFAULT.into()),
            ..MetaSchema::new_with_format("integer", "int32")
        }
    }

    fn extract(name: &'static str, request: &Request) -> Result<Self, Problem> {
        let size = query(name, request).map_or(Some(Self::DEFAULT), integer);
        match size.filter(|size| (1..=Self::MAX).contains(size)) {
            Some(size) => Ok(Self(size)),
            None => Err(Problem::invalid(format!(
                "page_size is a whole number from 1 to {}.",
                Self::MAX
            ))),
        }
    }
}

impl Parameter for bool {
    const IN: MetaParamIn = MetaParamIn::Query;

    fn schema() -> MetaSchema {
        MetaSchema {
            default: Some(false.into()),
            ..MetaSchema::new("boolean")
        }
    }

    fn extract(name: &'static str, request: &Request) -> Result<Self, Problem> {
        match query(name, request) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::invalid(format!("{name} is true or false."))),
        }
    }
}

/// Whether to count the items of the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    Exact,
    None,
}

impl Parameter for Option<Count> {
    const IN: MetaParamIn = MetaParamIn::Query;

    fn schema() -> MetaSchema {
        MetaSchema {
            enum_items: vec!["exact".into(), "none".into()],
            ..MetaSchema::new("string")
        }
    }

    fn extract(name: &'static str, request: &Request) -> Result<Self, Problem> {
        match query(name, request) {
            None => Ok(None),
            Some("exact") => Ok(Some(Count::Exact)),
            Some("none") => Ok(Some(Count::None)),
            Some(_) => Err(Problem::invalid("count is exact or none.")),
        }
    }
}

/// A walk through the keys: from its beginning, or on from a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Walk {
    Begin,
    From(Cursor),
}

impl Parameter for Option<Walk> {
    const IN: MetaParamIn = MetaParamIn::Query;

    fn schema() -> MetaSchema {
        MetaSchema::new("string")
    }

    fn extract(name: &'static str, request: &Request) -> Result<Self, Problem> {
        match query(name, request) {
            None => Ok(None),
            Some("") => Ok(Some(Walk::Begin)),
            Some(text) => Cursor::decode(text)
                .map(|cursor| Some(Walk::From(cursor)))
                .map_err(|error| Problem::invalid(sentence(error))),
        }
    }
}

/// The header `If-Match`.
pub(super) struct IfMatch(pub Option<TagMatch>);

/// The header `If-None-Match`.
pub(super) struct IfNoneMatch(pub Option<TagMatch>);

/// `*`, or entity tags by comma. Like all optional parameters without an example: an explorer would
/// fill it in, and the first request tried would be refused.
fn tags_schema() -> MetaSchema {
    const TAG: &str = r#"(W/)?"[\x21\x23-\x7e]*""#;
    MetaSchema {
        min_length: Some(1),
        pattern: Some(format!(r"^(\*|{TAG}( *, *{TAG})*)$")),
        ..MetaSchema::new("string")
    }
}

fn tags(
    name: &'static str,
    request: &Request,
    comparison: Comparison,
) -> Result<Option<TagMatch>, Problem> {
    let name = HeaderName::from_bytes(name.as_bytes()).expect("a constant of this program");
    let EntityTags(tags) = entity_tags(request.headers().get_all(&name), comparison)
        .map_err(|error| Problem::new(Code::InvalidRequest, format!("{name}: {error}.")))?;
    Ok(tags)
}

impl Parameter for IfMatch {
    const IN: MetaParamIn = MetaParamIn::Header;

    fn schema() -> MetaSchema {
        tags_schema()
    }

    fn extract(name: &'static str, request: &Request) -> Result<Self, Problem> {
        tags(name, request, Comparison::Strong).map(Self)
    }
}

impl Parameter for IfNoneMatch {
    const IN: MetaParamIn = MetaParamIn::Header;

    fn schema() -> MetaSchema {
        tags_schema()
    }

    fn extract(name: &'static str, request: &Request) -> Result<Self, Problem> {
        tags(name, request, Comparison::Weak).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(text: &str) -> Request {
        let mut request = Request::builder().finish();
        request.set_data(Query::parse(text, |_| true).unwrap());
        request
    }

    proptest! {
        #[test]
        fn pages_are_never_clamped(page in any::<u64>(), size in 0..300u64) {
            let request = asked(&format!("page={page}&page_size={size}"));
            let page_taken = Option::<PageNumber>::extract("page", &request).ok().flatten();
            let page_fits = (1..=i64::MAX as u64).contains(&page);
            prop_assert_eq!(page_taken, page_fits.then_some(PageNumber(page)));
            let size_taken = PageSize::extract("page_size", &request).ok();
            prop_assert_eq!(size_taken, (1..=100).contains(&size).then_some(PageSize(size)));
        }
    }
}
