//! Every error as a problem document (RFC 9457).

use std::fmt;

use entity::{ETag, InvalidKey, InvalidValue};
use poem::{
    IntoResponse, Response,
    http::{HeaderValue, header},
};
use poem_openapi::Object;
use serde::Serialize;

use super::problem_code::Code;

/// How long a client should wait before it tries again after a 503, in seconds.
const RETRY_AFTER: u64 = 1;
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// An error on its way to the client. Its text never comes from the database.
#[derive(Clone, Debug)]
pub struct Problem {
    pub code: Code,
    detail: String,
    /// The current tag of the item, with a 412.
    etag: Option<ETag>,
    /// The methods the resource has, with a 405.
    allow: Option<String>,
    /// The content coding that is understood, with a 415 for another.
    accept_encoding: Option<&'static str>,
    /// Seconds until a request is welcome again.
    retry_after: Option<u64>,
    /// The connection ends with the answer.
    close: bool,
    /// Of a batch; boxed, since it is rare and large.
    batch: Option<Box<OfBatch>>,
}

/// What a problem says of a batch.
#[derive(Clone, Debug)]
enum OfBatch {
    /// Which operation it is about.
    Index(usize),
    /// What became of each operation.
    Results(Vec<FailedOperation>),
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            etag: None,
            allow: None,
            accept_encoding: None,
            retry_after: code.has_retry_after().then_some(RETRY_AFTER),
            close: false,
            batch: None,
        }
    }

    /// What the client sent may be part of the detail, so it is cut to a size for people.
    pub fn quoting(code: Code, detail: impl Into<String>) -> Self {
        const MOST: usize = 300;
        let mut detail = detail.into();
        if detail.len() > MOST {
            detail.truncate(detail.floor_char_boundary(MOST));
            detail.push('…');
        }
        Self::new(code, detail)
    }

    /// As [`Self::quoting`].
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::quoting(Code::InvalidRequest, detail)
    }

    pub fn route_not_found() -> Self {
        Self::new(Code::RouteNotFound, "See /docs for what there is.")
    }

    pub fn internal() -> Self {
        let detail = "The log has more under this answer's X-Request-Id.";
        Self::new(Code::Internal, detail)
    }

    pub fn with_etag(self, etag: Option<ETag>) -> Self {
        Self { etag, ..self }
    }

    pub fn with_allow(self, methods: String) -> Self {
        let allow = Some(methods);
        Self { allow, ..self }
    }

    pub fn with_accept_encoding(self, coding: &'static str) -> Self {
        let accept_encoding = Some(coding);
        Self {
            accept_encoding,
            ..self
        }
    }

    pub fn with_retry_after(self, seconds: u64) -> Self {
        let retry_after = Some(seconds);
        Self {
            retry_after,
            ..self
        }
    }

    /// For a request after which nothing that its client sends can be understood.
    pub fn with_close(self) -> Self {
        Self {
            close: true,
            ..self
        }
    }

    /// About this operation of a batch.
    pub fn of_operation(self, index: usize) -> Self {
        Self {
            detail: format!("operations[{index}]: {}", self.detail),
            batch: Some(Box::new(OfBatch::Index(index))),
            ..self
        }
    }

    /// About a batch, with what became of each operation.
    pub fn with_results(self, results: Vec<FailedOperation>) -> Self {
        let batch = Some(Box::new(OfBatch::Results(results)));
        Self { batch, ..self }
    }

    /// The document that the client gets. Its texts are copies, so that one type is both document and
    /// schema.
    pub fn document(&self) -> ProblemBody {
        let limited = self.code == Code::RateLimited;
        let (index, results) = match self.batch.as_deref() {
            None => (None, None),
            Some(OfBatch::Index(index)) => (Some(*index as u64), None),
            Some(OfBatch::Results(results)) => (None, Some(results.clone())),
        };
        ProblemBody {
            r#type: self.code.type_uri().to_owned(),
            title: self.code.title().to_owned(),
            status: self.code.status().as_u16(),
            detail: self.detail.clone(),
            code: self.code.as_str().to_owned(),
            violated_policies: limited.then(|| vec!["default".to_owned()]),
            retry_after: self.retry_after.filter(|_| limited),
            index,
            results,
        }
    }
}

impl From<Problem> for FailedOperation {
    fn from(problem: Problem) -> Self {
        Self {
            status: problem.code.status().as_u16(),
            code: problem.code.as_str().to_owned(),
            detail: problem.detail,
            etag: problem.etag.map(|tag| tag.to_string()),
            retry_after: problem.retry_after,
        }
    }
}

impl From<InvalidKey> for Problem {
    fn from(error: InvalidKey) -> Self {
        Self::new(Code::InvalidKey, sentence(error))
    }
}

impl From<InvalidValue> for Problem {
    fn from(error: InvalidValue) -> Self {
        let code = match error {
            InvalidValue::TooLarge { .. } => Code::ValueTooLarge,
            InvalidValue::Nul => Code::InvalidValue,
        };
        Self::new(code, sentence(error))
    }
}

/// An error's text as a sentence: with a capital letter and a full stop.
pub(crate) fn sentence(error: impl fmt::Display) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => format!("{}{}.", first.to_ascii_uppercase(), chars.as_str()),
        None => text,
    }
}

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Problem")]
pub struct ProblemBody {
    /// A URI that names the kind of problem, or `about:blank`.
    #[oai(rename = "type", validator(min_length = 1))]
    r#type: String,
    /// For people: the phrase of the status, or what the type is called.
    pub(super) title: String,
    /// The status of the answer.
    pub(super) status: u16,
    /// What is wrong this time, for people.
    detail: String,
    /// The kind of problem for programs; never changes.
    code: String,
    /// With `rate-limited`: the names of the policies of the header `RateLimit-Policy`.
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    #[oai(rename = "violated-policies", skip_serializing_if_is_none)]
    violated_policies: Option<Vec<String>>,
    /// With `rate-limited`: seconds until a request is let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[oai(skip_serializing_if_is_none)]
    retry_after: Option<u64>,
    /// With a mistake in a batch: the place of the operation, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[oai(skip_serializing_if_is_none)]
    index: Option<u64>,
    /// With `batch-failed`: one of each operation, in the order asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[oai(skip_serializing_if_is_none)]
    results: Option<Vec<FailedOperation>>,
}

/// Why an operation of a batch was not done.
#[derive(Clone, Debug, Serialize, Object)]
pub struct FailedOperation {
    /// The status of the single call's answer; 424 if another operation is to blame.
    pub status: u16,
    /// The kind of problem for programs.
    pub code: String,
    /// What is wrong this time, for people.
    pub detail: String,
    /// With `precondition-failed`: the current tag of the item, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[oai(skip_serializing_if_is_none)]
    pub etag: Option<String>,
    /// With a 503: seconds to wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[oai(skip_serializing_if_is_none)]
    pub retry_after: Option<u64>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = serde_json::to_vec(&self.document());
        let mut response = Response::builder()
            .status(self.code.status())
            .content_type(MEDIA_TYPE)
            .body(document.expect("a struct of texts and numbers is JSON"));
        let headers = response.headers_mut();
        let mut set = |name, value: Option<String>| {
            if let Some(value) = value.and_then(|text| HeaderValue::try_from(text).ok()) {
                headers.insert(name, value);
            }
        };
        set(header::ETAG, self.etag.map(|tag| format!("\"{tag}\"")));
        set(header::ALLOW, self.allow);
        set(
            header::ACCEPT_ENCODING,
            self.accept_encoding.map(str::to_owned),
        );
        set(
            header::WWW_AUTHENTICATE,
            (self.code == Code::Unauthenticated).then(|| "Bearer".to_owned()),
        );
        set(header::CONNECTION, self.close.then(|| "close".to_owned()));
        set(header::RETRY_AFTER, self.retry_after.map(|s| s.to_string()));
        if self.code.says_nothing_of_items() {
            set(header::CACHE_CONTROL, Some("no-store".to_owned()));
        }
        response
    }
}

impl From<Problem> for poem::Error {
    fn from(problem: Problem) -> Self {
        Self::from_response(problem.into_response())
    }
}
