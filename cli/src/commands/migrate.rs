//! `kvctl migrate`

use clap::{Args, Subcommand};
use entity::read::odd_keys;
use sea_orm::DatabaseConnection;
use serde_json::{Value, json};

use crate::{
    commands::notes::{note_adoption, note_found, note_odd_keys},
    context::Context,
    error::CliError,
    output,
};

/// Bring the schema up to date, take it back, or see where it is
///
/// Safe when several run at once. On PostgreSQL a table items made by hand is adopted with every row.
#[derive(Debug, Args)]
#[command(after_help = "Examples: kvctl migrate\n          kvctl migrate status")]
pub(crate) struct Migrate {
    #[command(subcommand)]
    direction: Option<Direction>,
}

#[derive(Clone, Debug, Subcommand)]
enum Direction {
    /// Apply what is pending (the default)
    #[command(after_help = "Example: kvctl migrate up")]
    Up,
    /// Take the last migrations back; without the first one there is no table items, and no item
    #[command(after_help = "Example: kvctl migrate down --steps 1 --yes")]
    Down {
        /// How many of them
        #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
        steps: u32,
        /// Yes, tokens are to be lost, and items never to expire, if there are any in what is taken back
        #[arg(long)]
        yes: bool,
    },
    /// Show what is applied and what is pending
    #[command(after_help = "Example: kvctl migrate status -o json")]
    Status,
    /// Empty and rebuild the tables items and kvd_migrations: every item is lost, and no token
    #[command(after_help = "Example: kvctl migrate fresh --yes")]
    Fresh {
        /// Yes, every item is to be lost
        #[arg(long)]
        yes: bool,
        /// Every token, too
        #[arg(long)]
        tokens: bool,
    },
}

impl Migrate {
    /// # Errors
    /// See [`CliError`].
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let json = context.output.is_json()?;
        match self.direction.unwrap_or(Direction::Up) {
            Direction::Up => up(context.database_or_new_file().await?, json).await,
            Direction::Down { steps, yes } => {
                let names = migration::down(context.database().await?, steps, yes).await?;
                say("reverted", &names, json)
            }
            Direction::Status => status(context, json).await,
            Direction::Fresh { yes: false, .. } => Err(CliError::Usage(
                "fresh loses every item; add --yes if that is meant".to_owned(),
            )),
            Direction::Fresh { yes: true, tokens } => {
                let database = context.database_or_new_file().await?;
                let done = migration::fresh(database, tokens, note_adoption).await?;
                say("applied", &done.applied, json)
            }
        }
    }
}

async fn up(database: &DatabaseConnection, json: bool) -> Result<(), CliError> {
    let done = migration::up(database, note_adoption).await?;
    if done.adopted {
        let odd = odd_keys(database).await?;
        output::note(&match odd.len() {
            0 => "adopted; every key follows the rule of keys".to_owned(),
            odd => format!("adopted; keys that break the rule of keys: {odd}"),
        });
        note_odd_keys(&odd);
    }
    say("applied", &done.applied, json)
}

fn say(what: &str, names: &[String], json: bool) -> Result<(), CliError> {
    if json {
        return output::json(&json!({ what: names }));
    }
    if names.is_empty() {
        return output::line("nothing to do");
    }
    names
        .iter()
        .try_for_each(|name| output::line(&format!("{what} {name}")))
}

async fn status(context: &Context, json: bool) -> Result<(), CliError> {
    let database = context.database().await?;
    let status = migration::status(database).await?;
    if status.pending().next().is_some() {
        context.sees_tables().await?;
    }
    note_found(&migration::found(database).await?);
    let known = status.known.iter().map(|(name, applied)| {
        let state = if *applied { "applied" } else { "pending" };
        (name, state)
    });
    let mut all = known.chain(status.newer.iter().map(|name| (name, "applied (newer)")));
    if json {
        let rows = all.map(|(name, state)| json!({ "name": name, "state": state }));
        return output::json(&rows.collect::<Value>());
    }
    all.try_for_each(|(name, state)| output::line(&format!("{name} {state}")))
}
