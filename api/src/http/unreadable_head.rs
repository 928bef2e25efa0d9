//! The answer to a request whose head cannot be read: 400, 414 or 431.

use bytes::Bytes;
use hyper::Response;
use poem::http::{HeaderValue, StatusCode, header};

use super::{
    problem::{MEDIA_TYPE, Problem},
    problem_code::phrase,
};
use crate::telemetry::{RequestId, X_REQUEST_ID, target};

/// A problem document, with an id that the log has too. It has the code of a request that is not valid, whatever
/// the status.
pub(crate) fn unreadable_head(status: StatusCode) -> Response<Bytes> {
    let id = RequestId::default();
    id.log(|| {
        let status = status.as_u16();
        tracing::debug!(target: target::REQUEST, status, "the head of a request cannot be read");
    });
    let mut document = Problem::invalid(detail(status)).document();
    document.status = status.as_u16();
    phrase(status).clone_into(&mut document.title);
    let text = serde_json::to_vec(&document);
    let text = text.expect("a struct of texts and numbers is JSON");
    let mut answer = Response::new(text.into());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::CONTENT_TYPE, MEDIA_TYPE);
    set(header::CACHE_CONTROL, "no-store");
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    headers.insert(X_REQUEST_ID, id.into());
    answer
}

fn detail(status: StatusCode) -> &'static str {
    match status {
        StatusCode::URI_TOO_LONG => "The request target is too long.",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            "The head of a request has about 64 KiB and 100 fields at most."
        }
        _ => "The head of the request breaks the rules of RFC 9112.",
    }
}
