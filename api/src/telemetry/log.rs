//! The log: on standard error, for people or for machines.

use std::panic;

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use super::{
    field_text::{FieldText, Form},
    line_format::{JsonFields, JsonLine, TextFields},
    log_queue::LogQueue,
    metrics::Metrics,
    repeated_lines::RepeatedLines,
    request_id::about_request,
    target,
};

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Standard error, which everything that kvd says goes through. The end of it waits until the last lines
/// are written, unless nothing takes them.
pub struct ServiceLog(LogQueue);

impl ServiceLog {
    /// To begin with, for single lines.
    pub fn open() -> Self {
        Self(LogQueue::to(std::io::stderr()))
    }

    /// Writes one line as it is, but for what must not stand in a line.
    pub fn say(&self, line: &str) {
        let text = FieldText(Form::Plain, &format_args!("{line}"));
        self.0.push(format!("kvd: {text:?}\n").as_bytes());
    }

    /// Starts the log. `RUST_LOG` sets levels; without it everything from `info` up is written, and in
    /// development each request. A line that is repeated is written a few times, and then counted.
    ///
    /// # Errors
    /// One line that says what is wrong with `RUST_LOG`.
    pub fn start(&self, format: LogFormat, dev: bool) -> Result<(), String> {
        let levels = match std::env::var("RUST_LOG") {
            Ok(directives) if !directives.is_empty() => {
                EnvFilter::try_new(&directives).map_err(|error| format!("RUST_LOG: {error}"))?
            }
            _ if dev => EnvFilter::new(format!("info,{}=debug", target::REQUEST)),
            _ => EnvFilter::new("info"),
        };
        let repeated = RepeatedLines::default();
        repeated.report_periodically();
        let registry = tracing_subscriber::registry().with(levels).with(repeated);
        let lines = fmt::layer().with_writer(self.0.clone());
        match format {
            LogFormat::Text => {
                let lines = lines.with_ansi(is_terminal());
                registry.with(lines.fmt_fields(TextFields)).init();
            }
            LogFormat::Json => {
                let lines = lines.fmt_fields(JsonFields).event_format(JsonLine);
                registry.with(lines).init();
            }
        }
        panic::set_hook(Box::new(|info| {
            let place = info.location().map(ToString::to_string);
            let text = info.payload_as_str().unwrap_or_default();
            about_request(|| tracing::error!(target: target::PANIC, place, text, "panic"));
        }));
        Ok(())
    }

    /// Lets the metrics tell how many lines were dropped.
    pub(crate) fn register(&self, metrics: &Metrics) {
        metrics.adopt(self.0.dropped());
    }
}

impl Drop for ServiceLog {
    fn drop(&mut self) {
        self.0.flush();
    }
}

/// Colours are for terminals whose owner has not said otherwise (no-color.org).
fn is_terminal() -> bool {
    use std::io::IsTerminal;
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !refused
}
