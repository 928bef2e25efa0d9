//! A batch of which all operations are done in one transaction, or none is.

use std::sync::Arc;

use entity::write::{Atomic, AtomicDone, KeyOperation};
use tokio::time::Instant;

use super::{
    memory::BatchMemory,
    results::{ResultBody, batch_failed, measured},
};
use crate::{http::Problem, store::Store};

/// The most bytes of all values that are read before memory is reserved for them.
const MOST_SMALL_VALUES: usize = 512 << 10;

/// The results of the operations, in their order.
///
/// # Errors
/// Nothing was done, or with 504 it is not known.
pub(super) async fn run(
    store: &Store,
    operations: Vec<KeyOperation>,
    memory: &mut BatchMemory,
    deadline: Instant,
) -> Result<Vec<ResultBody>, Problem> {
    let mut most_value_bytes = MOST_SMALL_VALUES / operations.len();
    let mut large_bytes = 0;
    let operations = Arc::new(operations);
    loop {
        let (shared, kept) = (operations.clone(), memory.kept());
        let done = store.write_atomically(shared, most_value_bytes, kept, deadline);
        match done.await? {
            Atomic::TooLarge { all, largest } => {
                memory.add_values(all, all).await?;
                large_bytes = all;
                most_value_bytes = largest;
            }
            Atomic::Refused(reasons) => {
                return Err(batch_failed(Arc::unwrap_or_clone(operations), reasons));
            }
            Atomic::Done(done) => {
                let operations = Arc::unwrap_or_clone(operations).into_iter();
                let results: Vec<ResultBody> = operations.zip(done).map(result).collect();
                let (results, text_bytes) = measured(results, large_bytes).await;
                if large_bytes > 0 {
                    memory.add_values_at_last(large_bytes, text_bytes).await?;
                }
                return Ok(results);
            }
        }
    }
}

fn result((operation, done): (KeyOperation, AtomicDone)) -> ResultBody {
    match (operation, done) {
        (_, AtomicDone::Read(item)) => ResultBody::of_item(item),
        (KeyOperation::Write(write), AtomicDone::Written(done)) => {
            ResultBody::of_write(done.outcome(write))
        }
        (_, AtomicDone::NotModified(_) | AtomicDone::Written(_)) => ResultBody::not_modified(),
    }
}
