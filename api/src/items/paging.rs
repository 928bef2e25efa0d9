//! Pages of a list: where one begins, what it says, and the links to its neighbours.

use entity::{
    Prefix,
    read::{Cursor, Listing, Start},
};
use percent_encoding::utf8_percent_encode;

use super::parameters::{Count, PageNumber, Walk};
use crate::http::{Problem, UNRESERVED_ONLY};

/// How a client goes through a list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Paging {
    /// By the number of the page, from 1.
    Page(u64),
    /// By cursor; from the beginning if there is none.
    Walk(Option<Cursor>),
}

impl Paging {
    /// # Errors
    /// Both ways at once, or a cursor of another prefix.
    pub fn new(
        page: Option<PageNumber>,
        walk: Option<Walk>,
        prefix: &Prefix,
    ) -> Result<Self, Problem> {
        match (page, walk) {
            (Some(_), Some(_)) => Err(Problem::invalid("page and cursor exclude each other.")),
            (page, None) => Ok(Self::Page(page.map_or(1, |page| page.0))),
            (None, Some(Walk::Begin)) => Ok(Self::Walk(None)),
            (None, Some(Walk::From(cursor))) if cursor.prefix() == prefix.as_str() => {
                Ok(Self::Walk(Some(cursor)))
            }
            (None, Some(Walk::From(_))) => {
                Err(Problem::invalid("The cursor belongs to another prefix."))
            }
        }
    }

    /// Whether all items are counted.
    pub(super) fn counts(&self, count: Option<Count>) -> bool {
        match count {
            Some(count) => count == Count::Exact,
            None => matches!(self, Self::Page(_)),
        }
    }

    /// Where a page of `size` items begins.
    pub fn start(&self, size: u64) -> Start {
        match self {
            Self::Page(page) => Start::Offset((page - 1).saturating_mul(size)),
            Self::Walk(cursor) => {
                Start::After(cursor.as_ref().map(|cursor| cursor.last_key().to_owned()))
            }
        }
    }
}

/// What makes two pages the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PageRequest {
    pub listing: Listing,
    pub paging: Paging,
    /// With the total of all items.
    pub counts: bool,
}

/// The header field `Link` (RFC 8288), with relative targets.
///
/// `total` and `next` are those of the page.
pub(super) fn link(
    PageRequest {
        listing, paging, ..
    }: &PageRequest,
    count: Option<Count>,
    total: Option<u64>,
    next: Option<&Cursor>,
) -> String {
    let target = |name: &str, value: &str, rel: &str| {
        let query = query(listing, count, name, value);
        format!("</items/?{query}>; rel=\"{rel}\"")
    };
    let links: Vec<String> = match paging {
        Paging::Walk(_) => {
            let next = next.map(Cursor::encode);
            std::iter::once(target("cursor", "", "first"))
                .chain(next.map(|cursor| target("cursor", &cursor, "next")))
                .collect()
        }
        Paging::Page(number) => {
            let last = total.map(|total| total.div_ceil(listing.limit));
            let previous = last.map_or(number - 1, |last| last.min(number - 1));
            let next = next.map(|_| number + 1);
            [
                (Some(1), "first"),
                (Some(previous).filter(|page| *page > 0), "prev"),
                (next, "next"),
                (last.filter(|page| *page > 0), "last"),
            ]
            .into_iter()
            .filter_map(|(page, rel)| Some(target("page", &page?.to_string(), rel)))
            .collect()
        }
    };
    links.join(", ")
}

/// The query of a neighbour: everything this request asked for, at another place.
fn query(listing: &Listing, count: Option<Count>, name: &str, value: &str) -> String {
    let encoded = |text| utf8_percent_encode(text, UNRESERVED_ONLY);
    let mut query = format!("{name}={}&page_size={}", encoded(value), listing.limit);
    if !listing.prefix.as_str().is_empty() {
        query += &format!("&prefix={}", encoded(listing.prefix.as_str()));
    }
    if listing.keys_only {
        query += "&keys_only=true";
    }
    query += match count {
        Some(Count::Exact) => "&count=exact",
        Some(Count::None) => "&count=none",
        None => "",
    };
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(number: u64, total: Option<u64>, more: bool) -> String {
        let listing = Listing {
            prefix: Prefix::new("a&b").unwrap(),
            start: Start::Offset(0),
            limit: 10,
            keys_only: true,
        };
        let next = more.then(|| Cursor::new(&listing.prefix, "a&b1"));
        let paging = Paging::Page(number);
        let request = PageRequest {
            listing,
            paging,
            counts: total.is_some(),
        };
        link(&request, None, total, next.as_ref())
    }

    #[test]
    fn neighbours_that_are_not_there_have_no_link() {
        let rels = |text: String| {
            let parts = text.split("rel=\"").skip(1);
            parts
                .map(|part| part.split('"').next().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(rels(links(1, Some(0), false)), ["first"]);
        assert_eq!(rels(links(1, Some(25), true)), ["first", "next", "last"]);
        assert_eq!(rels(links(3, Some(25), false)), ["first", "prev", "last"]);
        assert_eq!(rels(links(9, None, false)), ["first", "prev"]);
        assert!(
            links(9, Some(25), false)
                .contains("page=3&page_size=10&prefix=a%26b&keys_only=true>; rel=\"prev\"")
        );
    }

    #[test]
    fn a_page_far_beyond_any_table_has_a_place() {
        let Start::Offset(offset) = Paging::Page(i64::MAX as u64).start(100) else {
            unreachable!("a page has an offset");
        };
        assert_eq!(offset, u64::MAX);
    }
}
