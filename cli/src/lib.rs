//! `kvctl`, the admin tool of kvd. It works directly on the database.
//!
//! Data goes to standard output, everything else to standard error. [`commands`] has a file for
//! each command, [`output`] writes what they find, [`error`] has the exit codes.

pub mod commands;
pub mod error;
pub mod output;

use std::{ffi::OsString, process::ExitCode, time::Duration};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use entity::{
    DatabaseUrl,
    database::{ConnectSettings, connect},
};
use sea_orm::{DatabaseConnection, DbErr};
use settings::NoSettings;
use tokio::sync::OnceCell;

use self::{
    commands::{get::Get, migrate::Migrate, put::Put},
    error::CliError,
    output::Format,
};

/// How long to wait for a connection.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long to wait for a row or a table that somebody else has locked.
const LOCK_TIME: Duration = Duration::from_mins(1);

/// The admin tool of kvd, directly on its database
///
/// The database is --database-url, DATABASE_URL, or DATABASE_URL in the file .env of the working
/// directory. Exit codes: 0 done; 1 not found, or a condition did not hold; 2 usage, or failure.
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
    pub database_url: Option<DatabaseUrl>,

    /// Form of what is written to standard output
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "text",
        value_enum,
        global = true
    )]
    pub output: Format,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Migrate(Migrate),
    Get(Get),
    Put(Put),
}

/// What a command works with.
pub struct Context {
    pub url: DatabaseUrl,
    pub output: Format,
    database: OnceCell<DatabaseConnection>,
}

impl Context {
    /// Connects as soon as something is asked.
    ///
    /// # Errors
    /// The URL asks for something the driver does not know.
    pub async fn database(&self, create_file: bool) -> Result<&DatabaseConnection, CliError> {
        let settings = ConnectSettings {
            max_connections: 1,
            acquire_timeout: CONNECT_TIME,
            statement_timeout: None,
            lock_timeout: LOCK_TIME,
            create_file,
            application_name: "kvctl",
        };
        let connected = async || connect(&self.url, &settings).await;
        Ok(self.database.get_or_try_init(connected).await?)
    }

    /// Says goodbye to the database: SQLite then tidies its files up.
    async fn close(self) -> Result<(), DbErr> {
        match self.database.into_inner() {
            Some(database) => database.close().await,
            None => Ok(()),
        }
    }
}

/// Runs one command.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let parsed = settings::matches(Kvctl::command, arguments)
        .and_then(|matches| Kvctl::from_arg_matches(&matches).map_err(settings::explain));
    let kvctl = match parsed {
        Ok(kvctl) => kvctl,
        Err(NoSettings::Shown(text)) => return error::exit(output::text(&text)),
        Err(NoSettings::Mistake(line)) => {
            return error::exit(Err(CliError::Usage(format!("{line} (see kvctl --help)"))));
        }
    };
    let Some(url) = kvctl.database_url else {
        let line = "no database: give --database-url or DATABASE_URL";
        return error::exit(Err(CliError::Usage(line.to_owned())));
    };
    let context = Context {
        url,
        output: kvctl.output,
        database: OnceCell::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(async {
            let done = match kvctl.command {
                Command::Migrate(command) => command.run(&context).await,
                Command::Get(command) => command.run(&context).await,
                Command::Put(command) => command.run(&context).await,
            };
            let closed = context.close().await.map_err(CliError::from);
            done.and(closed)
        }),
        Err(error) => Err(CliError::Io("the runtime".to_owned(), error)),
    };
    error::exit(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_sound() {
        Kvctl::command().debug_assert();
    }
}
