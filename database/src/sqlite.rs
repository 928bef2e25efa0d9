//! How the file of an SQLite database is opened, and what is said if it cannot be.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use nix::unistd::{AccessFlags, access};
use sea_orm::{
    DbErr, RuntimeErr,
    sqlx::{
        self, ConnectOptions,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    },
};

use crate::{failure::connection_error, session_setup::SessionSettings};

/// Where a file says which version of the format may read it, and the version that means WAL mode
/// (SQLite, "Database File Format", 1.3.3).
const READ_VERSION: usize = 19;
const WAL: u8 = 2;

pub(crate) fn options(
    options: SqliteConnectOptions,
    settings: &SessionSettings,
) -> SqliteConnectOptions {
    let options = options
        .disable_statement_logging()
        // In WAL mode anything less can lose a committed write when the power fails.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(settings.lock_timeout);
    let bytes = fs::metadata(options.get_filename()).map_or(0, |file| file.len());
    let options = match bytes {
        // In WAL mode a writer does not keep readers waiting. The file remembers the mode, and an
        // existing file may belong to other software.
        0 => options.journal_mode(SqliteJournalMode::Wal),
        _ => options,
    };
    if settings.create_file {
        options.create_if_missing(true)
    } else {
        options
    }
}

/// The error of a file that could not be opened, in words of its own where SQLite's tell nothing.
pub(crate) fn not_opened(options: &SqliteConnectOptions, error: sqlx::Error) -> DbErr {
    let file = options.get_filename();
    if error.as_database_error().is_some_and(is_of_permissions) && lacks_its_log(file) {
        let text = format!(
            "{} is in WAL mode, and its directory, where SQLite keeps the log of such a file, cannot \
             be written. Let the directory be written, or add mode=ro&immutable=1 to the URL if no \
             program writes the file meanwhile",
            file.display()
        );
        return DbErr::Conn(RuntimeErr::Internal(text));
    }
    connection_error(error)
}

/// SQLITE_READONLY and SQLITE_CANTOPEN with their extended forms.
fn is_of_permissions(error: &dyn sqlx::error::DatabaseError) -> bool {
    let code = error.code().and_then(|code| code.parse::<i32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, 8 | 14))
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
