//! Every error as a problem document (RFC 9457), and the only place that turns a database error
//! into a status and logs it.

use std::fmt;

use database::Failure;
use entity::{ETag, InvalidKey, InvalidValue, write::WriteError};
use poem::{
    IntoResponse, Response,
    http::{HeaderValue, Method, header},
};
use sea_orm::DbErr;
use serde::Serialize;

pub use crate::code::Code;
use crate::{rate_limit::window::Quota, request_id};

/// How long a client should wait before it tries again after a 503, in seconds.
const RETRY_AFTER: u64 = 1;
const MEDIA_TYPE: &str = "application/problem+json";

/// An error on its way to the client. Its text never comes from the database.
#[derive(Clone, Debug)]
pub struct Problem {
    pub code: Code,
    detail: String,
    /// The current tag of the item, with a 412.
    etag: Option<ETag>,
    /// The methods the resource has, with a 405.
    allow: Option<String>,
    /// Seconds until a 429 is over.
    retry_after: Option<u64>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            etag: None,
            allow: None,
            retry_after: code.has_retry_after().then_some(RETRY_AFTER),
        }
    }

    /// What the client sent may be part of the detail, so it is cut to a size for people.
    pub fn invalid(detail: impl Into<String>) -> Self {
        const MOST: usize = 300;
        let mut detail = detail.into();
        if detail.len() > MOST {
            detail.truncate(detail.floor_char_boundary(MOST));
            detail.push('…');
        }
        Self::new(Code::InvalidRequest, detail)
    }

    pub fn item_not_found() -> Self {
        Self::new(Code::ItemNotFound, "No item has this key.")
    }

    pub fn route_not_found() -> Self {
        Self::new(Code::RouteNotFound, "See /docs for what there is.")
    }

    pub fn key_exists() -> Self {
        let detail = "An item with this key exists. PUT overwrites it.";
        Self::new(Code::KeyExists, detail)
    }

    pub fn precondition_failed(current: Option<ETag>) -> Self {
        let detail = match current {
            Some(tag) => format!("The item exists, and its current tag is \"{tag}\"."),
            None => "No item has this key.".to_owned(),
        };
        Self {
            etag: current,
            ..Self::new(Code::PreconditionFailed, detail)
        }
    }

    pub fn method_not_allowed(allowed: &[Method]) -> Self {
        let names: Vec<_> = allowed.iter().map(Method::as_str).collect();
        let allow = names.join(", ");
        Self {
            allow: Some(allow.clone()),
            ..Self::new(Code::MethodNotAllowed, format!("It has {allow}."))
        }
    }

    /// `seconds` until the next request is let in.
    pub fn rate_limited(quota: Quota, seconds: u64) -> Self {
        let detail = format!(
            "At most {} requests in {} seconds; try again in {seconds}.",
            quota.limit,
            quota.window.as_secs(),
        );
        Self {
            retry_after: Some(seconds),
            ..Self::new(Code::RateLimited, detail)
        }
    }

    pub fn internal() -> Self {
        let detail = "The log has more under this answer's X-Request-Id.";
        Self::new(Code::Internal, detail)
    }

    pub fn outcome_unknown() -> Self {
        let detail = "The database did not say: the write may have been applied, or may still be. \
                      A retry with If-Match is safe.";
        Self::new(Code::OutcomeUnknown, detail)
    }

    pub fn database_silent() -> Self {
        let detail = "It did not answer in time. Nothing was written.";
        Self::new(Code::DatabaseUnavailable, detail)
    }

    pub fn locked() -> Self {
        let detail = "Others have it locked, or write it. Nothing was written.";
        Self::new(Code::DatabaseUnavailable, detail)
    }

    pub fn overloaded() -> Self {
        let detail = "Too many requests wait for the database. Nothing was written.";
        Self::new(Code::Overloaded, detail)
    }

    pub fn shutting_down() -> Self {
        Self::new(Code::Overloaded, "kvd is shutting down.")
    }

    pub fn database_unavailable(detail: impl Into<String>) -> Self {
        Self::new(Code::DatabaseUnavailable, detail)
    }

    /// The error of a statement that wrote nothing.
    pub fn not_written(error: &DbErr) -> Self {
        let unavailable = |detail: &str| Self::database_unavailable(detail);
        let problem = match Failure::of(error) {
            Failure::NoConnection => {
                unavailable("No connection could be had. Nothing was written.")
            }
            Failure::Unknown => unavailable("The connection broke. Nothing was written."),
            Failure::Locked => Self::locked(),
            Failure::ReadOnly => unavailable("It is read-only. Nothing was written."),
            Failure::Cancelled => unavailable("It cancelled the statement. Nothing was written."),
            Failure::NoRoom => unavailable("It has no room left. Nothing was written."),
            Failure::RolledBack | Failure::Duplicate => {
                unavailable("It rolled the statement back. Nothing was written.")
            }
            Failure::NotMigrated => {
                unavailable("It is not migrated: run kvctl migrate. Nothing was written.")
            }
            Failure::Refused => Self::internal(),
        };
        let code = problem.code.as_str();
        request_id::log(|| match Failure::of(error) {
            // That the database is lost is said once, not for each request.
            Failure::NoConnection => tracing::debug!(%error, code, "database"),
            _ => tracing::error!(%error, code, "database"),
        });
        problem
    }
}

/// For the document.
impl Problem {
    /// A problem of this kind as a client may see it.
    pub fn example(code: Code) -> Self {
        let detail = match code {
            Code::ItemNotFound => return Self::item_not_found(),
            Code::RouteNotFound => return Self::route_not_found(),
            Code::KeyExists => return Self::key_exists(),
            Code::PreconditionFailed => {
                return Self::precondition_failed(Some(ETag { id: 17, version: 4 }));
            }
            Code::RateLimited => {
                let window = std::time::Duration::from_mins(1);
                return Self::rate_limited(Quota { limit: 60, window }, 42);
            }
            Code::Internal => return Self::internal(),
            Code::DatabaseUnavailable => return Self::database_silent(),
            Code::Overloaded => return Self::overloaded(),
            Code::OutcomeUnknown => return Self::outcome_unknown(),
            Code::MethodNotAllowed => {
                return Self::method_not_allowed(&[Method::GET, Method::HEAD]);
            }
            Code::InvalidKey => return InvalidKey::Dots.into(),
            Code::InvalidValue => return InvalidValue::Nul.into(),
            Code::ValueTooLarge => {
                let (bytes, max) = (300_000, 262_144);
                return InvalidValue::TooLarge { bytes, max }.into();
            }
            Code::InvalidRequest => "There is no query parameter \"prefx\" here.",
            Code::RequestTimeout => "It must come within 5s.",
            Code::UnsupportedMediaType => "Send it with Content-Type: application/json.",
        };
        Self::new(code, detail)
    }
}

impl From<&WriteError> for Problem {
    fn from(error: &WriteError) -> Self {
        match error {
            // Nobody waits for the answer: who abandoned the write has answered.
            WriteError::Abandoned => Self::database_silent(),
            WriteError::Contended => Self::database_unavailable(
                "Others write this key all the time. Nothing was written.",
            ),
            WriteError::NotWritten(error) => Self::not_written(error),
            WriteError::Unknown(error) => {
                let code = Code::OutcomeUnknown.as_str();
                request_id::log(|| tracing::error!(%error, code, "database"));
                Self::outcome_unknown()
            }
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
pub fn sentence(error: impl fmt::Display) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => format!("{}{}.", first.to_ascii_uppercase(), chars.as_str()),
        None => text,
    }
}

/// The document on the wire.
#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    violated_policies: Option<[&'static str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

impl Problem {
    /// The JSON text of the document.
    pub fn document(&self) -> String {
        let limited = self.code == Code::RateLimited;
        let document = Document {
            r#type: self.code.type_uri(),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: &self.detail,
            code: self.code.as_str(),
            violated_policies: limited.then_some(["default"]),
            retry_after: if limited { self.retry_after } else { None },
        };
        serde_json::to_string(&document).expect("a struct of texts and numbers is JSON")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::builder()
            .status(self.code.status())
            .content_type(MEDIA_TYPE)
            .body(self.document());
        let headers = response.headers_mut();
        let mut set = |name, value: Option<String>| {
            if let Some(value) = value.and_then(|text| HeaderValue::try_from(text).ok()) {
                headers.insert(name, value);
            }
        };
        set(header::ETAG, self.etag.map(|tag| format!("\"{tag}\"")));
        set(header::ALLOW, self.allow);
        set(header::RETRY_AFTER, self.retry_after.map(|s| s.to_string()));
        if self.code == Code::RateLimited {
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
