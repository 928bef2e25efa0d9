//! Bounds how often the log writes the same line: a failure that every request meets must not fill a
//! disk.

use std::{
    collections::HashMap,
    fmt::{self, Write},
    hash::{DefaultHasher, Hash, Hasher},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tracing::{
    Event, Level, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

use super::{
    field_text::{FieldText, Form},
    target,
};

/// Equal lines that are written in one period; the others are counted.
const MOST_WRITTEN: u64 = 10;
const PERIOD: Duration = Duration::from_secs(10);
/// Different lines that are told apart in one period.
const MOST_LINES: usize = 256;
/// Fields that tell lines of one place in the code apart. Each has few values: no text of others is
/// among them, or each error that quotes another value would be a line of its own.
const TELLING_FIELDS: [&str; 4] = ["code", "place", "route", "status"];

/// Counts the lines of the levels from `info` up. A user who asks for more levels gets all their lines.
#[derive(Clone, Default)]
pub(super) struct RepeatedLines(Arc<Mutex<HashMap<u64, RepeatedLine>>>);

#[derive(Default)]
struct RepeatedLine {
    /// Its message and its telling fields.
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

    fn admits(&self, line: &Line) -> bool {
        let mut lines = self.lines();
        let mut identity = line.identity();
        if lines.len() >= MOST_LINES && !lines.contains_key(&identity) {
            identity = 0;
        }
        let repeated = lines.entry(identity).or_default();
        if repeated.times == 0 {
            repeated.says = format!("{}{}", line.message, line.telling);
        }
        repeated.times += 1;
        repeated.times <= MOST_WRITTEN
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<u64, RepeatedLine>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for RepeatedLines {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // The lines that count others are few.
        if *metadata.level() > Level::INFO || metadata.target() == target::REPEATED {
            return true;
        }
        let mut line = Line {
            place: metadata.callsite(),
            telling: String::new(),
            message: String::new(),
        };
        event.record(&mut line);
        self.admits(&line)
    }
}

/// What a line says, as far as it is counted.
struct Line {
    /// The place in the code.
    place: Identifier,
    telling: String,
    message: String,
}

impl Line {
    /// The message is none of it: in a library it may quote a text.
    fn identity(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.place.hash(&mut hasher);
        self.telling.hash(&mut hasher);
        hasher.finish()
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = FieldText(Form::Plain, value);
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{text:?}"),
            name if TELLING_FIELDS.contains(&name) => write!(self.telling, " {name}={text:?}"),
            _ => Ok(()),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::mpsc};

    use tracing_subscriber::{fmt, prelude::*};

    use super::*;

    /// The lines that are written of these.
    fn written(repeated: &RepeatedLines, log: impl Fn(usize), times: usize) -> usize {
        struct Lines(mpsc::Sender<()>);
        impl io::Write for Lines {
            fn write(&mut self, line: &[u8]) -> io::Result<usize> {
                self.0.send(()).unwrap();
                Ok(line.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (sender, lines) = mpsc::channel();
        let layer = fmt::layer().with_writer(move || Lines(sender.clone()));
        let subscriber = tracing_subscriber::registry()
            .with(repeated.clone())
            .with(layer);
        tracing::subscriber::with_default(subscriber, || (0..times).for_each(log));
        lines.try_iter().count()
    }

    #[test]
    fn the_same_line_is_written_a_few_times_and_another_one_still_is() {
        let repeated = RepeatedLines::default();
        let one = |n| tracing::error!(code = "internal", duration_ms = n, "one");
        let another = |n| tracing::error!(code = "internal", duration_ms = n, "another");
        assert_eq!(written(&repeated, one, 50), 10);
        assert_eq!(written(&repeated, another, 50), 10);
        let code = |n| tracing::error!(code = n % 2, "two codes");
        assert_eq!(written(&repeated, code, 50), 20);
        repeated.report();
        assert_eq!(written(&repeated, one, 50), 10);
        let debug = |n| tracing::debug!(n, "asked for");
        assert_eq!(written(&repeated, debug, 50), 50);
    }

    #[test]
    fn lines_that_quote_other_texts_say_the_same() {
        let repeated = RepeatedLines::default();
        let quoting = |n: usize| {
            let value = n.to_string().repeat(100_000);
            tracing::error!(error = %value, text = value, code = "internal", "{value}");
        };
        assert_eq!(written(&repeated, quoting, 30), 10);
        let says = repeated.lines().values().map(|line| line.says.len()).max();
        assert!(says.unwrap() < 2048);
    }

    #[test]
    fn however_many_lines_there_are_memory_is_bounded() {
        let repeated = RepeatedLines::default();
        let different = |n| tracing::error!(status = n, "one");
        assert_eq!(written(&repeated, different, 10_000), MOST_LINES + 10);
        assert_eq!(repeated.lines().len(), MOST_LINES + 1);
    }
}
