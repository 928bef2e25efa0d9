//! A batch of which each operation is done by itself, whatever becomes of the others.

use entity::{
    Key, Precondition,
    read::{FoundItem, LargeItem},
    write::{KeyOperation, Outcome},
};
use futures_util::future::{join, join_all};
use tokio::time::Instant;

use super::{
    memory::BatchMemory,
    results::{ResultBody, measured},
};
use crate::{
    http::{log_failure, problem_of},
    items::problems::item_not_found,
    store::{Error, Store},
};

/// An operation that reads, and its place in the batch.
struct PlacedRead {
    place: usize,
    key: Key,
    precondition: Precondition,
}

/// The results of the operations, in their order.
pub(super) async fn run(
    store: &Store,
    operations: Vec<KeyOperation>,
    memory: &mut BatchMemory,
    deadline: Instant,
) -> Vec<ResultBody> {
    let (mut reads, mut writes, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for (place, operation) in operations.into_iter().enumerate() {
        match operation {
            KeyOperation::Read { key, precondition } => reads.push(PlacedRead {
                place,
                key,
                precondition,
            }),
            KeyOperation::Write(write) => {
                places.push(place);
                writes.push(write);
            }
        }
    }
    let memory_of_writes = memory.for_calls();
    let (read, outcomes) = join(
        read(store, reads, memory, deadline),
        store.write_each(writes, memory_of_writes, deadline),
    )
    .await;
    let written = |outcome: Result<Outcome, Error>| outcome.map(ResultBody::of_write);
    let mut results = read;
    results.extend(places.into_iter().zip(outcomes.into_iter().map(written)));
    results.sort_unstable_by_key(|(place, _)| *place);
    told(results.into_iter().map(|(_, result)| result))
}

/// The results as they are told. What failed is logged once of each kind, since most likely it has one cause.
fn told(results: impl Iterator<Item = Result<ResultBody, Error>>) -> Vec<ResultBody> {
    let mut logged = Vec::new();
    let mut failed = |error: Error| {
        let problem = problem_of(&error);
        if !logged.contains(&problem.code) {
            logged.push(problem.code);
            log_failure(&error);
        }
        problem.into()
    };
    results
        .map(|result| result.unwrap_or_else(&mut failed))
        .collect()
}

/// A result and the place of its operation.
type Placed = (usize, Result<ResultBody, Error>);

/// The results of those that read. A large value is read by itself, once there is memory for it.
async fn read(
    store: &Store,
    reads: Vec<PlacedRead>,
    memory: &mut BatchMemory,
    deadline: Instant,
) -> Vec<Placed> {
    let keys = reads.iter().map(|read| read.key.clone()).collect();
    let found = store.reads().find_each(keys, deadline).await;
    let (mut results, mut large, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (read, found) in reads.into_iter().zip(found) {
        match found {
            Ok(Some(FoundItem::Large(item))) if read.precondition.holds(item.etag) => {
                bytes += item.value_bytes;
                large.push((read, item));
            }
            found => results.push((read.place, result(found, &read.precondition))),
        }
    }
    if !large.is_empty() {
        results.extend(read_all_large(store, large, bytes, memory, deadline).await);
    }
    results
}

/// Reads items whose values have this many bytes.
async fn read_all_large(
    store: &Store,
    large: Vec<(PlacedRead, LargeItem)>,
    bytes: usize,
    memory: &mut BatchMemory,
    deadline: Instant,
) -> Vec<Placed> {
    if let Err(error) = memory.add_values(bytes, bytes).await {
        let none = |(read, _): (PlacedRead, LargeItem)| (read.place, Err(error.clone()));
        return large.into_iter().map(none).collect();
    }
    let shared = &*memory;
    let read = large
        .into_iter()
        .map(async |(read, item): (PlacedRead, LargeItem)| {
            let found = read_large(store, item, shared, deadline).await;
            (read.place, result(found, &read.precondition))
        });
    let (mut results, mut read_items, mut read_places) = (Vec::new(), Vec::new(), Vec::new());
    for (place, read) in join_all(read).await {
        match read {
            Ok(result) => {
                read_places.push(place);
                read_items.push(result);
            }
            Err(error) => results.push((place, Err(error))),
        }
    }
    let (read_items, text_bytes) = measured(read_items, bytes).await;
    let read_places = read_places.into_iter();
    match memory.add_values(bytes, text_bytes).await {
        Ok(()) => results.extend(read_places.zip(read_items.into_iter().map(Ok))),
        Err(error) => results.extend(read_places.map(|place| (place, Err(error.clone())))),
    }
    results
}

/// Reads an item in the memory that is reserved for it.
async fn read_large(
    store: &Store,
    item: LargeItem,
    memory: &BatchMemory,
    deadline: Instant,
) -> Result<Option<FoundItem>, Error> {
    let reads = store.reads();
    let found = reads.find_large(item.key, item.value_bytes, memory.kept(), deadline);
    found.await.map(|(found, _)| found)
}

fn result(
    found: Result<Option<FoundItem>, Error>,
    precondition: &Precondition,
) -> Result<ResultBody, Error> {
    Ok(match found? {
        None => item_not_found().into(),
        Some(item) if !precondition.holds(item.etag()) => {
            ResultBody::of_unwanted(&item, precondition)
        }
        Some(FoundItem::Whole(item)) => ResultBody::of_item(item),
        // It has grown since memory was reserved for it.
        Some(FoundItem::Large(_)) => return Err(Error::Overloaded),
    })
}
