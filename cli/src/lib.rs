//! `kvctl`, the admin tool of kvd. It works directly on the database.
//!
//! Data goes to standard output, everything else to standard error.
//!
//! - [`commands`]: a file for each command; [`arguments`]: what several of them take.
//! - [`load`]: stores many items, all or nothing; [`ndjson`]: reads them; [`interrupt`]: Ctrl-C.
//! - [`output`], [`table`], [`progress`]: what people and programs see.
//! - [`error`]: what can go wrong, and the exit codes; [`explain`]: the database's errors in words.

pub mod arguments;
pub mod commands;
pub mod error;
pub mod explain;
pub mod interrupt;
pub mod load;
pub mod ndjson;
pub mod output;
pub mod progress;
pub mod table;

use std::{ffi::OsString, process::ExitCode, time::Duration};

use clap::{CommandFactory, FromArgMatches, Parser};
use database::{Connector, DatabaseUrl, Session, SessionSettings};
use sea_orm::{DatabaseConnection, DbErr};
use settings::SettingsError;
use tokio::sync::OnceCell;

use self::{commands::Command, error::CliError, output::Format};

/// How long to wait for a connection.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long to wait for a row or a table that somebody else has locked.
const LOCK_TIME: Duration = Duration::from_mins(1);

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
    pub database_url: Option<DatabaseUrl>,

    /// Form of what is written to standard output
    #[arg(
        short,
        long,
        value_name = "FORM",
        default_value = "text",
        value_enum,
        global = true
    )]
    pub output: Format,

    #[command(subcommand)]
    pub command: Command,
}

/// What a command works with.
pub struct Context {
    pub output: Format,
    url: Option<DatabaseUrl>,
    opened: OnceCell<Opened>,
}

struct Opened {
    connector: Connector,
    connection: DatabaseConnection,
}

impl Context {
    /// The database, which must be there.
    ///
    /// # Errors
    /// No database was named, or it cannot be reached.
    pub async fn database(&self) -> Result<&DatabaseConnection, CliError> {
        Ok(&self.opened(false).await?.connection)
    }

    /// The database, which must be migrated: a table items may be anybody's.
    ///
    /// # Errors
    /// No database was named, it cannot be reached, or it is not migrated.
    pub async fn items(&self) -> Result<&DatabaseConnection, CliError> {
        let database = self.database().await?;
        match migration::status(database).await?.pending().next() {
            None => Ok(database),
            Some(_) => Err(CliError::Failed(explain::NOT_MIGRATED.to_owned())),
        }
    }

    /// The database; an SQLite file is created if there is none.
    ///
    /// # Errors
    /// No database was named, or it cannot be reached.
    pub async fn database_or_new_file(&self) -> Result<&DatabaseConnection, CliError> {
        Ok(&self.opened(true).await?.connection)
    }

    /// A session of its own with the database, which must be migrated.
    ///
    /// # Errors
    /// No database was named, it cannot be reached, or it is not migrated.
    pub async fn session(&self) -> Result<Session, CliError> {
        self.items().await?;
        let Opened { connector, .. } = self.opened(false).await?;
        Ok(connector.open(CONNECT_TIME).await?)
    }

    async fn opened(&self, create_file: bool) -> Result<&Opened, CliError> {
        let Some(url) = &self.url else {
            let line = "no database: give --database-url, or set DATABASE_URL, to \
                        postgres://, mysql:// or sqlite://";
            return Err(CliError::Usage(line.to_owned()));
        };
        if url.pools_transactions() {
            let line = "kvctl needs a session of its own: give it the URL of the server itself, \
                        without pool_mode=transaction";
            return Err(CliError::Usage(line.to_owned()));
        }
        let settings = SessionSettings {
            statement_timeout: None,
            lock_timeout: LOCK_TIME,
            create_file,
            application_name: "kvctl",
        };
        let opened = async || {
            let connector = Connector::new(url, &settings)?;
            // Fails at once, where SeaORM's connection would be tried again and again.
            connector.open(CONNECT_TIME).await?.close().await?;
            let connection = connector.connection(CONNECT_TIME);
            Ok(Opened {
                connector,
                connection,
            })
        };
        let opened = self.opened.get_or_try_init(opened).await;
        opened.map_err(|error| CliError::Failed(explain::no_connection(url, &error)))
    }

    /// Says goodbye to the database: SQLite then tidies its files up.
    async fn close(self) -> Result<(), DbErr> {
        match self.opened.into_inner() {
            Some(opened) => opened.connection.close().await,
            None => Ok(()),
        }
    }
}

/// Runs one command.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let parsed = settings::matches(Kvctl::command, arguments)
        .and_then(|matches| Kvctl::from_arg_matches(&matches).map_err(settings::explain));
    error::exit(match parsed {
        Ok(kvctl) => run(kvctl),
        Err(SettingsError::Help(text)) => output::text(&text),
        Err(SettingsError::Invalid(line)) => {
            Err(CliError::Usage(format!("{line} (see kvctl --help)")))
        }
    })
}

fn run(kvctl: Kvctl) -> Result<(), CliError> {
    let context = Context {
        output: kvctl.output,
        url: kvctl.database_url,
        opened: OnceCell::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::io("the runtime", error))?;
    runtime.block_on(async {
        let done = kvctl.command.run(&context).await;
        if let Err(CliError::Interrupted(_)) = done {
            // A statement may be under way; the end of the process ends it.
            return done;
        }
        let closed = context.close().await.map_err(CliError::from);
        done.and(closed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_sound() {
        Kvctl::command().debug_assert();
    }
}
