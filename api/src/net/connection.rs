//! One client connection, HTTP/1.1, with limits on how long the client may keep it waiting.
//!
//! hyper's own `header_read_timeout` also runs while a connection is idle, so one limit would serve
//! for both. Here the connection has a state, and each state its own deadline.

use std::{
    convert::Infallible,
    error::Error,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::{
    Request, Response, Version,
    body::{Body, Frame, Incoming, SizeHint},
    header::{CONNECTION, HeaderMap, HeaderValue},
    server::conn::http1,
    service::{HttpService, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    sync::watch,
    time::{Instant, Sleep, sleep_until},
};

use super::{activity::Activity, phase::Phase, stream::TrackedStream};

/// About the longest request head, in bytes; longer ones are answered 431. hyper looks at it between two reads.
const MAX_HEAD_BYTES: usize = 64 * 1024;

type AnswerBody = BoxBody<Bytes, io::Error>;

/// Serves one connection to its end. `activity` is new, and the one of `stream`.
// Long: one poll function, in which the order of the steps matters.
pub(super) async fn serve<F, A>(
    stream: TrackedStream,
    answer: F,
    mut phase: watch::Receiver<Phase>,
    activity: Activity,
) where
    F: Fn(Request<Incoming>) -> A,
    A: Future<Output = Response<AnswerBody>>,
{
    let service = service_fn(|request: Request<Incoming>| {
        activity.request_came();
        let version = request.version();
        let keeps_alive = version > Version::HTTP_10 || keeps_alive(request.headers());
        let (answer, activity) = (answer(request), activity.clone());
        async move {
            let mut answer = answer.await;
            // The endpoint says so only if it has not read all of the request.
            let drains = answer.headers().contains_key(CONNECTION);
            activity.answer_begins(answer.body().size_hint().lower(), drains);
            if drains || !keeps_alive {
                say_close(&mut answer, version);
            }
            Ok::<_, Infallible>(answer.map(|body| TrackedBody { body, activity }))
        }
    });
    let mut connection = pin!(protocol().serve_connection(TokioIo::new(stream), service));
    let mut timer = pin!(sleep_until(activity.deadline()));
    let mut closing = pin!(phase.wait_for(|phase| *phase == Phase::Closing));
    let mut dismissed = pin!(activity.dismissed());
    let (mut is_closing, mut is_dismissed, mut told) = (false, false, false);
    poll_fn(|context| {
        // First, so that a request which has arrived is read before the connection is told to end.
        // Errors are the client's: it hung up, or sent what is no HTTP. It was answered if it could be.
        if connection.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        is_closing = is_closing || closing.as_mut().poll(context).is_ready();
        if !is_dismissed && dismissed.as_mut().poll(context).is_ready() {
            (is_dismissed, is_closing) = (true, true);
            if activity.is_still_unused() {
                return end_idle(connection.as_mut(), &activity, context);
            }
        }
        // A client that has just connected believes that it is served: its first request is waited for.
        if is_closing && !told && activity.had_request() {
            told = true;
            connection.as_mut().graceful_shutdown();
            if connection.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
        }
        ready!(poll_deadline(timer.as_mut(), activity.deadline(), context));
        end_idle(connection.as_mut(), &activity, context)
    })
    .await;
}

/// Ends a connection whose time is over. If it is idle its client is told so, as TLS wants it.
fn end_idle<S: HttpService<Incoming>>(
    mut connection: Pin<&mut http1::Connection<TokioIo<TrackedStream>, S>>,
    activity: &Activity,
    context: &mut Context<'_>,
) -> Poll<()>
where
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::ResBody: Body + 'static,
    <S::ResBody as Body>::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if activity.is_idle() {
        connection.as_mut().graceful_shutdown();
        // What it has to say is with the kernel, or the client takes nothing: neither is waited for.
        let _ = connection.poll(context);
    }
    Poll::Ready(())
}

/// HTTP/1.1 without hyper's own deadlines. The end of a client's input is not the end of the client.
fn protocol() -> http1::Builder {
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .half_close(true)
        .max_buf_size(MAX_HEAD_BYTES);
    protocol
}

/// Whether a client of HTTP/1.0 wants to send more requests. Of two that contradict each other `close` wins (RFC
/// 9112, 9.3).
fn keeps_alive(headers: &HeaderMap) -> bool {
    let says = |wanted: &[u8]| {
        let lines = headers.get_all(CONNECTION).iter();
        let mut options = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(wanted))
    };
    says(b"keep-alive") && !says(b"close")
}

/// An answer that closes the connection says so, also to HTTP/1.0, in whose terms it is then written.
fn say_close<B>(answer: &mut Response<B>, version: Version) {
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(CONNECTION, close);
    *answer.version_mut() = version;
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
