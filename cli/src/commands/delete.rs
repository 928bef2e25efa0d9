//! `kvctl delete`

use clap::Args;
use entity::{
    ETag,
    write::{DeleteMany, DeleteOutcome, delete_many},
};
use serde_json::json;

use crate::{
    context::Context,
    error::CliError,
    interrupt::{PERHAPS_WRITTEN, until_interrupted},
    output,
};

/// Most missing keys that are named in a message.
const NAMED: usize = 5;

/// Delete items for good: all of them, or none if a key does not exist
#[derive(Debug, Args)]
#[command(
    after_help = "Examples: kvctl delete greeting\n          kvctl delete --ignore-missing a b c"
)]
pub(crate) struct Delete {
    /// The keys; behind -- if one begins with -
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,

    /// Do not mind keys that do not exist
    #[arg(long)]
    ignore_missing: bool,

    /// Only if the item has this tag; for one key
    #[arg(long, value_name = "ETAG")]
    if_match: Option<ETag>,
}

impl Delete {
    /// # Errors
    /// A key does not exist, or see [`CliError`].
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let json = context.output.is_json()?;
        if self.if_match.is_some() && self.keys.len() > 1 {
            let line = "--if-match is for one key, since no two items have the same tag";
            return Err(CliError::Usage(line.to_owned()));
        }
        let first = self.keys.first().cloned().unwrap_or_default();
        let asked = DeleteMany {
            keys: self.keys,
            if_match: self.if_match,
            ignore_missing: self.ignore_missing,
        };
        let database = context.items().await?;
        let deleted = async { Ok(delete_many(database, &asked).await?) };
        match until_interrupted(deleted, PERHAPS_WRITTEN).await? {
            DeleteOutcome::All(deleted) => {
                let told = if json {
                    output::json(&json!({ "deleted": deleted }))
                } else {
                    output::line(&deleted.to_string())
                };
                told.map_err(|error| error.after("it is done"))
            }
            DeleteOutcome::PreconditionFailed(tag) => Err(CliError::ConditionFailed(format!(
                "{first:?} has the tag {tag} now; nothing was deleted"
            ))),
            DeleteOutcome::Missing(keys) => Err(missing(&keys)),
        }
    }
}

fn missing(keys: &[String]) -> CliError {
    let named: Vec<_> = keys
        .iter()
        .take(NAMED)
        .map(|key| format!("{key:?}"))
        .collect();
    let more = match keys.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    CliError::ConditionFailed(format!(
        "no key {}{more}; nothing was deleted (--ignore-missing deletes the others)",
        named.join(", ")
    ))
}
