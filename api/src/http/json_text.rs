//! JSON documents as text, in memory of the budget where they are large.

use std::{io, marker::PhantomData};

use bytes::Bytes;
use poem::{IntoResponse, Response};
use poem_openapi::{
    payload::Payload,
    registry::{MetaSchemaRef, Registry},
    types::Type,
};
use serde::Serialize;

use super::{
    json::Json,
    memory::{EXEMPT_BYTES, Reservation},
};

/// Most answers are shorter, so that their text need not grow.
const USUAL_BYTES: usize = 512;

/// What is written as JSON here has no maps, and nothing that could fail.
const IS_JSON: &str = "strings and numbers can be written as JSON";

/// A JSON document of type `T` that is text already.
pub struct JsonText<T> {
    text: Bytes,
    of: PhantomData<T>,
}

impl<T> From<Bytes> for JsonText<T> {
    fn from(text: Bytes) -> Self {
        let of = PhantomData;
        Self { text, of }
    }
}

impl<T: Serialize> JsonText<T> {
    /// The text of a document, in its memory if there is any for it.
    pub(crate) fn new(document: &T, memory: Option<Reservation>) -> Self {
        match memory {
            Some(memory) => memory.hold(json_of_length(document, json_length(document))),
            None => small_json(document).into(),
        }
        .into()
    }

    /// The text of a document that usually has at most this many bytes, in its memory if there is any for it.
    pub(crate) fn about(document: &T, usual_bytes: usize, memory: Option<Reservation>) -> Self {
        let text = json_about(document, usual_bytes);
        match memory {
            Some(memory) => memory.hold(text),
            None => text.into(),
        }
        .into()
    }
}

impl<T: Type> Payload for JsonText<T> {
    const CONTENT_TYPE: &'static str = Json::<T>::CONTENT_TYPE;

    fn schema_ref() -> MetaSchemaRef {
        Json::<T>::schema_ref()
    }

    fn register(registry: &mut Registry) {
        Json::<T>::register(registry);
    }
}

impl<T: Send> IntoResponse for JsonText<T> {
    fn into_response(self) -> Response {
        Response::builder()
            .content_type("application/json")
            .body(self.text)
    }
}

/// The text of a document that is small, or grows to what it needs.
pub(crate) fn small_json(document: &impl Serialize) -> Vec<u8> {
    let mut text = Vec::with_capacity(USUAL_BYTES);
    serde_json::to_writer(&mut text, document).expect(IS_JSON);
    text
}

/// The text of a document that usually has at most this many bytes. It is measured first only where it has more.
pub(crate) fn json_about(document: &impl Serialize, usual_bytes: usize) -> Vec<u8> {
    json_within(document, usual_bytes)
        .unwrap_or_else(|| json_of_length(document, json_length(document)))
}

/// The text of a document of this length.
pub(crate) fn json_of_length(document: &impl Serialize, bytes: usize) -> Vec<u8> {
    json_within(document, bytes).expect("it has this length")
}

/// The text of a document if it has at most this many bytes.
pub(crate) fn json_within(document: &impl Serialize, bytes: usize) -> Option<Vec<u8>> {
    let mut text = Bounded(Vec::with_capacity(bytes));
    serde_json::to_writer(&mut text, document).ok()?;
    Some(text.0)
}

/// How many bytes the text of a document has.
pub(crate) fn json_length(document: &impl Serialize) -> usize {
    let mut count = ByteCount(0);
    serde_json::to_writer(&mut count, document).expect(IS_JSON);
    count.0
}

/// Whether this text needs no memory of the budget.
pub(crate) fn is_exempt(text: &[u8]) -> bool {
    text.len() <= EXEMPT_BYTES
}

/// A text that never grows: what does not fit is not written.
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

/// Counts the bytes that are written.
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
