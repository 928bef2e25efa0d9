//! A future that wakes itself while it is polled, polled again at once.
//!
//! The runtime would queue its task and wake another worker, which might take it. hyper wakes its own
//! connection whenever the body of a request is read, so every write would pay for that.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// How often it is polled in a row before other tasks have their turn.
const MOST_POLLS: usize = 8;

/// Not being polled, and not woken.
const RESTING: u8 = 0;
/// Being polled.
const POLLED: u8 = 1;
/// To be polled again: woken since its poll began, or since it came to rest.
const WOKEN: u8 = 2;

struct Alarm {
    state: AtomicU8,
    task: Waker,
}

impl Alarm {
    /// Begins a poll, which sees everything that was done before a wake-up.
    fn begin(&self) {
        self.state.swap(POLLED, Ordering::AcqRel);
    }

    /// Whether it was not woken since the poll began.
    fn rest(&self) -> bool {
        self.state
            .compare_exchange(POLLED, RESTING, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    /// Always writes, also if it was woken already: only so `begin` sees what this one did.
    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == RESTING {
            self.task.wake_by_ref();
        }
    }
}

/// Runs `future`, the only one of its task.
pub(super) async fn absorb_self_wakes<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut own: Option<(Arc<Alarm>, Waker)> = None;
    poll_fn(|context| {
        let (alarm, waker) = own.get_or_insert_with(|| {
            let alarm = Arc::new(Alarm {
                state: AtomicU8::new(RESTING),
                task: context.waker().clone(),
            });
            let waker = Waker::from(alarm.clone());
            (alarm, waker)
        });
        for _ in 0..MOST_POLLS {
            alarm.begin();
            let polled = future.as_mut().poll(&mut Context::from_waker(waker));
            if polled.is_ready() || alarm.rest() {
                return polled;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures_util::task::noop_waker;
    use tokio::sync::oneshot;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Wakes itself this many times, and says how often it was polled.
    fn waking_itself(times: usize) -> impl Future<Output = usize> {
        let mut polls = 0;
        poll_fn(move |context| {
            polls += 1;
            if polls > times {
                return Poll::Ready(polls);
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }

    #[test]
    fn a_future_that_wakes_itself_is_polled_again_at_once() {
        let mut future = pin!(absorb_self_wakes(waking_itself(3)));
        let polled = future
            .as_mut()
            .poll(&mut Context::from_waker(&noop_waker()));
        assert_eq!(polled, Poll::Ready(4));
    }

    #[test]
    fn others_have_their_turn() {
        let wakes = Arc::new(Wakes::default());
        let waker = wakes.clone().into();
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(absorb_self_wakes(waking_itself(MOST_POLLS)));
        assert!(future.as_mut().poll(&mut context).is_pending());
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        let polled = future.as_mut().poll(&mut context);
        assert_eq!(polled, Poll::Ready(MOST_POLLS + 1));
    }

    #[test]
    fn a_future_that_is_woken_at_rest_wakes_its_task() {
        let wakes = Arc::new(Wakes::default());
        let waker = wakes.clone().into();
        let mut context = Context::from_waker(&waker);
        let (tell, told) = oneshot::channel();
        let mut future = pin!(absorb_self_wakes(told));
        assert!(future.as_mut().poll(&mut context).is_pending());
        assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
        tell.send(7).unwrap();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert_eq!(future.as_mut().poll(&mut context), Poll::Ready(Ok(7)));
    }

    #[tokio::test]
    async fn it_gets_to_its_end_whoever_wakes_it() {
        let (tell, told) = oneshot::channel();
        let work = tokio::spawn(absorb_self_wakes(async {
            tokio::task::yield_now().await;
            told.await
        }));
        tokio::task::yield_now().await;
        tell.send(7).unwrap();
        assert_eq!(work.await.unwrap(), Ok(7));
    }
}
