//! What a command works with: the form of its output, and the database, opened when it is needed.

use std::time::Duration;

use database::{Connector, DatabaseUrl, Session, SessionSettings};
use migration::{NeededTable, Right, missing_rights};
use sea_orm::{DatabaseConnection, DbErr};
use tokio::sync::OnceCell;

use crate::{error::CliError, explain, output::Format};

/// How long to wait for a connection, if the URL has no `connect_timeout`.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long to wait for a row or a table that another session has locked.
const LOCK_TIME: Duration = Duration::from_mins(1);

/// What a command works with.
pub(crate) struct Context {
    pub(crate) output: Format,
    url: Option<DatabaseUrl>,
    /// Makes the whole command line: completions and manual pages describe it.
    command_line: fn() -> clap::Command,
    opened: OnceCell<Opened>,
}

struct Opened {
    connector: Connector,
    connection: DatabaseConnection,
    /// How long to wait for another connection.
    time: Duration,
}

impl Context {
    pub(crate) fn new(
        output: Format,
        url: Option<DatabaseUrl>,
        command_line: fn() -> clap::Command,
    ) -> Self {
        Self {
            output,
            url,
            command_line,
            opened: OnceCell::new(),
        }
    }

    pub(crate) fn command_line(&self) -> clap::Command {
        (self.command_line)()
    }

    /// The database, which must be there.
    ///
    /// # Errors
    /// No database was named, or it cannot be reached.
    pub(crate) async fn database(&self) -> Result<&DatabaseConnection, CliError> {
        Ok(&self.opened(false).await?.connection)
    }

    /// The database, which must be migrated: a table `items` may belong to other software.
    ///
    /// # Errors
    /// No database was named, it cannot be reached, or it is not migrated.
    pub(crate) async fn items(&self) -> Result<&DatabaseConnection, CliError> {
        let database = self.database().await?;
        match migration::status(database).await?.pending().next() {
            None => Ok(database),
            Some(_) => {
                self.sees_tables().await?;
                Err(CliError::Failed(explain::NOT_MIGRATED.to_owned()))
            }
        }
    }

    /// Asks, where the tables seem not to be there, whether it is the user that cannot see them.
    ///
    /// # Errors
    /// The user lacks a right.
    pub(crate) async fn sees_tables(&self) -> Result<(), CliError> {
        let missing = missing_rights(self.database().await?, NeededTable::Items).await?;
        let unseen = missing.iter().find(|missing| match missing.right {
            Right::Schema | Right::Read => true,
            Right::Insert | Right::Sequence | Right::Update | Right::Delete => false,
        });
        match unseen {
            None => Ok(()),
            Some(missing) => Err(CliError::Failed(explain::no_right(&missing.to_string()))),
        }
    }

    /// The same error, with the name of the missing right if it is one of these.
    pub(crate) async fn naming_rights(
        &self,
        error: CliError,
        (table, needed): (NeededTable, &[Right]),
    ) -> CliError {
        let (Some(said), Some(opened)) = (error.lacking_right(), self.opened.get()) else {
            return error;
        };
        // The session of the command may be in a transaction that failed; this is another one.
        let missing = missing_rights(&opened.connection, table).await;
        let mut missing = missing.unwrap_or_default();
        missing.retain(|missing| needed.contains(&missing.right));
        if missing.is_empty() {
            return error;
        }
        CliError::Failed(explain::missing_rights(&missing, said))
    }

    /// The database; an SQLite file is created if there is none.
    ///
    /// # Errors
    /// No database was named, or it cannot be reached.
    pub(crate) async fn database_or_new_file(&self) -> Result<&DatabaseConnection, CliError> {
        Ok(&self.opened(true).await?.connection)
    }

    /// A session of its own with the database, which must be migrated.
    ///
    /// # Errors
    /// No database was named, it cannot be reached, or it is not migrated.
    pub(crate) async fn session(&self) -> Result<Session, CliError> {
        self.items().await?;
        let Opened {
            connector, time, ..
        } = self.opened(false).await?;
        Ok(connector.open(*time).await?)
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
            let time = url.connect_timeout().unwrap_or(CONNECT_TIME);
            // This fails at once, while SeaORM's connection would be tried again and again.
            connector.open(time).await?.close().await?;
            let connection = connector.connection(time);
            Ok(Opened {
                connector,
                connection,
                time,
            })
        };
        let opened = self.opened.get_or_try_init(opened).await;
        opened.map_err(|error| CliError::Failed(explain::no_connection(url, &error)))
    }

    /// Closes the connection, so that SQLite tidies its files up.
    pub(crate) async fn close(self) -> Result<(), DbErr> {
        match self.opened.into_inner() {
            Some(opened) => opened.connection.close().await,
            None => Ok(()),
        }
    }
}
