//! Time as this machine can keep it just now, so that a test fails for what kvd does and never for want of a processor.
//!
//! A thread sleeps a little and works a little, again and again, and sees how long both take. Where others have the
//! processors, they take longer than they should; by as much [`Stopwatch`] and [`timeout`] run slower than a clock.
//! On an idle machine they are a clock.

use std::{
    future::IntoFuture,
    sync::{Mutex, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_gettime};
use tokio::time::sleep;

/// Far beyond what anything here takes at the machine's pace, so that only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A probe is this much sleep …
const REST: Duration = Duration::from_millis(95);
/// … and this much work: more than what a scheduler grants at once to a thread that has slept.
const WORK: Duration = Duration::from_millis(5);

/// Time that has passed at this machine's pace.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    begun: Instant,
    paced: Duration,
}

impl Stopwatch {
    #[must_use]
    pub fn start() -> Self {
        Self {
            begun: Instant::now(),
            paced: now(),
        }
    }

    /// For what must not take longer than this.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        // The clock of the probes is a little behind, never ahead.
        now().saturating_sub(self.paced).min(self.wall())
    }

    /// For what must not take less than this: by the clock on the wall.
    #[must_use]
    pub fn wall(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// It took longer than it may.
#[derive(Debug)]
pub struct Elapsed;

/// Waits for the future, but no longer than this at the machine's pace.
///
/// # Errors
///
/// If it takes longer.
pub async fn timeout<T>(
    limit: Duration,
    future: impl IntoFuture<Output = T>,
) -> Result<T, Elapsed> {
    let watch = Stopwatch::start();
    let future = future.into_future();
    tokio::pin!(future);
    loop {
        let left = limit.saturating_sub(watch.elapsed());
        if left.is_zero() {
            return Err(Elapsed);
        }
        tokio::select! {
            biased;
            output = &mut future => return Ok(output),
            () = sleep(left) => {}
        }
    }
}

/// Whether something gets on, however slowly.
pub struct Progress {
    what: &'static str,
    last: Option<usize>,
    since: Stopwatch,
}

impl Progress {
    /// `what` should happen, again and again.
    #[must_use]
    pub fn new(what: &'static str) -> Self {
        Self {
            what,
            last: None,
            since: Stopwatch::start(),
        }
    }

    /// It has come this far.
    ///
    /// # Panics
    ///
    /// If it has been no further for [`PATIENCE`].
    #[track_caller]
    pub fn at(&mut self, now: usize) {
        if self.last != Some(now) {
            self.last = Some(now);
            self.since = Stopwatch::start();
        }
        assert!(
            self.since.elapsed() < PATIENCE,
            "waited in vain for more after {now}: {}",
            self.what
        );
    }
}

/// The clock of the probes.
struct Probes {
    /// What has passed up to the last probe.
    passed: Duration,
    /// When that was.
    at: Instant,
}

impl Probes {
    /// Between two probes it is a clock, but not beyond the time of the next probe.
    fn now(&self) -> Duration {
        self.passed + self.at.elapsed().min(REST + WORK)
    }

    /// A probe has ended whose rest and whose work took this long.
    fn add(&mut self, rest: Duration, work: Duration) {
        self.passed += advance(rest, work);
        self.at = Instant::now();
    }
}

/// How far the clock goes on with a probe: its time, divided by how much longer than it should its slower half took.
fn advance(rest: Duration, work: Duration) -> Duration {
    let slowness = |took: Duration, planned: Duration| took.as_secs_f64() / planned.as_secs_f64();
    let slowest = slowness(rest, REST).max(slowness(work, WORK)).max(1.0);
    (rest + work).div_f64(slowest)
}

fn now() -> Duration {
    let probes = probes().lock();
    probes.unwrap_or_else(PoisonError::into_inner).now()
}

/// The probes, which go on from the first use to the end of the process.
fn probes() -> &'static Mutex<Probes> {
    static PROBES: OnceLock<&'static Mutex<Probes>> = OnceLock::new();
    PROBES.get_or_init(|| {
        let probes: &'static Mutex<Probes> = Box::leak(Box::new(Mutex::new(Probes {
            passed: Duration::ZERO,
            at: Instant::now(),
        })));
        thread::spawn(move || {
            loop {
                let (rest, work) = probe();
                let mut probes = probes.lock().unwrap_or_else(PoisonError::into_inner);
                probes.add(rest, work);
            }
        });
        probes
    })
}

/// Rests and works; how long both took.
fn probe() -> (Duration, Duration) {
    let begun = Instant::now();
    thread::sleep(REST);
    let rested = Instant::now();
    let begun_work = processor_time();
    let worked = || Some(processor_time()?.saturating_sub(begun_work?));
    while worked().is_some_and(|worked| worked < WORK) {
        std::hint::spin_loop();
    }
    (rested - begun, rested.elapsed())
}

/// What this thread has had of a processor; without such a clock a probe does no work.
fn processor_time() -> Option<Duration> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).ok()?;
    Some(Duration::from(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_an_idle_machine_it_is_a_clock() {
        let lag = Duration::from_micros(100);
        let went = advance(REST + lag, WORK);
        assert!(went > REST, "{went:?}");
        assert!(went <= REST + WORK + lag, "{went:?}");
    }

    #[test]
    fn where_work_takes_ten_times_as_long_a_tenth_of_the_time_counts() {
        let went = advance(REST, WORK * 10);
        assert_eq!(went, (REST + WORK * 10) / 10);
    }

    #[test]
    fn a_machine_that_sleeps_too_long_is_slow_as_well() {
        let went = advance(REST * 4, WORK);
        assert_eq!(went, (REST * 4 + WORK) / 4);
    }

    #[tokio::test]
    async fn what_hangs_is_given_up() {
        let limit = Duration::from_millis(10);
        assert!(timeout(limit, std::future::pending::<()>()).await.is_err());
        assert_eq!(timeout(limit, async { 1 }).await.ok(), Some(1));
    }
}
