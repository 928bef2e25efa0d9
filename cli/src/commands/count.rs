//! `kvctl count`

use clap::Args;
use entity::{Prefix, read};
use serde_json::json;

use crate::{arguments, context::Context, error::CliError, output};

/// Print how many items there are, exactly
#[derive(Debug, Args)]
#[command(after_help = "Example: kvctl count user/")]
pub(crate) struct Count {
    /// Only keys that begin with this
    #[arg(default_value = "", hide_default_value = true, value_parser = arguments::prefix)]
    prefix: Prefix,
}

impl Count {
    /// # Errors
    /// See [`CliError`].
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let json = context.output.is_json()?;
        let count = read::count(context.items().await?, &self.prefix).await?;
        if json {
            output::json(&json!({ "count": count }))
        } else {
            output::line(&count.to_string())
        }
    }
}
