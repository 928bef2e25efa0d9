//! A file for each command.

pub mod completions;
pub mod count;
pub mod delete;
pub mod export;
pub mod get;
pub mod import;
pub mod inspect;
pub mod list;
pub mod man;
pub mod migrate;
pub mod put;
pub mod seed;

use clap::Subcommand;

use crate::{Context, error::CliError};

#[derive(Debug, Subcommand)]
pub enum Command {
    Migrate(migrate::Migrate),
    Seed(seed::Seed),
    Get(get::Get),
    Put(put::Put),
    Delete(delete::Delete),
    List(list::List),
    Count(count::Count),
    Inspect(inspect::Inspect),
    Export(export::Export),
    Import(import::Import),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Command {
    /// # Errors
    /// See [`CliError`].
    pub async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Migrate(command) => command.run(context).await,
            Self::Seed(command) => command.run(context).await,
            Self::Get(command) => command.run(context).await,
            Self::Put(command) => command.run(context).await,
            Self::Delete(command) => command.run(context).await,
            Self::List(command) => command.run(context).await,
            Self::Count(command) => command.run(context).await,
            Self::Inspect(command) => command.run(context).await,
            Self::Export(command) => command.run(context).await,
            Self::Import(command) => command.run(context).await,
            Self::Completions(command) => command.run(),
            Self::Man(command) => command.run(),
        }
    }
}
