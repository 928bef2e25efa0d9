//! What a connection is doing, and until when its client may keep it waiting.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::Context,
};

use futures_util::task::AtomicWaker;
use tokio::{sync::Notify, time::Instant};

use super::activity_times::{ActivityTimes, ConnectionState, Unused, answer_time};

/// The state of a connection and since when. It is shared by its socket, its service and its bodies, which run in
/// the connection's one task, and by those that have connections end.
#[derive(Clone)]
pub(super) struct Activity(Arc<SharedActivity>);

struct SharedActivity {
    times: Mutex<ActivityTimes>,
    dismissed: Notify,
    /// The task that answers the request, which learns from it that the request is given up.
    answering: AtomicWaker,
}

impl Default for Activity {
    fn default() -> Self {
        Self(Arc::new(SharedActivity {
            times: Mutex::default(),
            dismissed: Notify::new(),
            answering: AtomicWaker::new(),
        }))
    }
}

impl Activity {
    fn times<T>(&self, act: impl FnOnce(&mut ActivityTimes) -> T) -> T {
        act(&mut self.0.times.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the connection is still unused as it was when it was dismissed.
    pub(super) fn is_still_unused(&self) -> bool {
        let now = Instant::now();
        self.times(|times| times.dismissed.is_some() && times.unused(now) == times.dismissed)
    }

    /// `None` if the connection is in use, or to end already.
    pub(super) fn could_be_dismissed(&self) -> Option<Unused> {
        let now = Instant::now();
        self.times(|times| times.unused(now).filter(|_| times.dismissed.is_none()))
    }

    /// Ends the connection if it is unused as it was; says whether it was. If a request comes just now, the
    /// connection ends after its answer.
    pub(super) fn dismiss(&self, unused: Unused) -> bool {
        let now = Instant::now();
        let dismissed = self.times(|times| {
            let as_it_was = times.dismissed.is_none() && times.unused(now) == Some(unused);
            if as_it_was {
                times.dismissed = Some(unused);
            }
            as_it_was
        });
        if dismissed {
            self.0.dismissed.notify_one();
        }
        dismissed
    }

    pub(super) async fn dismissed(&self) {
        self.0.dismissed.notified().await;
    }

    /// The head of a request is complete.
    pub(super) fn request_came(&self) {
        self.times(|times| {
            times.state = ConnectionState::Answering;
            times.had_request = true;
            times.has_answer = false;
        });
    }

    /// Whether the request has no answer yet.
    pub(super) fn awaits_answer(&self) -> bool {
        self.times(|times| times.awaits_answer())
    }

    /// The request enters the list of those that may be given up.
    pub(super) fn enters_list(&self) {
        self.times(|times| times.may_be_given_up = times.awaits_answer());
    }

    /// Whether the request that was listed still waits for its answer.
    pub(super) fn may_be_given_up(&self) -> bool {
        self.times(|times| times.may_be_given_up)
    }

    /// The connection is over.
    pub(super) fn ends(&self) {
        self.times(|times| times.may_be_given_up = false);
    }

    /// Gives the listed request up.
    pub(super) fn give_up(&self) {
        self.times(|times| times.given_up |= times.may_be_given_up);
        self.0.answering.wake();
    }

    /// Whether the request is given up; if not, this task is woken when it is.
    pub(super) fn is_given_up(&self, context: &Context<'_>) -> bool {
        self.0.answering.register(context.waker());
        self.times(|times| times.given_up)
    }

    /// The answer is there. It `drains` if the connection ends with it while the client may be sending still.
    pub(super) fn answer_begins(&self, bytes: u64, drains: bool) {
        self.times(|times| {
            times.has_answer = true;
            times.starved = false;
            times.body_awaited = None;
            times.may_be_given_up = false;
            times.given_up = false;
            times.answer_begun = None;
            times.answer_time = answer_time(bytes);
            times.drains |= drains;
        });
    }

    /// The whole answer is with hyper, though perhaps not yet with the client.
    pub(super) fn answered(&self) {
        self.times(|times| {
            times.state = ConnectionState::Idle;
            times.since = Instant::now();
        });
    }

    /// Bytes came from the client.
    pub(super) fn received(&self) {
        self.times(|times| match times.state {
            ConnectionState::Idle => {
                times.state = ConnectionState::Head;
                times.since = Instant::now();
            }
            ConnectionState::Answering if times.starved => {
                times.starved = false;
                times.since = Instant::now();
            }
            ConnectionState::Head | ConnectionState::Answering | ConnectionState::Draining => {}
        });
    }

    /// More was to be read than has come.
    pub(super) fn waits_for_input(&self) {
        self.times(|times| {
            // Between two requests that is the next one, and while one waits for its answer its body.
            if times.awaits_answer() {
                times.starved = true;
                if times.body_awaited.is_none() {
                    times.since = Instant::now();
                    times.body_awaited = Some(times.since);
                }
            }
        });
    }

    /// The client has closed its sending side; says whether that is new.
    pub(super) fn half_closes(&self) -> bool {
        self.times(|times| !std::mem::replace(&mut times.half_closed, true))
    }

    pub(super) fn is_half_closed(&self) -> bool {
        self.times(|times| times.half_closed)
    }

    /// The client took some of what we have to send, or nothing.
    pub(super) fn sent(&self, some: bool) {
        let now = Instant::now();
        self.times(|times| {
            times.answer_begun.get_or_insert(now);
            times.blocked = !some;
            if some {
                // While it is busy with an answer it need not hurry with the next request.
                times.since = now;
            }
        });
    }

    /// The answer to a head that cannot be read is about to be sent.
    pub(super) fn refuses(&self) {
        self.answer_begins(0, true);
    }

    /// What the client still sends is to be read when the last answer has been sent.
    pub(super) fn will_drain(&self) {
        self.times(|times| times.drains = true);
    }

    /// The last answer has been sent. Whether what the client still sends is to be read.
    pub(super) fn drains(&self) -> bool {
        self.times(|times| {
            if times.drains {
                times.state = ConnectionState::Draining;
                times.since = Instant::now();
            }
            times.drains
        })
    }

    /// Whether the next request is awaited.
    pub(super) fn is_idle(&self) -> bool {
        self.times(|times| times.state == ConnectionState::Idle)
    }

    pub(super) fn had_request(&self) -> bool {
        self.times(|times| times.had_request)
    }

    pub(super) fn deadline(&self) -> Instant {
        self.times(|times| times.deadline())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::activity_times::{
        ANSWER_STOPS, ANSWER_TIME, BODY_STOPS, BODY_TIME, BYTES_A_SECOND,
    };

    /// An answer of this many bytes that the client does not take.
    fn blocked(bytes: u64) -> Activity {
        let activity = Activity::default();
        activity.request_came();
        activity.answer_begins(bytes, false);
        activity.sent(true);
        activity.answered();
        activity.sent(false);
        activity
    }

    #[test]
    fn the_time_of_an_answer_is_for_the_whole_of_it() {
        let before = Instant::now();
        let activity = blocked(10 * BYTES_A_SECOND);
        let end = activity.deadline();
        assert!(end >= before + Duration::from_secs(40));
        activity.sent(true);
        activity.sent(false);
        assert_eq!(activity.deadline(), end, "a byte buys no time");
    }

    #[test]
    fn the_next_answer_has_its_own_time() {
        let activity = blocked(1);
        activity.sent(true);
        let between = Instant::now();
        activity.received();
        activity.request_came();
        activity.answer_begins(0, false);
        activity.sent(false);
        let times = between + ANSWER_TIME..=Instant::now() + ANSWER_TIME;
        assert!(times.contains(&activity.deadline()));
    }

    /// How it is unused this much later.
    fn unused(activity: &Activity, later: Duration) -> Option<Unused> {
        activity.times(|times| times.unused(Instant::now() + later))
    }

    #[test]
    fn an_answer_stops_when_nothing_of_it_is_taken_for_a_while() {
        let activity = blocked(1);
        assert_eq!(unused(&activity, ANSWER_STOPS / 2), None, "it is in use");
        let stopped = unused(&activity, ANSWER_STOPS);
        assert!(matches!(stopped, Some(Unused::Stopped(_))));
        activity.sent(true);
        let idle = unused(&activity, ANSWER_STOPS);
        assert!(matches!(idle, Some(Unused::Idle(_))));
    }

    #[test]
    fn a_body_stops_when_nothing_of_it_comes_for_a_while() {
        let activity = Activity::default();
        // The time of the head is not that of the body.
        activity.times(|times| times.since -= Duration::from_secs(5));
        activity.request_came();
        activity.waits_for_input();
        assert_eq!(unused(&activity, BODY_STOPS / 2), None, "it moves");
        let stopped = unused(&activity, BODY_STOPS);
        assert!(matches!(stopped, Some(Unused::Stopped(_))));
        activity.received();
        assert_eq!(unused(&activity, BODY_STOPS), None, "it may be all");
        activity.waits_for_input();
        assert_eq!(
            unused(&activity, BODY_STOPS),
            stopped,
            "since it was first awaited"
        );
        activity.answer_begins(0, true);
        activity.waits_for_input();
        assert_eq!(
            unused(&activity, BODY_STOPS),
            None,
            "the rest is not wanted"
        );
    }

    #[test]
    fn a_byte_now_and_then_buys_a_body_no_time() {
        let activity = Activity::default();
        activity.request_came();
        activity.waits_for_input();
        activity.times(|times| times.since += BODY_TIME);
        assert_eq!(unused(&activity, BODY_TIME / 2), None);
        assert!(unused(&activity, BODY_TIME).is_some());
    }

    #[test]
    fn only_a_connection_that_is_unused_as_it_was_is_dismissed() {
        let activity = Activity::default();
        let half_open = unused(&activity, Duration::ZERO).unwrap();
        activity.request_came();
        assert!(!activity.dismiss(half_open), "its request came");
        activity.answered();
        let idle = unused(&activity, Duration::ZERO).unwrap();
        assert!(activity.dismiss(idle) && activity.is_still_unused());
        assert!(!activity.dismiss(idle), "only once");
        assert_eq!(activity.could_be_dismissed(), None);
        activity.request_came();
        assert!(!activity.is_still_unused(), "it ends after the answer");
    }
}
