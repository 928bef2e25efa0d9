//! Memory for pages, which may be large: a hundred of the largest values, wanted by many at once, and
//! by clients who never read them.

use std::sync::Arc;

use bytes::Bytes;
use poem::{IntoResponse, Response};
use poem_openapi::{
    payload::Payload,
    registry::{MetaSchemaRef, Registry},
    types::Type,
};
use serde::Serialize;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Duration, timeout},
};

use crate::{json::Json, problem::Problem};

/// What all pages together may take.
const ROOM_KIB: u32 = 256 * 1024;

/// What all pages share.
#[derive(Clone)]
pub struct Room {
    free: Arc<Semaphore>,
    /// How long to wait for some of it.
    time: Duration,
}

/// A part of it, in KiB.
#[derive(Debug)]
pub struct Taken(OwnedSemaphorePermit);

impl Room {
    pub fn new(time: Duration) -> Self {
        let free = Arc::new(Semaphore::new(ROOM_KIB as usize));
        Self { free, time }
    }

    /// Room for a page of values of so many bytes, and for its text. A larger one waits until it is
    /// alone.
    ///
    /// # Errors
    /// There is none in time.
    pub async fn take(&self, bytes: usize) -> Result<Taken, Problem> {
        let kib = u32::try_from(2 * bytes / 1024).unwrap_or(ROOM_KIB);
        let taken = self.free.clone().acquire_many_owned(kib.min(ROOM_KIB));
        match timeout(self.time, taken).await {
            Ok(Ok(taken)) => Ok(Taken(taken)),
            Ok(Err(_)) | Err(_) => Err(Problem::overloaded()),
        }
    }
}

impl Taken {
    /// Gives back what turned out not to be needed.
    fn keep(&mut self, bytes: usize) {
        let surplus = self.0.num_permits().saturating_sub(bytes.div_ceil(1024));
        drop(self.0.split(surplus));
    }
}

/// A JSON document that keeps its room until the client has taken it.
pub struct InRoom<T> {
    pub document: T,
    pub room: Taken,
}

impl<T: Type> Payload for InRoom<T> {
    const CONTENT_TYPE: &'static str = Json::<T>::CONTENT_TYPE;

    fn schema_ref() -> MetaSchemaRef {
        Json::<T>::schema_ref()
    }

    fn register(registry: &mut Registry) {
        Json::<T>::register(registry);
    }
}

impl<T: Serialize + Send> IntoResponse for InRoom<T> {
    fn into_response(mut self) -> Response {
        let Ok(text) = serde_json::to_vec(&self.document) else {
            return Problem::internal().into_response();
        };
        self.room.keep(text.capacity());
        let body = Bytes::from_owner(Sent {
            text,
            _room: self.room,
        });
        Response::builder()
            .content_type("application/json")
            .body(body)
    }
}

struct Sent {
    text: Vec<u8>,
    _room: Taken,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_given_back_when_the_answer_is_gone() {
        let room = Room::new(Duration::from_millis(10));
        let all = ROOM_KIB as usize;
        let large = room.take(usize::MAX / 4).await.unwrap();
        assert!(room.take(4096).await.is_err());
        let answer = InRoom {
            document: "small",
            room: large,
        };
        let answer = answer.into_response();
        assert_eq!(room.free.available_permits(), all - 1);
        drop(answer);
        assert_eq!(room.free.available_permits(), all);
    }
}
