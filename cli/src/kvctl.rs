//! The command line of `kvctl`, and the run of one command.

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory, FromArgMatches, Parser};
use database::DatabaseUrl;
use settings::SettingsError;

use crate::{
    commands::Command,
    context::Context,
    error::{self, CliError},
    output::{self, Format},
};

/// The admin tool of kvd, directly on its database
///
/// The database is --database-url, DATABASE_URL, or DATABASE_URL in the file .env of the working
/// directory. Data goes to standard output, everything else to standard error. Exit codes: 0 done;
/// 1 not found, or a condition did not hold; 2 usage, or failure.
#[derive(Debug, Parser)]
#[command(
    name = "kvctl",
    version,
    arg_required_else_help = true,
    after_help = "Example: kvctl --database-url sqlite://kvd-dev.db put greeting hello"
)]
pub struct Kvctl {
    /// Database: postgres://, mysql:// or sqlite://
    #[arg(long, env, value_name = "URL", hide_env_values = true, global = true)]
    database_url: Option<DatabaseUrl>,

    /// Form of what is written to standard output
    #[arg(
        short,
        long,
        value_name = "FORM",
        default_value = "text",
        value_enum,
        global = true
    )]
    output: Format,

    #[command(subcommand)]
    command: Command,
}

/// What only tells of the command line.
const WITHOUT_SETTINGS: [&str; 2] = ["completions", "man"];

/// Runs one command.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let parsed = settings::read(Kvctl::command, arguments, &WITHOUT_SETTINGS).and_then(|read| {
        if let Some(note) = read.note {
            output::note(&note);
        }
        Kvctl::from_arg_matches(&read.matches).map_err(settings::explain)
    });
    error::exit(match parsed {
        Ok(kvctl) => kvctl.run(),
        Err(SettingsError::Help(page)) => output::help(&page),
        Err(SettingsError::Invalid(line)) => {
            Err(CliError::Usage(format!("{line} (see kvctl --help)")))
        }
    })
}

impl Kvctl {
    fn run(self) -> Result<(), CliError> {
        let engine = self.database_url.as_ref().map(DatabaseUrl::engine);
        let context = Context::new(self.output, self.database_url, Self::command);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| CliError::io("the runtime", error))?;
        runtime.block_on(async {
            let needed = self.command.needed_rights(engine);
            let done = self.command.run(&context).await;
            let done = match done {
                Err(error) => Err(context.naming_rights(error, needed).await),
                done => done,
            };
            if let Err(CliError::Interrupted(_)) = done {
                // A statement may be under way; the end of the process ends it.
                return done;
            }
            let closed = context.close().await.map_err(CliError::from);
            done.and(closed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_sound() {
        Kvctl::command().debug_assert();
    }
}
