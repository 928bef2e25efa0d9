//! Arguments that several commands take.

use std::{str::FromStr, time::Duration};

use clap::Args;
use entity::{InvalidValue, Prefix, Value};

/// The bound on values, as a command takes it.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct MaxValueBytes {
    /// Most bytes of a value; the same as kvd's
    #[arg(long, env, value_name = "BYTES", default_value = settings::DEFAULT_MAX_VALUE_BYTES, value_parser = settings::max_value_bytes())]
    pub(crate) max_value_bytes: u32,
}

impl MaxValueBytes {
    /// # Errors
    /// Why the text is no value, and what to do about it.
    pub(crate) fn value(self, text: String) -> Result<Value, String> {
        Value::new(text, self.max_value_bytes as usize).map_err(|error| match error {
            InvalidValue::TooLarge { .. } => format!("{error} (see --max-value-bytes)"),
            InvalidValue::Nul => error.to_string(),
        })
    }
}

/// Reads a prefix for clap.
///
/// # Errors
/// The text is no prefix of a key.
pub(crate) fn prefix(text: &str) -> Result<Prefix, String> {
    Prefix::new(text).map_err(|error| error.to_string())
}

/// Reads a time for clap: whole seconds, at least one.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    match time_or_none(text)? {
        Duration::ZERO => Err("that is no time from now".to_owned()),
        time => Ok(time),
    }
}

/// The same, or none.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn time_or_none(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(3_153_600_000);
    if text.trim_start().starts_with('-') {
        return Err("that is in the past".to_owned());
    }
    let time = humantime::Duration::from_str(text)
        .map_err(|_| "expected a time such as 30m, 12h or 90d".to_owned())?;
    match *time {
        time if time.subsec_nanos() > 0 => Err("a time has whole seconds".to_owned()),
        time if time > LONGEST => Err("a time is at most a hundred years".to_owned()),
        time => Ok(time),
    }
}
