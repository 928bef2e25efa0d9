//! Many clients at once, each of which keeps what it was told.

use std::{
    future::{Future, IntoFuture},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::{AbortHandle, JoinSet},
    time::sleep,
};

use crate::{
    answer::Answer,
    client::Call,
    pace::{PATIENCE, Progress, Stopwatch, timeout},
};

/// What a client was told, and when.
#[derive(Debug)]
pub struct Told {
    pub asked: String,
    /// `None` if no answer came, or not all of it.
    pub answer: Option<Answer>,
    /// At the machine's pace: for what it must not exceed.
    pub taken: Duration,
    /// By the clock: for what it must not fall short of.
    pub waited: Duration,
}

impl Told {
    /// The status; 0 without an answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.answer.as_ref().map_or(0, |answer| answer.status)
    }

    /// A success, so that the write is committed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.status(), 200..=299)
    }

    /// Holds it to the failure contract: one of these statuses, or a complete 503, in this time.
    ///
    /// # Panics
    ///
    /// If it is something else.
    #[track_caller]
    pub fn expect_or_503(&self, statuses: &[u16], within: Duration) {
        assert!(
            self.taken < within,
            "{}: {} only after {:?}",
            self.asked,
            self.status(),
            self.taken
        );
        if self.status() == 503 {
            self.expect_503();
            return;
        }
        assert!(
            statuses.contains(&self.status()),
            "{}: {} instead of 503 or {statuses:?}: {:?}",
            self.asked,
            self.status(),
            self.answer
        );
    }

    /// A 503 that says why and when to come again.
    ///
    /// # Panics
    ///
    /// If it is something else.
    #[track_caller]
    pub fn expect_503(&self) {
        let answer = self.answer.as_ref();
        let answer = answer.unwrap_or_else(|| panic!("{}: no answer", self.asked));
        let code = match answer.status {
            503 => answer.member("code"),
            _ => String::new(),
        };
        let code = match code.as_str() {
            "overloaded" => "overloaded",
            _ => "database-unavailable",
        };
        answer.problem(503, code);
        let retry: Option<u64> = answer.header("retry-after").and_then(|s| s.parse().ok());
        assert!(retry.is_some_and(|s| s >= 1), "{}: Retry-After", self.asked);
    }
}

/// Sends a request and keeps what came of it.
pub async fn told(call: Call) -> Told {
    let asked = call.asked().to_owned();
    let watch = Stopwatch::start();
    let answer = call.attempt().await.ok();
    Told {
        asked,
        answer,
        taken: watch.elapsed(),
        waited: watch.wall(),
    }
}

/// Does it for each number below `count`, all at once.
pub async fn together<F, T>(count: usize, act: impl Fn(usize) -> F) -> Vec<T>
where
    F: IntoFuture<Output = T>,
    F::IntoFuture: Send + 'static,
    T: Send + 'static,
{
    let mut tasks = JoinSet::new();
    for number in 0..count {
        tasks.spawn(act(number).into_future());
    }
    tasks.join_all().await
}

/// Clients that go on until they are told to stop.
pub struct Load<T> {
    stop: Arc<AtomicBool>,
    rounds: Arc<[AtomicUsize]>,
    clients: JoinSet<Vec<T>>,
    handles: Vec<AbortHandle>,
}

impl<T: Send + 'static> Load<T> {
    /// Each of `clients` does it again and again; `act` is given the client's number and that of its round.
    pub fn start<F>(
        clients: usize,
        act: impl Fn(usize, usize) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = T> + Send + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let rounds: Arc<[AtomicUsize]> = (0..clients).map(|_| AtomicUsize::new(0)).collect();
        let (mut tasks, mut handles) = (JoinSet::new(), Vec::new());
        for client in 0..clients {
            let (act, stop, rounds) = (act.clone(), Arc::clone(&stop), Arc::clone(&rounds));
            let handle = tasks.spawn(async move {
                let mut all = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    all.push(act(client, all.len()).await);
                    rounds[client].fetch_add(1, Ordering::SeqCst);
                }
                all
            });
            handles.push(handle);
        }
        Self {
            stop,
            rounds,
            clients: tasks,
            handles,
        }
    }

    /// Waits until every client has ended `rounds` more than it has by now; the first of them may have begun before.
    ///
    /// # Panics
    ///
    /// If they do not get there, or one has failed.
    pub async fn go_on(&self, rounds: usize) {
        let now = || self.rounds.iter().map(|n| n.load(Ordering::SeqCst));
        let goal: Vec<usize> = now().map(|n| n + rounds).collect();
        let mut progress = Progress::new("each client has its answers");
        while now().zip(&goal).any(|(n, goal)| n < *goal) {
            progress.at(now().sum());
            let failed = self.handles.iter().any(AbortHandle::is_finished);
            assert!(!failed, "a client has failed");
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Lets each client end its round; what all of them kept.
    ///
    /// # Panics
    ///
    /// If one has failed, or does not end.
    pub async fn stop(self) -> Vec<T> {
        self.stop.store(true, Ordering::SeqCst);
        let all = timeout(PATIENCE, self.clients.join_all()).await;
        let all = all.expect("the clients end");
        all.into_iter().flatten().collect()
    }
}

/// Waits until `holds` does; how long that took at the machine's pace.
///
/// # Panics
///
/// If it never does.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) -> Duration {
    let watch = Stopwatch::start();
    while !holds().await {
        assert!(watch.elapsed() < PATIENCE, "waited in vain until {what}");
        sleep(Duration::from_millis(10)).await;
    }
    watch.elapsed()
}
