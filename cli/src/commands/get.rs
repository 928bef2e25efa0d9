//! `kvctl get`

use clap::Args;
use entity::read;

use crate::{
    Context,
    error::CliError,
    output::{self, Shown},
};

/// Print the value of a key, byte for byte; with -o json the whole item
#[derive(Debug, Args)]
#[command(after_help = "Example: kvctl get greeting")]
pub struct Get {
    /// The key; behind -- if it begins with -
    key: String,
}

impl Get {
    /// # Errors
    /// There is no such key, or see [`CliError`].
    pub async fn run(self, context: &Context) -> Result<(), CliError> {
        let json = context.output.is_json()?;
        let found = read::find(context.items().await?, &self.key).await?;
        let item = found.ok_or_else(|| CliError::no_key(&self.key))?;
        if json {
            output::json(&Shown::item(&item))
        } else {
            output::value(&item.value)
        }
    }
}
