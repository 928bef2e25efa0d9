//! `kvctl migrate`

use clap::{Args, Subcommand};
use entity::read::odd_keys;
use migration::migrate::{self, Migrated};
use sea_orm::DatabaseConnection;
use serde_json::json;

use crate::{
    Context,
    error::CliError,
    output::{self, Format},
};

/// Bring the schema up to date, take it back, or see where it is
#[derive(Debug, Args)]
#[command(after_help = "Example: kvctl migrate status")]
pub struct Migrate {
    #[command(subcommand)]
    direction: Option<Direction>,
}

#[derive(Clone, Debug, Subcommand)]
enum Direction {
    /// Apply what is pending (the default)
    Up,
    /// Take the last migrations back
    Down {
        /// How many of them
        #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
        steps: u32,
    },
    /// Show what is applied and what is pending
    Status,
    /// Empty and rebuild the tables items and kvd_migrations: every item is lost
    Fresh {
        /// Yes, every item is to be lost
        #[arg(long)]
        yes: bool,
    },
}

impl Migrate {
    /// # Errors
    /// See [`CliError`].
    pub async fn run(self, context: &Context) -> Result<(), CliError> {
        match self.direction.unwrap_or(Direction::Up) {
            Direction::Up => {
                let database = context.database(true).await?;
                let done = migrate::up(database).await?;
                report(context, database, &done).await
            }
            Direction::Down { steps } => {
                let database = context.database(false).await?;
                let names = migrate::down(database, steps).await?;
                say(context, "reverted", &names)
            }
            Direction::Status => status(context).await,
            Direction::Fresh { yes: false } => Err(CliError::Usage(
                "fresh loses every item; add --yes if that is meant".to_owned(),
            )),
            Direction::Fresh { yes: true } => {
                let database = context.database(true).await?;
                let done = migrate::fresh(database).await?;
                report(context, database, &done).await
            }
        }
    }
}

async fn report(
    context: &Context,
    database: &DatabaseConnection,
    done: &Migrated,
) -> Result<(), CliError> {
    if done.adopted {
        output::note("adopted the table items that was there, with all its rows");
    }
    for key in odd_keys(database).await? {
        output::note(&format!(
            "the key {key:?} breaks the rule of keys; only kvctl can reach it"
        ));
    }
    say(context, "applied", &done.applied)
}

fn say(context: &Context, what: &str, names: &[String]) -> Result<(), CliError> {
    match context.output {
        Format::Json => output::line(&json!({ what: names }).to_string()),
        Format::Text if names.is_empty() => output::line("nothing to do"),
        Format::Text => names
            .iter()
            .try_for_each(|name| output::line(&format!("{what} {name}"))),
    }
}

async fn status(context: &Context) -> Result<(), CliError> {
    let status = migrate::status(context.database(false).await?).await?;
    let known = status.known.iter().map(|(name, applied)| {
        let state = if *applied { "applied" } else { "pending" };
        (name, state)
    });
    let all: Vec<_> = known
        .chain(status.newer.iter().map(|name| (name, "applied (newer)")))
        .collect();
    match context.output {
        Format::Json => {
            let rows = all.iter();
            let rows = rows.map(|(name, state)| json!({ "name": name, "state": state }));
            output::line(&rows.collect::<serde_json::Value>().to_string())
        }
        Format::Text => all
            .iter()
            .try_for_each(|(name, state)| output::line(&format!("{name} {state}"))),
    }
}
