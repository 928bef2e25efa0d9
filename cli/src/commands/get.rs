//! `kvctl get`

use clap::Args;
use entity::read;

use crate::{
    context::Context,
    error::CliError,
    output::{self, ItemJson},
};

/// Print the value of a key, byte for byte; with -o json the whole item
#[derive(Debug, Args)]
#[command(after_help = "Example: kvctl get greeting")]
pub(crate) struct Get {
    /// The key; behind -- if it begins with -
    key: String,
}

impl Get {
    /// # Errors
    /// There is no such key, or see [`CliError`].
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let json = context.output.is_json()?;
        let found = read::find(context.items().await?, &self.key).await?;
        let item = found.ok_or_else(|| CliError::no_key(&self.key))?;
        if json {
            output::json(&ItemJson::item(&item))
        } else {
            output::value(&item.value)
        }
    }
}
