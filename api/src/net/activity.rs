//! What a connection is doing, and until when its client may keep it waiting.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// A request head must be complete this long after its first byte, or after the connection opened.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// A connection without a request is kept this long, and so is one whose client does not read.
const IDLE_TIME: Duration = Duration::from_secs(75);
/// A connection that has not sent anything for longer may be dismissed for the sake of others.
const SILENT_TIME: Duration = Duration::from_secs(1);

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionState {
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
pub(super) struct Activity(Arc<SharedActivity>);

struct SharedActivity {
    times: Mutex<ActivityTimes>,
    dismissed: Notify,
}

struct ActivityTimes {
    state: ConnectionState,
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

impl Default for Activity {
    fn default() -> Self {
        Self(Arc::new(SharedActivity {
            times: Mutex::new(ActivityTimes {
                state: ConnectionState::Head,
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

impl Activity {
    /// Since when the connection has been of no use to its client: between two requests, or for a second
    /// and more before the first byte. `None` if it is in use, or dismissed already.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.times(|times| {
            let silent = !times.begun && times.since.elapsed() > SILENT_TIME;
            let idle = times.state == ConnectionState::Idle || silent;
            (idle && !times.dismissed).then_some(times.since)
        })
    }

    /// Ends the connection, unless a request has just come: then after its answer.
    pub(super) fn dismiss(&self) {
        self.times(|times| times.dismissed = true);
        self.0.dismissed.notify_one();
    }

    pub(super) async fn dismissed(&self) {
        self.0.dismissed.notified().await;
    }

    fn times<T>(&self, act: impl FnOnce(&mut ActivityTimes) -> T) -> T {
        act(&mut self.0.times.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The head of a request is complete; with `complete` all of it, for want of a body.
    pub(super) fn request_came(&self, complete: bool) {
        self.times(|times| {
            times.state = ConnectionState::Answering;
            times.had_request = true;
            times.complete = complete;
            times.next_begun = false;
        });
    }

    /// The whole answer is with hyper, though perhaps not yet with the client.
    pub(super) fn answered(&self) {
        self.times(|times| {
            times.state = if times.next_begun {
                ConnectionState::Head
            } else {
                ConnectionState::Idle
            };
            times.since = Instant::now();
        });
    }

    /// Bytes came from the client.
    pub(super) fn received(&self) {
        self.times(|times| {
            times.begun = true;
            match times.state {
                ConnectionState::Idle => {
                    times.state = ConnectionState::Head;
                    times.since = Instant::now();
                }
                ConnectionState::Answering => times.next_begun |= times.complete,
                ConnectionState::Head => {}
            }
        });
    }

    /// The client took some of what we have to send, or nothing.
    pub(super) fn sent(&self, some: bool) {
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

    pub(super) fn has_begun(&self) -> bool {
        self.times(|times| times.begun)
    }

    pub(super) fn had_request(&self) -> bool {
        self.times(|times| times.had_request)
    }

    pub(super) fn deadline(&self) -> Instant {
        self.times(|times| match (times.blocked, times.state) {
            (Some(blocked), _) => blocked + IDLE_TIME,
            (None, ConnectionState::Head) => times.since + HEAD_TIME,
            (None, ConnectionState::Idle) => times.since + IDLE_TIME,
            // Far away: every answer has a deadline of its own.
            (None, ConnectionState::Answering) => times.since + Duration::from_hours(24),
        })
    }
}
