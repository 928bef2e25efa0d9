//! A page as JSON.

use bytes::Bytes;
use entity::read::{Cursor, ListedItem, Page, Start};

use super::{answers::PageBody, paging::PageRequest};
use crate::http::{Reservation, json_length, json_of_length, json_within};

/// What an item usually takes as text beside key and value, and what the page does beside its items.
const USUAL_BESIDE_VALUE: usize = 256;

/// A page as it is sent, and what its links depend on.
#[derive(Clone, Debug)]
pub(super) struct PageText {
    /// JSON of a [`PageBody`].
    pub text: Bytes,
    /// As [`PageRequest::total`], but never less than what the page proves.
    pub total: Option<u64>,
    pub next: Option<Cursor>,
}

/// What has to be known and reserved before a large page can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageNeed {
    /// The memory for the rows beside the values that are read from them, and then for these beside the text.
    pub memory: usize,
    pub largest_value: usize,
}

/// How many bytes a page has.
struct PageBytes {
    values: usize,
    largest_value: usize,
    /// The length of the text, if nothing in it is escaped.
    usual_text: usize,
}

impl PageBytes {
    fn of(page: &Page) -> Self {
        let value = |item: &ListedItem| item.value.as_ref().map_or(0, String::len);
        let keys: usize = page.items.iter().map(|item| item.key.len()).sum();
        let (values, largest_value) = match page.left_out {
            Some(left_out) => (left_out.all, left_out.largest),
            None => (
                page.items.iter().map(value).sum(),
                page.items.iter().map(value).max().unwrap_or_default(),
            ),
        };
        Self {
            values,
            largest_value,
            usual_text: values + keys + USUAL_BESIDE_VALUE * (page.items.len() + 1),
        }
    }
}

impl PageNeed {
    /// What a page needs of which some values stayed in the database.
    pub(super) fn of(page: &Page) -> Self {
        let size = PageBytes::of(page);
        Self::with_text(&size, size.usual_text)
    }

    fn with_text(size: &PageBytes, text: usize) -> Self {
        Self {
            memory: size.values + text,
            largest_value: size.largest_value,
        }
    }
}

impl PageText {
    /// The text of a small page, and what it would need if it was read again.
    pub(super) fn small(page: Page, request: &PageRequest) -> (Self, PageNeed) {
        let (size, next) = (PageBytes::of(&page), page.next.clone());
        let total = proven_total(&page, request);
        let body = PageBody::new(page, total, &request.paging, request.listing.limit);
        let text = json_within(&body, size.usual_text)
            .unwrap_or_else(|| json_of_length(&body, json_length(&body)));
        let need = PageNeed::with_text(&size, text.len());
        let text = text.into();
        (Self { text, total, next }, need)
    }

    /// The text of a page in the memory that was reserved for it. Measured first only where it is longer
    /// than usual: values may be escaped, byte for byte, or larger than kvd takes them now.
    ///
    /// # Errors
    /// What it needs, if that is more and others have it.
    pub(super) fn large(
        page: Page,
        request: &PageRequest,
        reserved: Reservation,
    ) -> Result<Self, PageNeed> {
        let (size, next) = (PageBytes::of(&page), page.next.clone());
        let total = proven_total(&page, request);
        let body = PageBody::new(page, total, &request.paging, request.listing.limit);
        let enlarged = |reserved: Reservation, text| {
            let need = PageNeed::with_text(&size, text);
            reserved.try_grow(need.memory).map_err(|_| need)
        };
        let reserved = enlarged(reserved, size.usual_text)?;
        let (reserved, text) = match json_within(&body, size.usual_text) {
            Some(text) => (reserved, text),
            None => {
                let length = json_length(&body);
                let reserved = enlarged(reserved, length)?;
                (reserved, json_of_length(&body, length))
            }
        };
        let text = reserved.hold(text);
        Ok(Self { text, total, next })
    }
}

/// The total that was counted before the page was read, unless the page proves another one, or more.
fn proven_total(page: &Page, request: &PageRequest) -> Option<u64> {
    let before = match &request.listing.start {
        Start::Offset(offset) if *offset == 0 || !page.items.is_empty() => Some(*offset),
        Start::After(None) => Some(0),
        Start::Offset(_) | Start::After(Some(_)) => None,
    };
    let until_end = before.unwrap_or_default() + page.items.len() as u64;
    let counted = request.total?;
    Some(match (before, &page.next) {
        (Some(_), None) => until_end,
        (None, None) => counted.max(until_end),
        (_, Some(_)) => counted.max(until_end + 1),
    })
}

#[cfg(test)]
mod tests {
    use entity::{ETag, Prefix, read::Listing};
    use sea_orm::prelude::DateTimeUtc;

    use super::{super::paging::Paging, *};

    /// The total of a page of so many items, for which 10 were counted.
    fn total(start: Start, items: usize, more: bool) -> Option<u64> {
        let prefix = Prefix::new("").unwrap();
        let item = ListedItem {
            key: "k".to_owned(),
            value: None,
            etag: ETag { id: 1, version: 1 },
            created_at: DateTimeUtc::UNIX_EPOCH.into(),
            updated_at: DateTimeUtc::UNIX_EPOCH.into(),
        };
        let page = Page {
            items: vec![item; items],
            next: more.then(|| Cursor::new(&prefix, "k")),
            left_out: None,
        };
        let listing = Listing {
            prefix,
            start,
            limit: 100,
            keys_only: true,
        };
        let request = PageRequest {
            listing,
            paging: Paging::Page(1),
            total: Some(10),
        };
        proven_total(&page, &request)
    }

    #[test]
    fn a_total_is_what_the_page_proves_and_else_what_was_counted() {
        let after = || Start::After(Some("a".to_owned()));
        for (start, items, more, expected) in [
            (Start::Offset(0), 3, false, 3),
            (Start::Offset(0), 3, true, 10),
            (Start::Offset(0), 10, true, 11),
            (Start::Offset(0), 0, false, 0),
            (Start::Offset(20), 3, false, 23),
            (Start::Offset(20), 3, true, 24),
            (Start::Offset(20), 0, false, 10),
            (Start::After(None), 3, false, 3),
            (Start::After(None), 10, true, 11),
            (after(), 3, false, 10),
            (after(), 12, false, 12),
            (after(), 12, true, 13),
        ] {
            assert_eq!(total(start, items, more), Some(expected));
        }
    }
}
