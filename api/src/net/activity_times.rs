//! What is known of a connection: what it does, since when, and what follows from it.

use std::time::Duration;

use tokio::time::Instant;

/// A request head must be complete this long after its first byte, or after the connection opened.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// A connection without a request is kept this long.
const IDLE_TIME: Duration = Duration::from_secs(75);
/// An answer must be taken within this time …
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(30);
/// … and a second more for each of these bytes.
pub(super) const BYTES_A_SECOND: u64 = 256 * 1024;
/// What a client still sends to a connection that ends is read for this long.
pub(super) const DRAINING_TIME: Duration = Duration::from_secs(1);
/// A body has stopped when nothing of it came for this long …
pub(super) const BODY_STOPS: Duration = Duration::from_millis(100);
/// … or when it is still not all there after this.
pub(super) const BODY_TIME: Duration = Duration::from_secs(1);
/// An answer has stopped when nothing of it was taken for this long.
pub(super) const ANSWER_STOPS: Duration = Duration::from_millis(500);

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionState {
    /// The rest of a request head.
    Head,
    /// Our answer, which has limits of its own.
    Answering,
    /// The next request.
    Idle,
    /// The end of what the client sends. The last answer has been sent.
    Draining,
}

/// How a connection is of no use to its client, and since when. The lesser one makes room first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unused {
    /// Between two requests.
    Idle(Instant),
    /// After its last answer.
    Draining(Instant),
    /// Its request head is not complete.
    HalfOpen(Instant),
    /// The body of its request does not come, or its answer is not taken.
    Stopped(Instant),
}

pub(super) struct ActivityTimes {
    pub(super) state: ConnectionState,
    pub(super) since: Instant,
    /// The server wants the connection to end, because it was unused in this way.
    pub(super) dismissed: Option<Unused>,
    /// The client takes nothing of what we have to send.
    pub(super) blocked: bool,
    /// Of the request's body nothing has come since it was last asked for …
    pub(super) starved: bool,
    /// … and this is when more of it was first awaited.
    pub(super) body_awaited: Option<Instant>,
    /// The request is on the list of those that may be given up, as its client may be gone.
    pub(super) may_be_given_up: bool,
    /// The request is no longer answered, because others wait.
    pub(super) given_up: bool,
    /// The answer to the request is there.
    pub(super) has_answer: bool,
    /// When the first bytes of the answer were ready for the client.
    pub(super) answer_begun: Option<Instant>,
    /// How long the client may take over the answer.
    pub(super) answer_time: Duration,
    pub(super) had_request: bool,
    /// The client has closed its sending side.
    pub(super) half_closed: bool,
    /// What the client still sends after the answer is not wanted.
    pub(super) drains: bool,
}

impl ActivityTimes {
    pub(super) fn awaits_answer(&self) -> bool {
        self.state == ConnectionState::Answering && !self.has_answer
    }

    /// `None` if the connection is in use.
    pub(super) fn unused(&self, now: Instant) -> Option<Unused> {
        let is_stuck = || now.saturating_duration_since(self.since) >= ANSWER_STOPS;
        match self.state {
            // Its last answer is still on its way.
            _ if self.blocked => is_stuck().then_some(Unused::Stopped(self.since)),
            ConnectionState::Answering => self.stopped_body(now).map(Unused::Stopped),
            ConnectionState::Idle => Some(Unused::Idle(self.since)),
            ConnectionState::Draining => Some(Unused::Draining(self.since)),
            ConnectionState::Head => Some(Unused::HalfOpen(self.since)),
        }
    }

    /// Since when the body of the request is awaited, if it has stopped.
    fn stopped_body(&self, now: Instant) -> Option<Instant> {
        let awaited = self.body_awaited.filter(|_| self.starved)?;
        let lasts = |since| now.saturating_duration_since(since);
        let stops = lasts(self.since) >= BODY_STOPS || lasts(awaited) >= BODY_TIME;
        stops.then_some(awaited)
    }

    /// Until when the client may keep the connection waiting.
    pub(super) fn deadline(&self) -> Instant {
        match (self.state, self.answer_begun) {
            (ConnectionState::Draining, _) => self.since + DRAINING_TIME,
            (_, Some(begun)) if self.blocked => begun + self.answer_time,
            (ConnectionState::Head, _) => self.since + HEAD_TIME,
            (ConnectionState::Idle, _) => self.since + IDLE_TIME,
            // Far away: every answer has a deadline of its own.
            (ConnectionState::Answering, _) => self.since + Duration::from_hours(24),
        }
    }
}

impl Default for ActivityTimes {
    /// Those of a new connection.
    fn default() -> Self {
        Self {
            state: ConnectionState::Head,
            since: Instant::now(),
            dismissed: None,
            blocked: false,
            starved: false,
            body_awaited: None,
            may_be_given_up: false,
            given_up: false,
            has_answer: false,
            answer_begun: None,
            answer_time: ANSWER_TIME,
            had_request: false,
            half_closed: false,
            drains: false,
        }
    }
}

/// How long a client may take over an answer of this length.
pub(super) fn answer_time(bytes: u64) -> Duration {
    ANSWER_TIME + Duration::from_secs(bytes.div_ceil(BYTES_A_SECOND))
}
