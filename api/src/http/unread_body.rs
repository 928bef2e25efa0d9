//! An answer given before the body was read still reaches the client.
//!
//! A client that is still sending when the connection closes sees a reset instead of its answer, so
//! what is left of the body is read first, within bounds.

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
    http::{HeaderValue, header},
};
use tokio::time::timeout;

/// The most that is read of a body that no handler wants.
const MAX_BYTES: usize = 2 * 1024 * 1024;
/// The longest time spent on it.
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
        let expects_continue = request.headers().contains_key(header::EXPECT);
        let (give_back, given_back) = mpsc::channel();
        request.set_body(BoxBody::new(ReturnedBody {
            body: Some(body),
            polled: false,
            give_back,
        }));
        let mut response = self.inner.call(request).await?;
        let Ok((body, polled)) = given_back.try_recv() else {
            return Ok(response);
        };
        // A client that waits for "100 Continue" has not sent the body, and reading would ask for it.
        if (polled || !expects_continue) && !drained(body).await {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        Ok(response)
    }
}

/// Whether the body was read to its end.
async fn drained(mut body: RequestBody) -> bool {
    let read = async {
        let mut left = MAX_BYTES;
        while let Some(frame) = body.frame().await {
            let bytes = frame.ok().and_then(|frame| frame.into_data().ok());
            let length = bytes.map_or(0, |bytes| bytes.len());
            left = match left.checked_sub(length) {
                Some(left) => left,
                None => return false,
            };
        }
        true
    };
    timeout(MAX_TIME, read).await.unwrap_or(false)
}

/// A body that is given back when it is dropped, and with it whether it was ever polled.
struct ReturnedBody {
    body: Option<RequestBody>,
    polled: bool,
    give_back: mpsc::Sender<(RequestBody, bool)>,
}

impl Body for ReturnedBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.polled = true;
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
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
            && !body.is_end_stream()
        {
            // If the client is gone, no middleware takes it back.
            let _ = self.give_back.send((body, self.polled));
        }
    }
}
