//! The log: on standard error, for people or for machines.

use std::panic;

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use super::{repeated_lines::RepeatedLines, request_id::about_request, target};

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Starts the log. `RUST_LOG` sets levels; without it everything from `info` up is written, and in
/// development each request. A line that is repeated is written a few times, and then counted.
///
/// # Errors
/// One line that says what is wrong with `RUST_LOG`.
pub fn start(format: LogFormat, dev: bool) -> Result<(), String> {
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
    let writer = std::io::stderr;
    match format {
        LogFormat::Text => registry
            .with(fmt::layer().with_writer(writer).with_ansi(is_terminal()))
            .init(),
        LogFormat::Json => registry
            .with(fmt::layer().json().flatten_event(true).with_writer(writer))
            .init(),
    }
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        let text = info.payload_as_str().unwrap_or_default();
        about_request(|| tracing::error!(target: target::PANIC, place, text, "panic"));
    }));
    Ok(())
}

/// Colours are for terminals whose owner has not said otherwise (no-color.org).
fn is_terminal() -> bool {
    use std::io::IsTerminal;
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !refused
}
