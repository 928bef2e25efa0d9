//! Time as this machine can keep it just now, so that a test fails for what kvd does and never for want of a processor.
//!
//! A thread sleeps a little and works a little, again and again, and sees how long both take. Where others have the
//! processors, they take longer than they should; by as much [`Stopwatch`] and [`timeout`] run slower than a clock.
//! On an idle machine they are a clock.
//!
//! What kvd and the programs around it measure themselves they measure by a clock. A test gives them [`stretched`]
//! times: as usual on an idle machine, longer on a slow one.

use std::{
    future::IntoFuture,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
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

/// Beyond this factor a request would have more time than the faults of a test last, and would notice none.
const MOST: u32 = 10;

/// How many times its usual time everything is given that measures time by a clock.
static STRETCH: AtomicU32 = AtomicU32::new(1);

/// A time for a program that measures it by a clock, and a bound on what such a time decides.
///
/// It is the same from one [`set_stretch`] to the next, so that both are stretched alike.
#[must_use]
pub fn stretched(usual: Duration) -> Duration {
    usual * STRETCH.load(Ordering::SeqCst)
}

/// Measures for a moment how slow this machine is, and lets [`stretched`] go by it. The suite does so before its first
/// test, and before each that has the machine for itself.
pub fn set_stretch() {
    const PROBES: u32 = 4;
    let all: f64 = (0..PROBES).map(|_| slowness(probe())).sum();
    STRETCH.store(stretch(all / f64::from(PROBES)), Ordering::SeqCst);
}

/// Half as slow again as an idle machine is still no reason to measure otherwise.
fn stretch(slowness: f64) -> u32 {
    match slowness < 1.5 {
        true => 1,
        false => (slowness.ceil() as u32).min(MOST),
    }
}

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

/// How long its two parts took.
#[derive(Clone, Copy, Debug)]
struct Probe {
    rest: Duration,
    work: Duration,
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

    /// A probe has just ended.
    fn add(&mut self, probe: Probe) {
        self.passed += advance(probe);
        self.at = Instant::now();
    }
}

/// How far the clock goes on with a probe.
fn advance(probe: Probe) -> Duration {
    (probe.rest + probe.work).div_f64(slowness(probe))
}

/// How many times longer than planned the slower part of a probe took.
fn slowness(probe: Probe) -> f64 {
    let ratio = |took: Duration, planned: Duration| took.as_secs_f64() / planned.as_secs_f64();
    let slower = ratio(probe.rest, REST).max(ratio(probe.work, WORK));
    slower.max(1.0)
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
                let probe = probe();
                let mut probes = probes.lock().unwrap_or_else(PoisonError::into_inner);
                probes.add(probe);
            }
        });
        probes
    })
}

/// Rests and works.
fn probe() -> Probe {
    let begun = Instant::now();
    thread::sleep(REST);
    let rested = Instant::now();
    let begun_work = processor_time();
    let worked = || Some(processor_time()?.saturating_sub(begun_work?));
    while worked().is_some_and(|worked| worked < WORK) {
        std::hint::spin_loop();
    }
    Probe {
        rest: rested - begun,
        work: rested.elapsed(),
    }
}

/// What this thread has had of a processor; without such a clock a probe does no work.
fn processor_time() -> Option<Duration> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).ok()?;
    Some(Duration::from(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn went(rest: Duration, work: Duration) -> Duration {
        advance(Probe { rest, work })
    }

    #[test]
    fn times_are_stretched_as_the_machine_is_slow() {
        let stretches = [1.0, 1.4, 1.5, 2.0, 3.1, 500.0].map(stretch);
        assert_eq!(stretches, [1, 1, 2, 2, 4, MOST]);
    }

    #[test]
    fn on_an_idle_machine_it_is_a_clock() {
        let lag = Duration::from_micros(100);
        let went = went(REST + lag, WORK);
        assert!(went > REST, "{went:?}");
        assert!(went <= REST + WORK + lag, "{went:?}");
    }

    #[test]
    fn where_work_takes_ten_times_as_long_a_tenth_of_the_time_counts() {
        let went = went(REST, WORK * 10);
        assert_eq!(went, (REST + WORK * 10) / 10);
    }

    #[test]
    fn a_machine_that_sleeps_too_long_is_slow_as_well() {
        let went = went(REST * 4, WORK);
        assert_eq!(went, (REST * 4 + WORK) / 4);
    }

    #[tokio::test]
    async fn what_hangs_is_given_up() {
        let limit = Duration::from_millis(10);
        assert!(timeout(limit, std::future::pending::<()>()).await.is_err());
        assert_eq!(timeout(limit, async { 1 }).await.ok(), Some(1));
    }
}
