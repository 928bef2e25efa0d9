//! The id of a request: in the answer, and in every line that the log has about it.
//!
//! The id stays with the request's task, and the span that shows it is made for the line that needs
//! it. A span around each request would cost a fortieth of the whole work, and hardly any request is
//! logged.

use std::future::Future;

use poem::http::{HeaderMap, HeaderName, HeaderValue};
use tracing::Span;
use uuid::Builder;

use super::target;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id taken over from a client, in bytes.
const MAX_ID_BYTES: usize = 128;

tokio::task_local! {
    static CURRENT: RequestId;
}

/// Visible ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The client's id of the request if it is 1 to 128 visible ASCII characters, else a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        let usable = |id: &&HeaderValue| {
            let bytes = id.as_bytes();
            (1..=MAX_ID_BYTES).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
        };
        let given = headers.get(X_REQUEST_ID).filter(usable).cloned();
        given.map_or_else(Self::default, Self)
    }

    /// The id of the request that is being answered, if there is one.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Makes it the current one while the future runs.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }

    /// Makes it the current one while the closure runs.
    pub fn in_scope<T>(self, act: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, act)
    }

    /// Writes to the log, about this request.
    pub fn log<T>(&self, write: impl FnOnce() -> T) -> T {
        self.span().in_scope(write)
    }

    fn span(&self) -> Span {
        let id = self.0.to_str().unwrap_or_default();
        // The same target as the line of each request, so that a filter lets both through.
        tracing::error_span!(target: target::REQUEST, "request", id)
    }
}

impl Default for RequestId {
    /// A new id. Ids only have to differ; they are no secrets.
    fn default() -> Self {
        let id = Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid();
        let id = id.simple().to_string();
        Self(HeaderValue::try_from(id).expect("hexadecimal digits are visible ASCII"))
    }
}

impl From<RequestId> for HeaderValue {
    fn from(RequestId(id): RequestId) -> Self {
        id
    }
}

/// Keeps the id of the current request, if there is one, in a task of its own.
pub(crate) fn within_request<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let current = RequestId::current();
    async move {
        match current {
            Some(id) => id.scope(future).await,
            None => future.await,
        }
    }
}

/// Writes to the log, about the current request if there is one.
pub(crate) fn about_request<T>(write: impl FnOnce() -> T) -> T {
    let span = CURRENT.try_with(RequestId::span);
    span.unwrap_or_else(|_| Span::none()).in_scope(write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_over_only_if_it_is_short_and_visible() {
        let taken_over = |id: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(
                X_REQUEST_ID,
                HeaderValue::from_bytes(id.as_bytes()).unwrap(),
            );
            HeaderValue::from(RequestId::of(&headers)) == id
        };
        assert!(taken_over("abc-123!"));
        assert!(taken_over(&"x".repeat(128)));
        assert!(!taken_over(&"x".repeat(129)));
        assert!(!taken_over(""));
        assert!(!taken_over("a b"));
        assert!(!taken_over("é"));
    }

    #[tokio::test]
    async fn a_task_of_its_own_keeps_it() {
        let id = RequestId::of(&HeaderMap::new());
        let current = async || {
            let task = within_request(async { RequestId::current().map(HeaderValue::from) });
            tokio::spawn(task).await.unwrap()
        };
        assert_eq!(current().await, None);
        assert_eq!(id.clone().scope(current()).await, Some(id.into()));
    }
}
