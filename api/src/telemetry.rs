//! The log: on standard error, for people or for machines.

use std::panic;

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use crate::{config::LogFormat, repeats::Repeats, request_id};

/// Starts the log. `RUST_LOG` sets levels; without it everything from `info` up is written, and in
/// development each request. What is said again and again is counted instead.
///
/// # Errors
/// One line that says what is wrong with `RUST_LOG`.
pub fn start(format: LogFormat, dev: bool) -> Result<(), String> {
    let levels = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => {
            EnvFilter::try_new(&directives).map_err(|error| format!("RUST_LOG: {error}"))?
        }
        _ if dev => EnvFilter::new("info,api::observe=debug"),
        _ => EnvFilter::new("info"),
    };
    let repeats = Repeats::default();
    repeats.tell_from_time_to_time();
    let registry = tracing_subscriber::registry().with(levels).with(repeats);
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
        request_id::log(|| tracing::error!(place, text, "panic"));
    }));
    Ok(())
}

/// Colours are for terminals whose owner has not said otherwise (no-color.org).
fn is_terminal() -> bool {
    use std::io::IsTerminal;
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !refused
}
