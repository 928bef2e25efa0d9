//! A page as JSON, in memory that was reserved for it.

use std::io;

use bytes::Bytes;
use entity::read::{Cursor, ListedItem, Page};

use super::{answers::PageBody, page_memory::Reservation, paging::PageRequest};

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

/// Why a page has no text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoText {
    /// Others have the memory.
    NoMemory,
    /// It cannot be written.
    Unwritable,
}

impl PageText {
    /// Measured first only where it is longer than usual: values may be escaped, byte for byte, or larger
    /// than kvd takes them now.
    ///
    /// # Errors
    /// See [`NoText`].
    pub(super) fn new(
        page: Page,
        request: &PageRequest,
        reservation: Reservation,
    ) -> Result<Self, NoText> {
        let (total, next) = (page.total, page.next.clone());
        let value = |item: &ListedItem| item.value.as_ref().map_or(0, String::len);
        let values: usize = page.items.iter().map(value).sum();
        let keys: usize = page.items.iter().map(|item| item.key.len()).sum();
        let usual = values + keys + USUAL_BESIDE_VALUE * (page.items.len() + 1);
        let body = PageBody::new(page, &request.paging, request.listing.limit);

        let enlarged = |reservation: Reservation, bytes| {
            let enlarged = reservation.enlarge(values + bytes);
            enlarged.ok_or(NoText::NoMemory)
        };
        let mut reservation = enlarged(reservation, usual)?;
        let mut text = Bounded(Vec::with_capacity(usual));
        if serde_json::to_writer(&mut text, &body).is_err() {
            drop(text);
            let mut count = ByteCount(0);
            write(&mut count, &body)?;
            reservation = enlarged(reservation, count.0)?;
            text = Bounded(Vec::with_capacity(count.0));
            write(&mut text, &body)?;
        }
        let text = reservation.hold(text.0);
        Ok(Self { text, total, next })
    }
}

fn write(to: &mut impl io::Write, body: &PageBody) -> Result<(), NoText> {
    serde_json::to_writer(to, body).map_err(|_| NoText::Unwritable)
}

/// Never grows.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if self.0.capacity() - self.0.len() < text.len() {
            return Ok(0);
        }
        self.0.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many bytes were written.
struct ByteCount(usize);

impl io::Write for ByteCount {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0 += text.len();
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
