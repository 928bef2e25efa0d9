//! What became of each operation of a batch.

use entity::{
    Item, Precondition,
    read::FoundItem,
    write::{Done, KeyOperation, Outcome},
};
use poem::http::StatusCode;
use poem_openapi::Object;
use serde::Serialize;

use super::{aside::aside, memory::BESIDE_VALUE};
use crate::{
    http::{Code, FailedOperation, Problem, json_length},
    items::{
        answers::ItemBody,
        problems::{item_not_found, key_exists, precondition_failed},
    },
};

/// What a result usually takes as text beside key and value.
const USUAL_BESIDE_VALUE: usize = 288;

/// The results of a batch.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "BatchResults")]
pub(crate) struct ResultsBody {
    /// One of each operation, in the order asked.
    pub results: Vec<ResultBody>,
}

/// What became of an operation: what the single call would have answered.
#[derive(Debug, Default, Serialize, Object)]
#[oai(rename = "OperationResult")]
pub(crate) struct ResultBody {
    /// The status of the single call's answer.
    pub status: u16,
    /// The item, if it was read, created or updated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[oai(skip_serializing_if_is_none)]
    pub item: Option<ItemBody>,
    /// With an error: the kind of problem for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[oai(skip_serializing_if_is_none)]
    pub code: Option<String>,
    /// With an error: what is wrong this time, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[oai(skip_serializing_if_is_none)]
    pub detail: Option<String>,
    /// With `precondition-failed`: the current tag of the item, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[oai(skip_serializing_if_is_none)]
    pub etag: Option<String>,
    /// With a 503: seconds to wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[oai(skip_serializing_if_is_none)]
    pub retry_after: Option<u64>,
}

impl ResultBody {
    fn of_status(status: StatusCode) -> Self {
        Self {
            status: status.as_u16(),
            ..Self::default()
        }
    }

    pub(super) fn of_item(item: Item) -> Self {
        Self {
            item: Some(item.into()),
            ..Self::of_status(StatusCode::OK)
        }
    }

    pub(super) fn not_modified() -> Self {
        Self::of_status(StatusCode::NOT_MODIFIED)
    }

    pub(super) fn of_write(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Created(item) => Self {
                status: StatusCode::CREATED.as_u16(),
                ..Self::of_item(item)
            },
            Outcome::Updated(item) => Self::of_item(item),
            Outcome::Deleted => Self::of_status(StatusCode::NO_CONTENT),
            outcome => reason(outcome).into(),
        }
    }

    /// Of an item that is not wanted under the tag that it has.
    pub(super) fn of_unwanted(item: &FoundItem, precondition: &Precondition) -> Self {
        match precondition.if_match_holds(item.etag()) {
            true => Self::not_modified(),
            false => precondition_failed(Some(item.etag())).into(),
        }
    }

    pub(super) fn is_success(&self) -> bool {
        self.code.is_none()
    }

    /// How many bytes it has as text, if nothing in it is escaped.
    pub(super) fn usual_bytes(&self) -> usize {
        let item = self.item.as_ref();
        USUAL_BESIDE_VALUE + item.map_or(0, |item| item.key.len() + item.value.len())
    }
}

impl From<Problem> for ResultBody {
    fn from(problem: Problem) -> Self {
        let FailedOperation {
            status,
            code,
            detail,
            etag,
            retry_after,
        } = problem.into();
        Self {
            status,
            item: None,
            code: Some(code),
            detail: Some(detail),
            etag,
            retry_after,
        }
    }
}

/// Results with values of this many bytes that were large, and the length of their texts beyond what each result has
/// anyway: each byte of a value may be escaped.
pub(super) async fn measured(
    results: Vec<ResultBody>,
    value_bytes: usize,
) -> (Vec<ResultBody>, usize) {
    aside(value_bytes, move || {
        let text = |result: &ResultBody| match value_bytes {
            0 => 0,
            _ => json_length(result).saturating_sub(BESIDE_VALUE),
        };
        let text_bytes = results.iter().map(text).sum();
        (results, text_bytes)
    })
    .await
}

/// Why nothing was done, of a batch of which each operation has such a reason, or would have been done.
pub(super) fn batch_failed(operations: Vec<KeyOperation>, reasons: Vec<Option<Done>>) -> Problem {
    let first = reasons.iter().position(Option::is_some).unwrap_or_default();
    let results = operations.into_iter().zip(reasons);
    let results = results.map(|(operation, done)| {
        let problem = match (operation, done) {
            (KeyOperation::Write(write), Some(done)) => reason(done.outcome(write)),
            (KeyOperation::Read { .. }, Some(Done::PreconditionFailed(tag))) => {
                precondition_failed(Some(tag))
            }
            (KeyOperation::Read { .. }, Some(_)) => item_not_found(),
            (_, None) => not_done(),
        };
        problem.into()
    });
    let detail = format!("operations[{first}] cannot be done; nothing was written.");
    Problem::new(Code::BatchFailed, detail).with_results(results.collect())
}

pub(crate) fn not_done() -> Problem {
    Problem::new(Code::NotDone, "Nothing was written.")
}

/// Why a write did nothing.
fn reason(outcome: Outcome) -> Problem {
    match outcome {
        Outcome::Exists => key_exists(),
        Outcome::Missing => item_not_found(),
        Outcome::PreconditionFailed(tag) => precondition_failed(tag),
        Outcome::Created(_) | Outcome::Updated(_) | Outcome::Deleted => Problem::internal(),
    }
}
