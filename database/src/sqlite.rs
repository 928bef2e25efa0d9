//! How the file of an SQLite database is opened, and what is said if it cannot be.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
    time::Duration,
};

use nix::unistd::{AccessFlags, access};
use sea_orm::{
    DbErr, RuntimeErr,
    sqlx::{
        self, ConnectOptions, Executor, SqliteConnection,
        sqlite::{SqliteConnectOptions, SqliteSynchronous},
    },
};
use tokio::time::{Instant, sleep};

use crate::{failure::connection_error, session_setup::SessionSettings};

/// Where a file says which version of the format may read it, and the version that means WAL mode
/// (SQLite, "Database File Format", 1.3.3).
const READ_VERSION: usize = 19;
const WAL: u8 = 2;

/// How long to wait before a file that others use is asked for again.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// How much longer an attempt to open a file may take than others may keep it, so that it is this which is said.
const OPENING: Duration = Duration::from_secs(1);

/// What a session of a new file begins with.
#[derive(Clone)]
pub(crate) struct SqliteSetup {
    is_new: bool,
    /// How long others may keep the file.
    patience: Duration,
}

impl SqliteSetup {
    pub(crate) fn new(options: &SqliteConnectOptions, settings: &SessionSettings) -> Self {
        let bytes = fs::metadata(options.get_filename()).map_or(0, |file| file.len());
        Self {
            is_new: bytes == 0,
            patience: settings.lock_timeout,
        }
    }

    /// The time that opening the file may take, where any other database may take this. Others may keep a new file
    /// longer, since they are setting it up.
    pub(crate) fn time(&self, time: Duration) -> Duration {
        if self.is_new {
            time.max(self.patience + OPENING)
        } else {
            time
        }
    }

    /// Sets a new file to WAL mode, in which a writer does not keep readers waiting. The file remembers the mode, and
    /// one that is there already may belong to other software.
    pub(crate) async fn apply(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        if !self.is_new {
            return Ok(());
        }
        let last = Instant::now() + self.patience;
        // Several that change the mode at once would wait for each other, so SQLite refuses to wait at all.
        loop {
            let set = connection.execute("PRAGMA journal_mode = WAL").await;
            match set {
                Err(error) if is_busy(&error) && Instant::now() < last => sleep(BUSY_PAUSE).await,
                set => return set.map(drop),
            }
        }
    }
}

pub(crate) fn options(
    options: SqliteConnectOptions,
    settings: &SessionSettings,
) -> SqliteConnectOptions {
    let options = options
        .disable_statement_logging()
        // In WAL mode anything less can lose a committed write when the power fails.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(settings.lock_timeout);
    if settings.create_file {
        options.create_if_missing(true)
    } else {
        options
    }
}

/// The error of a file that could not be opened, in words of its own where SQLite's tell nothing.
pub(crate) fn not_opened(options: &SqliteConnectOptions, error: sqlx::Error) -> DbErr {
    let file = options.get_filename();
    if is_of_permissions(&error) && lacks_its_log(file) {
        let text = format!(
            "{} is in WAL mode, and its directory, where SQLite keeps the log of such a file, cannot \
             be written. Let the directory be written, or add mode=ro&immutable=1 to the URL if no \
             program writes the file meanwhile",
            file.display()
        );
        return DbErr::Conn(RuntimeErr::Internal(text));
    }
    if is_busy(&error) {
        let text = format!(
            "others use {} all the time; try again when they are done",
            file.display()
        );
        return DbErr::Conn(RuntimeErr::Internal(text));
    }
    connection_error(error)
}

/// SQLITE_READONLY or SQLITE_CANTOPEN.
fn is_of_permissions(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(8 | 14))
}

/// SQLITE_BUSY.
fn is_busy(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(5)
}

/// The code of SQLite's error, without what extends it.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?.parse::<i32>().ok()?;
    Some(code & 0xff)
}

/// Whether the file can be read, but not the log made that it needs.
fn lacks_its_log(file: &Path) -> bool {
    let mut header = [0; READ_VERSION + 1];
    let read = File::open(file).and_then(|mut file| file.read_exact(&mut header));
    let directory = match file.parent() {
        Some(directory) if directory != Path::new("") => directory,
        _ => Path::new("."),
    };
    read.is_ok() && header[READ_VERSION] == WAL && access(directory, AccessFlags::W_OK).is_err()
}

#[cfg(test)]
mod tests {
    use std::{env, process};

    use super::*;
    use crate::{connector::Connector, url::DatabaseUrl};

    const SETTINGS: SessionSettings = SessionSettings {
        statement_timeout: None,
        lock_timeout: Duration::from_millis(50),
        create_file: true,
        application_name: "",
    };

    #[tokio::test]
    async fn a_new_file_that_others_never_give_back_is_said_to_be_used() {
        let file = env::temp_dir().join(format!("kvd-used-{}.db", process::id()));
        let options = SqliteConnectOptions::new().filename(&file);
        let other = options.create_if_missing(true).connect().await;
        let mut other = other.unwrap();
        let begun = "BEGIN; CREATE TABLE others (id INTEGER)";
        other.execute(begun).await.unwrap();
        let url: DatabaseUrl = format!("sqlite://{}", file.display()).parse().unwrap();
        let connector = Connector::new(&url, &SETTINGS).unwrap();
        // Less time than the others are waited for.
        let error = connector.open(Duration::ZERO).await.err().unwrap();
        fs::remove_file(&file).unwrap();
        assert!(error.to_string().contains("others use"), "{error}");
    }
}
