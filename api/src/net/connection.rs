//! One client connection, HTTP/1.1, with limits on how long the client may keep it waiting.
//!
//! hyper's own `header_read_timeout` also runs while a connection is idle, so one limit would serve
//! for both. Here the connection has a state, and each state its own deadline.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
    time::{Instant, Sleep, sleep_until},
};

use super::{activity::Activity, phase::Phase};

/// Head and body of an answer of at most this many bytes are sent as one piece: copying them costs less
/// than telling the kernel of two pieces.
const JOINED: usize = 1024;
/// The longest request head, in bytes; longer ones are answered 431.
const MAX_HEAD_BYTES: usize = 64 * 1024;

type AnswerBody = BoxBody<Bytes, io::Error>;

/// Serves one connection to its end. `activity` is new.
// Long: one poll function, in which the order of the steps matters.
pub(super) async fn serve<F, A>(
    stream: TcpStream,
    answer: F,
    mut phase: watch::Receiver<Phase>,
    activity: Activity,
) where
    F: Fn(Request<Incoming>) -> A,
    A: Future<Output = Response<AnswerBody>>,
{
    let stream = TrackedStream {
        stream,
        activity: activity.clone(),
    };
    let service = service_fn(|request: Request<Incoming>| {
        activity.request_came(request.body().is_end_stream());
        let (answer, activity) = (answer(request), activity.clone());
        async move { Ok::<_, Infallible>(answer.await.map(|body| TrackedBody { body, activity })) }
    });
    let mut connection = pin!(protocol().serve_connection(TokioIo::new(stream), service));
    let mut timer = pin!(sleep_until(activity.deadline()));
    let mut closing = pin!(phase.wait_for(|phase| *phase == Phase::Closing));
    let mut dismissed = pin!(activity.dismissed());
    let (mut is_closing, mut told) = (false, false);
    poll_fn(|context| {
        // First, so that a request which has arrived is read before the connection is told to end.
        // Errors are the client's: it hung up, or sent what is no HTTP. hyper answered what it could.
        if connection.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        is_closing = is_closing || closing.as_mut().poll(context).is_ready();
        if !is_closing && dismissed.as_mut().poll(context).is_ready() {
            if !activity.has_begun() {
                return Poll::Ready(());
            }
            is_closing = true;
        }
        // A client that has just connected believes that it is served: its first request is waited for.
        if is_closing && !told && activity.had_request() {
            told = true;
            connection.as_mut().graceful_shutdown();
            if connection.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
        }
        poll_deadline(timer.as_mut(), activity.deadline(), context)
    })
    .await;
}

/// HTTP/1.1 without hyper's own deadlines.
fn protocol() -> http1::Builder {
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD_BYTES);
    protocol
}

/// Whether the deadline is over. The timer is set anew only to go off earlier, or when it went off too
/// early: nearly every request puts the deadline off, and should not pay for that.
fn poll_deadline(
    mut timer: Pin<&mut Sleep>,
    deadline: Instant,
    context: &mut Context<'_>,
) -> Poll<()> {
    if deadline < timer.deadline() {
        timer.as_mut().reset(deadline);
    }
    while timer.as_mut().poll(context).is_ready() {
        if deadline <= Instant::now() {
            return Poll::Ready(());
        }
        timer.as_mut().reset(deadline);
    }
    Poll::Pending
}

/// A socket that tells the activity what comes and goes.
struct TrackedStream {
    stream: TcpStream,
    activity: Activity,
}

impl AsyncRead for TrackedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.received();
        }
        polled
    }
}

impl AsyncWrite for TrackedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.activity.sent(polled.is_ready());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut joined = [0; JOINED];
        let stream = Pin::new(&mut self.stream);
        let polled = match join(slices, &mut joined) {
            Some(bytes) => stream.poll_write(context, bytes),
            None => stream.poll_write_vectored(context, slices),
        };
        self.activity.sent(polled.is_ready());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The slices in one, if they fit.
fn join<'a>(slices: &[io::IoSlice<'_>], into: &'a mut [u8; JOINED]) -> Option<&'a [u8]> {
    let mut end = 0;
    for slice in slices {
        let begin = end;
        end += slice.len();
        into.get_mut(begin..end)?.copy_from_slice(slice);
    }
    Some(&into[..end])
}

/// The body of an answer: once it is handed over, the connection is idle.
struct TrackedBody {
    body: AnswerBody,
    activity: Activity,
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        self.activity.answered();
    }
}

#[cfg(test)]
mod tests {
    use io::IoSlice;

    use super::*;

    #[test]
    fn slices_are_joined_in_their_order_if_they_fit() {
        let joined = |slices: &[&[u8]]| {
            let slices: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
            join(&slices, &mut [0; JOINED]).map(<[u8]>::to_vec)
        };
        assert_eq!(joined(&[b"head", b"", b"body"]).unwrap(), b"headbody");
        assert_eq!(joined(&[]).unwrap(), b"");
        assert_eq!(joined(&[b"h", &[0; JOINED - 1]]).unwrap().len(), JOINED);
        assert_eq!(joined(&[b"h", &[0; JOINED]]), None);
    }
}
