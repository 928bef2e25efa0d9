//! `kvctl get`

use clap::Args;
use entity::read;

use crate::{
    Context,
    error::CliError,
    output::{self, Format},
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
        let database = context.database(false).await?;
        let found = read::find(database, &self.key).await?;
        let item = found.ok_or_else(|| CliError::NotSo(format!("no key {:?}", self.key)))?;
        match context.output {
            Format::Text => output::value(&item.value),
            Format::Json => output::line(&output::item(&item).to_string()),
        }
    }
}
