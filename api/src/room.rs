//! Bounded memory for pages, which may be large, wanted by many at once, and by clients who never
//! read them.

use std::sync::Arc;

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Duration, timeout},
};

/// What all pages together may take.
const ROOM_KIB: u32 = 256 * 1024;

/// What all pages share.
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

    /// Room for so many bytes, or for as many as there are at all. `None` if there is none in time.
    pub async fn take(&self, bytes: usize) -> Option<Taken> {
        let kib = u32::try_from(bytes / 1024).unwrap_or(ROOM_KIB);
        let taken = self.free.clone().acquire_many_owned(kib.min(ROOM_KIB));
        let taken = timeout(self.time, taken).await.ok()?;
        // It is never closed.
        taken.ok().map(Taken)
    }
}

impl Taken {
    /// A text that keeps its room until nobody sends it any more; what it does not need is given back.
    pub fn hold(mut self, text: Vec<u8>) -> Bytes {
        let needed = text.capacity().div_ceil(1024);
        drop(self.0.split(self.0.num_permits().saturating_sub(needed)));
        Bytes::from_owner(Held { text, _room: self })
    }
}

struct Held {
    text: Vec<u8>,
    _room: Taken,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_given_back_when_nobody_sends_the_text_any_more() {
        let room = Room::new(Duration::from_millis(10));
        let all = ROOM_KIB as usize;
        let large = room.take(usize::MAX / 4).await.unwrap();
        assert!(room.take(4096).await.is_none());
        let text = large.hold(b"small".to_vec());
        let copy = text.clone();
        drop(text);
        assert_eq!(room.free.available_permits(), all - 1);
        drop(copy);
        assert_eq!(room.free.available_permits(), all);
    }
}
