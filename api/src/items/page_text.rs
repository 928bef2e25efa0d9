//! A page as JSON.

use bytes::Bytes;
use entity::read::{Cursor, ListedItem, Page, Start};

use super::{answers::PageBody, paging::PageRequest};
use crate::{
    http::{Reservation, json_about, json_length, json_of_length, json_within},
    store::Counted,
};

/// What an item usually takes as text beside key and value, and what the page does beside its items.
const USUAL_BESIDE_VALUE: usize = 256;

/// A page as it is sent, and what its links depend on.
#[derive(Clone, Debug)]
pub(super) struct PageText {
    /// JSON of a [`PageBody`].
    pub text: Bytes,
    pub total: Option<u64>,
    /// The total is no more than what the page proves, and more than was counted: it may never have been true.
    pub outdated: bool,
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
    pub(super) fn small(
        page: Page,
        counted: Option<Counted>,
        request: &PageRequest,
    ) -> (Self, PageNeed) {
        let (size, next) = (PageBytes::of(&page), page.next.clone());
        let (total, outdated) = total(&page, counted, &request.listing.start);
        let body = PageBody::new(page, total, &request.paging, request.listing.limit);
        let text = json_about(&body, size.usual_text);
        let need = PageNeed::with_text(&size, text.len());
        let text = Self {
            text: text.into(),
            total,
            outdated,
            next,
        };
        (text, need)
    }

    /// The text of a page in the memory that was reserved for it. Measured first only where it is longer
    /// than usual: values may be escaped, byte for byte, or larger than kvd takes them now.
    ///
    /// # Errors
    /// What it needs, if that is more and others have it.
    pub(super) fn large(
        page: Page,
        counted: Option<Counted>,
        request: &PageRequest,
        reserved: Reservation,
    ) -> Result<Self, PageNeed> {
        let (size, next) = (PageBytes::of(&page), page.next.clone());
        let (total, outdated) = total(&page, counted, &request.listing.start);
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
        Ok(Self {
            text,
            total,
            outdated,
            next,
        })
    }
}

/// The total of a page that was read after the count, and whether it is outdated; see [`PageText::outdated`].
fn total(page: &Page, counted: Option<Counted>, start: &Start) -> (Option<u64>, bool) {
    let Some(Counted { items: counted, .. }) = counted else {
        return (None, false);
    };
    let before = match start {
        Start::Offset(offset) if *offset == 0 || !page.items.is_empty() => Some(*offset),
        Start::After(None) => Some(0),
        Start::Offset(_) | Start::After(Some(_)) => None,
    };
    let until_end = before.unwrap_or_default() + page.items.len() as u64;
    if before.is_some() && page.next.is_none() {
        return (Some(until_end), false);
    }
    let proven = until_end + u64::from(page.next.is_some());
    (Some(counted.max(proven)), proven > counted)
}

#[cfg(test)]
mod tests {
    use entity::{ETag, Prefix};
    use sea_orm::prelude::DateTimeUtc;
    use tokio::time::Instant;

    use super::*;

    /// Makes a page of so many items; `more` says whether a next page follows.
    fn page(items: usize, more: bool) -> Page {
        let item = ListedItem {
            key: "k".to_owned(),
            value: None,
            etag: ETag { id: 1, version: 1 },
            created_at: DateTimeUtc::UNIX_EPOCH.into(),
            updated_at: DateTimeUtc::UNIX_EPOCH.into(),
            expires_at: None,
        };
        Page {
            items: vec![item; items],
            next: more.then(|| Cursor::new(&Prefix::default(), "k")),
            left_out: None,
        }
    }

    #[test]
    fn a_total_is_what_the_page_proves_and_else_what_was_counted() {
        let counted = Some(Counted {
            items: 10,
            begun: Instant::now(),
        });
        let after = || Start::After(Some("a".to_owned()));
        for (start, items, more, expected) in [
            (Start::Offset(0), 3, false, (3, false)),
            (Start::Offset(0), 3, true, (10, false)),
            (Start::Offset(0), 10, true, (11, true)),
            (Start::Offset(0), 0, false, (0, false)),
            (Start::Offset(20), 3, false, (23, false)),
            (Start::Offset(20), 3, true, (24, true)),
            (Start::Offset(20), 0, false, (10, false)),
            (Start::After(None), 3, false, (3, false)),
            (Start::After(None), 10, true, (11, true)),
            (after(), 3, false, (10, false)),
            (after(), 12, false, (12, true)),
            (after(), 12, true, (13, true)),
        ] {
            let (told, outdated) = total(&page(items, more), counted, &start);
            assert_eq!(
                (told, outdated),
                (Some(expected.0), expected.1),
                "{start:?} {items}"
            );
            assert_eq!(total(&page(items, more), None, &start), (None, false));
        }
    }
}
