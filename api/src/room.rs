//! Bounded memory for pages, which may be large, wanted by many at once, and by clients who never
//! read them.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What all pages together may take.
const ROOM_KIB: u32 = 256 * 1024;

/// What all pages share.
pub struct Room(Arc<Semaphore>);

/// A part of it, in KiB.
#[derive(Debug)]
pub struct Taken(OwnedSemaphorePermit);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM_KIB as usize)))
    }
}

impl Room {
    /// Waits for room for so many bytes, or for as many as there are at all.
    pub async fn take(&self, bytes: usize) -> Option<Taken> {
        let taken = self.0.clone().acquire_many_owned(kib(bytes)).await;
        // Only a closed semaphore has none, and this one is never closed.
        taken.ok().map(Taken)
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).map_or(ROOM_KIB, |kib| kib.min(ROOM_KIB))
}

impl Taken {
    /// Enlarged to so many bytes, or to as many as there are at all, if it has less. `None` if others
    /// have them: two who wait for each other's would wait for ever.
    pub fn enlarge(mut self, bytes: usize) -> Option<Self> {
        let missing = (kib(bytes) as usize).saturating_sub(self.0.num_permits());
        let missing = u32::try_from(missing).ok()?;
        let free = self.0.semaphore().clone();
        self.0.merge(free.try_acquire_many_owned(missing).ok()?);
        Some(self)
    }

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
    use futures_util::FutureExt;

    use super::*;

    const ALL: usize = ROOM_KIB as usize;

    #[tokio::test]
    async fn room_is_given_back_when_nobody_sends_the_text_any_more() {
        let room = Room::default();
        let large = room.take(usize::MAX).await.unwrap();
        assert!(room.take(4096).now_or_never().is_none());
        let text = large.hold(b"small".to_vec());
        let copy = text.clone();
        drop(text);
        assert_eq!(room.0.available_permits(), ALL - 1);
        drop(copy);
        assert_eq!(room.0.available_permits(), ALL);
    }

    #[tokio::test]
    async fn what_turns_out_larger_takes_what_is_free_and_nothing_else() {
        let room = Room::default();
        let taken = room.take(4 << 10).await.unwrap();
        let taken = taken.enlarge(1024).unwrap().enlarge(6 << 10).unwrap();
        assert_eq!(room.0.available_permits(), ALL - 6);
        let other = room.take(10 << 10).await.unwrap();
        assert!(other.enlarge(usize::MAX).is_none());
        assert_eq!(room.0.available_permits(), ALL - 6);
        let all = taken.enlarge(usize::MAX).unwrap();
        assert_eq!(room.0.available_permits(), 0);
        drop(all);
        assert_eq!(room.0.available_permits(), ALL);
    }
}
