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
    pub total: Option<u64>,
    pub next: Option<Cursor>,
}

/// What has to be known and reserved before a large page can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageNeed {
    /// The memory for the rows beside the values that are read from them, and then for these beside the text.
    pub memory: usize,
    pub largest_value: usize,
    /// The total, which need not be counted again.
    pub total: Option<u64>,
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
        Self::with_text(&size, size.usual_text, page.total)
    }

    fn with_text(size: &PageBytes, text: usize, total: Option<u64>) -> Self {
        Self {
            memory: size.values + text,
            largest_value: size.largest_value,
            total,
        }
    }
}

impl PageText {
    /// The text of a small page, and what it would need if it was read again.
    pub(super) fn small(page: Page, request: &PageRequest) -> (Self, PageNeed) {
        let (size, total, next) = (PageBytes::of(&page), page.total, page.next.clone());
        let body = PageBody::new(page, &request.paging, request.listing.limit);
        let text = json_within(&body, size.usual_text)
            .unwrap_or_else(|| json_of_length(&body, json_length(&body)));
        let need = PageNeed::with_text(&size, text.len(), total);
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
        let (size, total, next) = (PageBytes::of(&page), page.total, page.next.clone());
        let body = PageBody::new(page, &request.paging, request.listing.limit);
        let enlarged = |reserved: Reservation, text| {
            let need = PageNeed::with_text(&size, text, total);
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

/// The total of a page that was counted before it was read: never less than what the page proves.
pub(super) fn proven_total(page: &Page, start: &Start, counted: Option<u64>) -> Option<u64> {
    let before = match start {
        Start::Offset(offset) if !page.items.is_empty() => *offset,
        Start::Offset(_) | Start::After(_) => 0,
    };
    let proven = before + page.items.len() as u64 + u64::from(page.next.is_some());
    counted.map(|counted| counted.max(proven))
}
