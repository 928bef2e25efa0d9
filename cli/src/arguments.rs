//! Arguments that several commands take.

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
