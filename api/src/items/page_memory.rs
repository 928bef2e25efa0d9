//! Bounded memory for pages, which may be large, wanted by many clients at once, and never read by some
//! of them.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What all pages together may take.
const MEMORY_KIB: u32 = 256 * 1024;

/// What all pages share.
pub(super) struct PageMemory(Arc<Semaphore>);

/// A part of it, in KiB.
#[derive(Debug)]
pub(super) struct Reservation(OwnedSemaphorePermit);

impl Default for PageMemory {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MEMORY_KIB as usize)))
    }
}

impl PageMemory {
    /// Waits for memory for this many bytes, or for all there is.
    pub(super) async fn reserve(&self, bytes: usize) -> Option<Reservation> {
        let taken = self.0.clone().acquire_many_owned(kib(bytes)).await;
        // Only a closed semaphore has none, and this one is never closed.
        taken.ok().map(Reservation)
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).map_or(MEMORY_KIB, |kib| kib.min(MEMORY_KIB))
}

impl Reservation {
    /// Enlarged to this many bytes, or to all there is, if it has less. `None` if others have them: two
    /// pages that wait for each other's would wait for ever.
    pub(super) fn enlarge(mut self, bytes: usize) -> Option<Self> {
        let missing = (kib(bytes) as usize).saturating_sub(self.0.num_permits());
        let missing = u32::try_from(missing).ok()?;
        let free = self.0.semaphore().clone();
        self.0.merge(free.try_acquire_many_owned(missing).ok()?);
        Some(self)
    }

    /// A text that keeps its memory until it is sent; what it does not need is given back.
    pub(super) fn hold(mut self, text: Vec<u8>) -> Bytes {
        let needed = text.capacity().div_ceil(1024);
        drop(self.0.split(self.0.num_permits().saturating_sub(needed)));
        Bytes::from_owner(HeldText {
            text,
            _reservation: self,
        })
    }
}

struct HeldText {
    text: Vec<u8>,
    _reservation: Reservation,
}

impl AsRef<[u8]> for HeldText {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const ALL: usize = MEMORY_KIB as usize;

    #[tokio::test]
    async fn memory_is_given_back_when_the_text_is_sent() {
        let memory = PageMemory::default();
        let large = memory.reserve(usize::MAX).await.unwrap();
        assert!(memory.reserve(4096).now_or_never().is_none());
        let text = large.hold(b"small".to_vec());
        let copy = text.clone();
        drop(text);
        assert_eq!(memory.0.available_permits(), ALL - 1);
        drop(copy);
        assert_eq!(memory.0.available_permits(), ALL);
    }

    #[tokio::test]
    async fn what_turns_out_larger_takes_what_is_free_and_nothing_else() {
        let memory = PageMemory::default();
        let taken = memory.reserve(4 << 10).await.unwrap();
        let taken = taken.enlarge(1024).unwrap().enlarge(6 << 10).unwrap();
        assert_eq!(memory.0.available_permits(), ALL - 6);
        let other = memory.reserve(10 << 10).await.unwrap();
        assert!(other.enlarge(usize::MAX).is_none());
        assert_eq!(memory.0.available_permits(), ALL - 6);
        let all = taken.enlarge(usize::MAX).unwrap();
        assert_eq!(memory.0.available_permits(), 0);
        drop(all);
        assert_eq!(memory.0.available_permits(), ALL);
    }
}
