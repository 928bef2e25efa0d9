//! A file for each command.

mod completions;
mod count;
mod delete;
mod export;
mod get;
mod import;
mod inspect;
mod list;
mod man;
mod migrate;
mod notes;
mod put;
mod seed;
mod token;

use clap::Subcommand;
use database::Engine;
use migration::{NeededTable, Right};

use crate::{context::Context, error::CliError};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
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
    Token(token::Token),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Command {
    /// The rights that it needs with this engine, and on which table.
    pub(crate) fn needed_rights(&self, engine: Option<Engine>) -> (NeededTable, &'static [Right]) {
        match self {
            Self::Token(token) => (NeededTable::Tokens, token.needed_rights()),
            other => (NeededTable::Items, other.needed_on_items(engine)),
        }
    }

    fn needed_on_items(&self, engine: Option<Engine>) -> &'static [Right] {
        use Right::{Delete, Insert, Read, Schema, Sequence, Update};
        match self {
            Self::Get(_) | Self::List(_) | Self::Count(_) | Self::Inspect(_) | Self::Export(_) => {
                &[Schema, Read]
            }
            Self::Seed(_) => &[Schema, Read, Insert, Sequence],
            Self::Put(_) => &[Schema, Read, Insert, Sequence, Update],
            Self::Import(import) => import.needed_rights(),
            // The rows are locked before they are deleted, for which PostgreSQL asks for the right to update them.
            Self::Delete(_) if engine == Some(Engine::Postgres) => &[Schema, Read, Update, Delete],
            Self::Delete(_) => &[Schema, Read, Delete],
            // All else that it needs is told by the server, since the tables may not be there.
            Self::Migrate(_) => &[Schema, Read],
            Self::Token(_) | Self::Completions(_) | Self::Man(_) => &[],
        }
    }

    /// # Errors
    /// See [`CliError`].
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
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
            Self::Token(command) => command.run(context).await,
            Self::Completions(command) => command.run(context.command_line()),
            Self::Man(command) => command.run(context.command_line()),
        }
    }
}
