//! Many operations on items in one request.
//!
//! - `request`: what it asks for; `checked`: the operations, once all are in order.
//! - `independent`: each is done by itself; `atomic`: all are, or none is. Both in bounded `memory`, and with what takes
//!   long `aside`.
//! - `results`: what became of each.

mod aside;
mod atomic;
mod checked;
mod independent;
mod memory;
mod request;
mod results;

use poem::web::Data;
use poem_openapi::{ApiResponse, OpenApi};
use prometheus::IntCounterVec;

pub(crate) use self::results::not_done;
use self::{
    aside::aside,
    checked::{access, checked},
    memory::BatchMemory,
    request::{NewBatch, ReadBatch},
    results::{ResultBody, ResultsBody},
};
use super::operations::{Batch, Tag};
use crate::{
    auth::Granted,
    http::{Arrival, Failed, Json, JsonText, MemoryBudget},
    store::{Store, StoreSettings},
    telemetry::Metrics,
};

/// The most bytes of the body of a batch.
pub(crate) const MOST_BODY_BYTES: usize = 8 << 20;

#[derive(Clone)]
pub(crate) struct ItemBatches {
    store: Store,
    memory: MemoryBudget,
    max_value_bytes: usize,
    results: IntCounterVec,
}

impl ItemBatches {
    pub(crate) fn new(
        store: Store,
        memory: MemoryBudget,
        settings: &StoreSettings,
        metrics: &Metrics,
    ) -> Self {
        let results = metrics.counters(
            "kvd_batch_results_total",
            "Results of operations in batches, which were answered as a whole with 200 or 207.",
            &["status"],
        );
        // For alerts, which need to see the first one come.
        for status in ["503", "504"] {
            results.with_label_values(&[status]).inc_by(0);
        }
        Self {
            store,
            memory,
            max_value_bytes: settings.max_value_bytes,
            results,
        }
    }
}

#[OpenApi(tag = "Tag::Items")]
impl ItemBatches {
    /// Do many operations at once
    ///
    /// 1 to 100 operations on different keys, each with its own result: what the single call would have answered. All
    /// are checked before anything is done; a mistake is told with its place, `index`. With `atomic` all are done in
    /// one transaction, or nothing is: then the answer is 409 with the results.
    #[oai(path = "/batch", method = "post")]
    async fn batch(
        &self,
        Data(arrival): Data<&Arrival>,
        Data(granted): Data<&Granted>,
        body: Json<ReadBatch, NewBatch>,
    ) -> Result<Answered, Failed<Batch>> {
        let ReadBatch { atomic, operations } = body.document;
        let operations = checked(operations, self.max_value_bytes)?;
        for operation in &operations {
            granted.check_key(access(operation), operation.key())?;
        }
        let (store, deadline) = (&self.store, arrival.deadline);
        let budget = self.memory.clone();
        let mut memory = BatchMemory::reserve(budget, *arrival, &operations, body.memory).await?;
        let results = match atomic {
            Some(true) => atomic::run(store, operations, &mut memory, deadline).await?,
            _ => independent::run(store, operations, &mut memory, deadline).await,
        };
        for result in &results {
            let status = result.status.to_string();
            self.results.with_label_values(&[&status]).inc();
        }
        Ok(Answered::new(results, memory).await)
    }
}

#[derive(ApiResponse)]
enum Answered {
    /// All operations succeeded.
    #[oai(status = 200)]
    Done(JsonText<ResultsBody>),
    /// At least one operation did not succeed.
    #[oai(status = 207)]
    Mixed(JsonText<ResultsBody>),
}

impl Answered {
    async fn new(results: Vec<ResultBody>, memory: BatchMemory) -> Self {
        let all = results.iter().all(ResultBody::is_success);
        let usual_bytes = results.iter().map(ResultBody::usual_bytes).sum();
        let body = ResultsBody { results };
        let memory = memory.into_reserved();
        let text = aside(usual_bytes, move || {
            JsonText::about(&body, usual_bytes, memory)
        })
        .await;
        match all {
            true => Self::Done(text),
            false => Self::Mixed(text),
        }
    }
}
