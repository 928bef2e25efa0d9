//! One client connection, HTTP/1.1, with limits on how long the client may keep it waiting.
//!
//! hyper's own `header_read_timeout` also runs while a connection is idle, so one limit would serve
//! for both. Here the connection has a state, and each state its own deadline.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
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
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

use crate::server::Phase;

/// A request head must be complete this long after its first byte, or after the connection opened.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// A connection without a request is kept this long, and so is one whose client does not read.
const IDLE_TIME: Duration = Duration::from_secs(75);
/// A connection that has not sent anything for so long may be dismissed for the sake of others.
const SILENT_TIME: Duration = Duration::from_secs(1);
/// Head and body of an answer that is not longer, in bytes, are sent as one piece: to copy so much
/// takes less than to tell the kernel of two.
const JOINED: usize = 1024;
/// The longest request head, in bytes; longer ones are answered 431.
const MAX_HEAD_BYTES: usize = 64 * 1024;

type AnswerBody = BoxBody<Bytes, io::Error>;

/// Serves one connection to its end. `pace` is new.
pub async fn serve<F, A>(
    stream: TcpStream,
    answer: F,
    mut phase: watch::Receiver<Phase>,
    pace: Pace,
) where
    F: Fn(Request<Incoming>) -> A,
    A: Future<Output = Response<AnswerBody>>,
{
    let stream = Paced {
        stream,
        pace: pace.clone(),
    };
    let service = service_fn(|request: Request<Incoming>| {
        pace.request_came(request.body().is_end_stream());
        let (answer, pace) = (answer(request), pace.clone());
        async move { Ok::<_, Infallible>(answer.await.map(|body| PacedBody { body, pace })) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut timer = pin!(sleep_until(pace.deadline()));
    let mut closing = pin!(phase.wait_for(|phase| *phase == Phase::Closing));
    let mut dismissed = pin!(pace.dismissed());
    let (mut is_closing, mut told) = (false, false);
    poll_fn(|context| {
        // First, so that a request which has arrived is read before the connection is told to end.
        // Errors are the client's: it hung up, or sent what is no HTTP. hyper answered what it could.
        if connection.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        is_closing = is_closing || closing.as_mut().poll(context).is_ready();
        if !is_closing && dismissed.as_mut().poll(context).is_ready() {
            if !pace.has_begun() {
                return Poll::Ready(());
            }
            is_closing = true;
        }
        // Who has just connected believes to be served: its first request is waited for.
        if is_closing && !told && pace.had_request() {
            told = true;
            connection.as_mut().graceful_shutdown();
            if connection.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
        }
        // The timer is set anew only to go off earlier, or when it went off too early: nearly every
        // request puts the deadline off, and none has to pay for that.
        let deadline = pace.deadline();
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
    })
    .await;
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The rest of a request head.
    Head,
    /// Our answer, which has limits of its own.
    Answering,
    /// The next request.
    Idle,
}

/// The state of a connection and since when; shared by its socket, its service and its bodies,
/// which all run in the connection's one task.
#[derive(Clone)]
pub struct Pace(Arc<Shared>);

struct Shared {
    times: Mutex<Times>,
    dismissed: Notify,
}

struct Times {
    state: State,
    /// The first byte has come.
    begun: bool,
    /// The server wants the connection to end.
    dismissed: bool,
    since: Instant,
    /// Since when the client has taken nothing of what we have to send.
    blocked: Option<Instant>,
    had_request: bool,
    /// The request being answered is complete, so what comes now belongs to the next one.
    complete: bool,
    /// Something of the next request has come already.
    next_begun: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self(Arc::new(Shared {
            times: Mutex::new(Times {
                state: State::Head,
                begun: false,
                dismissed: false,
                since: Instant::now(),
                blocked: None,
                had_request: false,
                complete: false,
                next_begun: false,
            }),
            dismissed: Notify::new(),
        }))
    }
}

impl Pace {
    /// Since when the connection is of no use to its client: between two requests, or for a second
    /// and more before the first byte. `None` if it is, or if it is dismissed already.
    pub fn idle_since(&self) -> Option<Instant> {
        self.times(|times| {
            let silent = !times.begun && times.since.elapsed() > SILENT_TIME;
            let idle = times.state == State::Idle || silent;
            (idle && !times.dismissed).then_some(times.since)
        })
    }

    /// Ends the connection, unless a request has just come: then after its answer.
    pub fn dismiss(&self) {
        self.times(|times| times.dismissed = true);
        self.0.dismissed.notify_one();
    }

    async fn dismissed(&self) {
        self.0.dismissed.notified().await;
    }

    fn times<T>(&self, use_them: impl FnOnce(&mut Times) -> T) -> T {
        use_them(&mut self.0.times.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The head of a request is complete; with `complete` all of it, for want of a body.
    fn request_came(&self, complete: bool) {
        self.times(|times| {
            times.state = State::Answering;
            times.had_request = true;
            times.complete = complete;
            times.next_begun = false;
        });
    }

    /// The whole answer is with hyper, though perhaps not yet with the client.
    fn answered(&self) {
        self.times(|times| {
            times.state = if times.next_begun {
                State::Head
            } else {
                State::Idle
            };
            times.since = Instant::now();
        });
    }

    /// Bytes came from the client.
    fn received(&self) {
        self.times(|times| {
            times.begun = true;
            match times.state {
                State::Idle => {
                    times.state = State::Head;
                    times.since = Instant::now();
                }
                State::Answering => times.next_begun |= times.complete,
                State::Head => {}
            }
        });
    }

    /// The client took some of what we have to send, or nothing.
    fn sent(&self, some: bool) {
        let now = Instant::now();
        self.times(|times| {
            if some {
                times.blocked = None;
                // While it is busy with an answer it need not hurry with the next request.
                times.since = now;
            } else {
                times.blocked.get_or_insert(now);
            }
        });
    }

    fn has_begun(&self) -> bool {
        self.times(|times| times.begun)
    }

    fn had_request(&self) -> bool {
        self.times(|times| times.had_request)
    }

    fn deadline(&self) -> Instant {
        self.times(|times| match (times.blocked, times.state) {
            (Some(blocked), _) => blocked + IDLE_TIME,
            (None, State::Head) => times.since + HEAD_TIME,
            (None, State::Idle) => times.since + IDLE_TIME,
            // Far away: every answer has a deadline of its own.
            (None, State::Answering) => times.since + Duration::from_hours(24),
        })
    }
}

/// A socket that keeps the pace.
struct Paced {
    stream: TcpStream,
    pace: Pace,
}

impl AsyncRead for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.pace.received();
        }
        polled
    }
}

impl AsyncWrite for Paced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.pace.sent(polled.is_ready());
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
        self.pace.sent(polled.is_ready());
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
struct PacedBody {
    body: AnswerBody,
    pace: Pace,
}

impl Body for PacedBody {
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

impl Drop for PacedBody {
    fn drop(&mut self) {
        self.pace.answered();
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
