//! Arguments that several commands take.

use clap::Args;
use entity::Prefix;

/// The bound on values.
#[derive(Clone, Copy, Debug, Args)]
pub struct MaxValueBytes {
    /// Most bytes of a value; the same as kvd's
    #[arg(long, env, value_name = "BYTES", default_value = "262144")]
    pub max_value_bytes: usize,
}

/// For clap.
///
/// # Errors
/// The text is no prefix of a key.
pub fn prefix(text: &str) -> Result<Prefix, String> {
    Prefix::new(text).map_err(|error| error.to_string())
}
