//! Bounds how often the log writes the same line: a failure that every request meets must not fill a
//! disk.

use std::{
    collections::HashMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

use super::target;

/// Equal lines that are written in one period; the others are counted.
const MOST_WRITTEN: u64 = 10;
const PERIOD: Duration = Duration::from_secs(10);
/// Different lines that are told apart in one period.
const MOST_LINES: usize = 256;
/// Fields in which lines may differ and still count as equal.
const IGNORED_FIELDS: [&str; 4] = ["duration_ms", "client", "seconds", "rows"];

/// Counts the lines of the levels from `info` up. A user who asks for more levels gets all their lines.
#[derive(Clone, Default)]
pub(super) struct RepeatedLines(Arc<Mutex<HashMap<u64, RepeatedLine>>>);

#[derive(Default)]
struct RepeatedLine {
    /// Its message and fields, without the ignored ones.
    says: String,
    times: u64,
}

impl RepeatedLines {
    /// Logs at the end of each period how many lines were not written.
    pub(super) fn report_periodically(&self) {
        let repeated = self.clone();
        thread::spawn(move || {
            loop {
                thread::sleep(PERIOD);
                repeated.report();
            }
        });
    }

    fn report(&self) {
        let lines = mem::take(&mut *self.lines());
        for RepeatedLine { says, times } in lines.into_values() {
            let more = times.saturating_sub(MOST_WRITTEN);
            if more > 0 {
                tracing::warn!(target: target::REPEATED, more, says, "more lines that said the same");
            }
        }
    }

    fn admits(&self, says: String) -> bool {
        let mut hasher = DefaultHasher::new();
        says.hash(&mut hasher);
        let mut lines = self.lines();
        let mut identity = hasher.finish();
        if lines.len() >= MOST_LINES && !lines.contains_key(&identity) {
            identity = 0;
        }
        let line = lines.entry(identity).or_default();
        line.says = says;
        line.times += 1;
        line.times <= MOST_WRITTEN
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<u64, RepeatedLine>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for RepeatedLines {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        if *event.metadata().level() > Level::INFO {
            return true;
        }
        let mut said = Said(String::new());
        event.record(&mut said);
        self.admits(said.0)
    }
}

struct Said(String);

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write;
        match field.name() {
            name if IGNORED_FIELDS.contains(&name) => {}
            "message" => self.0.insert_str(0, &format!("{value:?} ")),
            name => {
                // Writing to a string does not fail.
                let _ = write!(self.0, "{name}={value:?} ");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_line_is_written_a_few_times_and_another_one_still_is() {
        let repeats = RepeatedLines::default();
        let written = |says: &str| (0..50).filter(|_| repeats.admits(says.to_owned())).count();
        assert_eq!(written("a"), 10);
        assert_eq!(written("b"), 10);
        repeats.report();
        assert_eq!(written("a"), 10);
    }

    #[test]
    fn however_many_lines_there_are_memory_is_bounded() {
        let repeats = RepeatedLines::default();
        let written = (0..10_000)
            .filter(|n| repeats.admits(n.to_string()))
            .count();
        assert_eq!(written, MOST_LINES + 10);
        assert_eq!(repeats.lines().len(), MOST_LINES + 1);
    }
}
