//! An answer given before the body was read still reaches the client.
//!
//! A client that is still sending when the connection closes sees a reset instead of its answer, so
//! what is left of the body is read first, within bounds. If that is not all of it, the answer says that the
//! connection closes, and the connection reads on for a while after the answer.

use std::{
    pin::Pin,
    sync::mpsc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, combinators::BoxBody};
use hyper::body::{Body, Frame, SizeHint};
use poem::{
    Endpoint, Request, Response, Result,
    http::{HeaderValue, Version, header},
};
use tokio::time::timeout;

/// The most that is read of a body that no handler wants.
const MAX_BYTES: usize = 2 * 1024 * 1024;
/// The longest time for which it is read.
const MAX_TIME: Duration = Duration::from_secs(1);

type RequestBody = BoxBody<Bytes, std::io::Error>;

/// Reads what a handler left of the body.
pub(crate) struct UnreadBody<E> {
    pub inner: E,
}

impl<E: Endpoint<Output = Response>> Endpoint for UnreadBody<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let body: RequestBody = request.take_body().into();
        if body.is_end_stream() {
            return self.inner.call(request).await;
        }
        let expects_continue = expects_continue(&request);
        let (give_back, given_back) = mpsc::channel();
        request.set_body(BoxBody::new(ReturnedBody {
            body: Some(body),
            polled: false,
            failed: false,
            give_back,
        }));
        let mut response = self.inner.call(request).await?;
        let Ok(unread) = given_back.try_recv() else {
            return Ok(response);
        };
        // A client that waits for "100 Continue" has not sent the body, and reading would ask for it.
        let waits = expects_continue && !unread.polled;
        if waits || unread.failed || !drained(unread.body).await {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        Ok(response)
    }
}

/// Whether hyper answers "100 Continue" as soon as the body is read (RFC 9110, 10.1.1).
fn expects_continue(request: &Request) -> bool {
    let mut expected = request.headers().get_all(header::EXPECT).iter();
    request.version() > Version::HTTP_10
        && expected.any(|line| line.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// What a handler left of a body, and whether it read any of it.
struct Unread {
    body: RequestBody,
    polled: bool,
    /// It ended before its end.
    failed: bool,
}

/// Whether the body was read to its end. If it is known to be too long, nothing is read.
async fn drained(mut body: RequestBody) -> bool {
    if body.size_hint().lower() > MAX_BYTES as u64 {
        return false;
    }
    let read = async {
        let mut left = MAX_BYTES;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                return false;
            };
            let length = frame.data_ref().map_or(0, Bytes::len);
            left = match left.checked_sub(length) {
                Some(left) => left,
                None => return false,
            };
        }
        true
    };
    timeout(MAX_TIME, read).await.unwrap_or(false)
}

/// A body that is given back when it is dropped.
struct ReturnedBody {
    body: Option<RequestBody>,
    polled: bool,
    failed: bool,
    give_back: mpsc::Sender<Unread>,
}

impl Body for ReturnedBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.polled = true;
        let polled = match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        };
        self.failed |= matches!(polled, Poll::Ready(Some(Err(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for ReturnedBody {
    fn drop(&mut self) {
        if let Some(body) = self.body.take()
            && (self.failed || !body.is_end_stream())
        {
            // If the client is gone, no middleware takes it back.
            let _ = self.give_back.send(Unread {
                body,
                polled: self.polled,
                failed: self.failed,
            });
        }
    }
}
