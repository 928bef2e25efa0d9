//! Bounds how often the log says the same: a failure that every request meets must not fill a disk.

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

/// So many equal lines are written in each of these times; the others are counted.
const MOST: u64 = 10;
const TIME: Duration = Duration::from_secs(10);
/// So many different lines are told apart in that time.
const MOST_LINES: usize = 256;
/// What differs although the line says the same.
const BESIDE_THE_POINT: [&str; 4] = ["duration_ms", "client", "seconds", "rows"];

/// Lines of the levels from `info` up; whoever asks for more is to have it all.
#[derive(Clone, Default)]
pub struct Repeats(Arc<Mutex<HashMap<u64, Line>>>);

#[derive(Default)]
struct Line {
    /// What it says, as far as lines that say the same agree.
    says: String,
    times: u64,
}

impl Repeats {
    /// Says from time to time what was not written.
    pub fn tell_from_time_to_time(&self) {
        let repeats = self.clone();
        thread::spawn(move || {
            loop {
                thread::sleep(TIME);
                repeats.tell();
            }
        });
    }

    fn tell(&self) {
        let lines = mem::take(&mut *self.lines());
        for Line { says, times } in lines.into_values() {
            let more = times.saturating_sub(MOST);
            if more > 0 {
                tracing::warn!(more, says, "more lines that said the same");
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
        line.times <= MOST
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<u64, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
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
            name if BESIDE_THE_POINT.contains(&name) => {}
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
        let repeats = Repeats::default();
        let written = |says: &str| (0..50).filter(|_| repeats.admits(says.to_owned())).count();
        assert_eq!(written("a"), 10);
        assert_eq!(written("b"), 10);
        repeats.tell();
        assert_eq!(written("a"), 10);
    }

    #[test]
    fn however_many_lines_there_are_memory_is_bounded() {
        let repeats = Repeats::default();
        let written = (0..10_000)
            .filter(|n| repeats.admits(n.to_string()))
            .count();
        assert_eq!(written, MOST_LINES + 10);
        assert_eq!(repeats.lines().len(), MOST_LINES + 1);
    }
}
