//! Reads of single items, with memory for their answers.
//!
//! A small value comes with the look-up of its key. Of a large one only the size comes, memory is reserved
//! for it, and then it is read by itself. A request that waits for memory holds nothing meanwhile.

use std::net::IpAddr;

use bytes::Bytes;
use entity::{
    ETag, Key,
    read::{FoundItem, LargeItem},
};
use tokio::time::Instant;

use super::answers::ItemBody;
use crate::{
    http::{
        Arrival, BESIDE_VALUE, EXEMPT_BYTES, JsonText, MemoryBudget, Reservation, is_exempt,
        json_length, json_of_length, small_json,
    },
    store::{Error, Reads},
};

#[derive(Clone)]
pub(super) struct ItemReads {
    pub reads: Reads,
    pub memory: MemoryBudget,
}

/// What was read of an item.
pub(super) struct ItemRead {
    pub etag: ETag,
    /// The text of the item, if it was wanted.
    pub text: Option<JsonText<ItemBody>>,
}

/// What has to be reserved before an item can be read, or read again.
struct Needed {
    key: String,
    value_bytes: usize,
    memory: usize,
}

impl ItemReads {
    /// The item of a key, with its text if it is wanted under the tag that it has.
    ///
    /// # Errors
    /// Never [`Error::Unknown`].
    pub(super) async fn read(
        &self,
        key: Key,
        Arrival {
            client, deadline, ..
        }: Arrival,
        is_wanted: impl Fn(ETag) -> bool,
    ) -> Result<Option<ItemRead>, Error> {
        let mut found = self.reads.find(key, deadline).await?;
        let mut reserved = None;
        loop {
            let Some(item) = found else {
                return Ok(None);
            };
            let etag = item.etag();
            let text = if is_wanted(etag) {
                match self.text(item, reserved.take(), client) {
                    Ok(text) => Some(text),
                    Err(needed) => {
                        (found, reserved) = self.read_large(needed, client, deadline).await?;
                        continue;
                    }
                }
            } else {
                None
            };
            return Ok(Some(ItemRead { etag, text }));
        }
    }

    /// The text of an item, in the memory that was reserved for it, or in what can be had at once.
    fn text(
        &self,
        item: FoundItem,
        reserved: Option<Reservation>,
        client: IpAddr,
    ) -> Result<JsonText<ItemBody>, Needed> {
        let item = match item {
            FoundItem::Whole(item) => item,
            FoundItem::Large(LargeItem {
                key, value_bytes, ..
            }) => {
                return Err(Needed {
                    key,
                    value_bytes,
                    memory: 2 * value_bytes + BESIDE_VALUE,
                });
            }
        };
        let value_bytes = item.value.len();
        let body = ItemBody::from(item);
        // Measuring takes as long as writing, so what is not large is just written.
        let written = (value_bytes <= EXEMPT_BYTES).then(|| small_json(&body));
        let length = match written {
            Some(text) if is_exempt(&text) => return Ok(Bytes::from(text).into()),
            Some(ref text) => text.len(),
            None => json_length(&body),
        };
        let memory = value_bytes + length;
        match self.at_once(reserved, client, memory) {
            Some(memory) => {
                let text = written.unwrap_or_else(|| json_of_length(&body, length));
                Ok(memory.hold(text).into())
            }
            None => Err(Needed {
                key: body.key,
                value_bytes,
                memory,
            }),
        }
    }

    fn at_once(
        &self,
        reserved: Option<Reservation>,
        client: IpAddr,
        bytes: usize,
    ) -> Option<Reservation> {
        match reserved {
            Some(reserved) => reserved.try_grow(bytes).ok(),
            None => self.memory.try_reserve(client, bytes),
        }
    }

    async fn read_large(
        &self,
        needed: Needed,
        client: IpAddr,
        deadline: Instant,
    ) -> Result<(Option<FoundItem>, Option<Reservation>), Error> {
        let reserved = self.memory.reserve(client, needed.memory, deadline).await?;
        let Needed {
            key, value_bytes, ..
        } = needed;
        let read = self
            .reads
            .find_large(key, value_bytes, reserved, deadline)
            .await?;
        let (found, reserved) = read;
        Ok((found, Some(reserved)))
    }
}
