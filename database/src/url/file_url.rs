//! The URL of a file of SQLite: `sqlite://FILE?name=value&…`, where the file's path is percent-encoded, and ends at
//! the first `?`.
//!
//! A general reader of URLs would take the path's beginning for a host, and `..` and `#` for what they mean there.

use sea_orm::sqlx::sqlite::SqliteConnectOptions;

use crate::url::{invalid::InvalidDatabaseUrl, server_url::decoded};

/// The options of SQLite's driver for what follows `sqlite://`.
pub(super) fn file_options(rest: &str) -> Result<SqliteConnectOptions, InvalidDatabaseUrl> {
    let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    // The end of a line behind a URL that was read from a file would name another database, which is empty.
    if rest.contains(char::is_control) || path != path.trim() {
        return Err(InvalidDatabaseUrl::Invisible);
    }
    // A file with such a name is sqlite://./u:p@file.
    let first = path.split('/').next().unwrap_or_default();
    if first.contains('@') && first.contains(':') {
        return Err(InvalidDatabaseUrl::User);
    }
    let path = decoded(path)?;
    // SQLite takes an empty name, too, for a database that ends with its connection.
    if path.is_empty() || path == ":memory:" || parameters.contains("mode=memory") {
        return Err(InvalidDatabaseUrl::InMemory);
    }
    let options: Result<SqliteConnectOptions, _> = format!("sqlite://?{parameters}").parse();
    let options = options.map_err(|error| InvalidDatabaseUrl::Malformed(error.to_string()))?;
    // SQLite would read such a name as a URI of its own.
    let of_directory = if path.starts_with("file:") { "./" } else { "" };
    Ok(options.filename(format!("{of_directory}{path}")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_path_is_taken_as_it_is_written() {
        for (rest, path) in [
            ("a.db", "a.db"),
            ("/var/lib/kvd/kvd.db?mode=ro", "/var/lib/kvd/kvd.db"),
            ("a/../x.db", "a/../x.db"),
            ("./A b#c.db", "./A b#c.db"),
            ("a%20b%3Fc%25.db?mode=rwc", "a b?c%.db"),
            ("a+b:c", "a+b:c"),
            ("é\\[1].db", "é\\[1].db"),
            ("sqlite://a.db", "sqlite://a.db"),
            ("file:a.db", "./file:a.db"),
            ("./u:p@file", "./u:p@file"),
            ("x:memory:", "x:memory:"),
            ("%20a b%0A", " a b\n"),
        ] {
            let options = file_options(rest).unwrap();
            assert_eq!(options.get_filename(), Path::new(path), "{rest}");
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        for (rest, expected) in [
            ("", "in-memory"),
            ("?mode=ro", "in-memory"),
            (":memory:", "in-memory"),
            ("%3Amemory%3A", "in-memory"),
            ("x?mode=memory", "in-memory"),
            ("u:s3cret@h/db", "without user"),
            ("a%2.db", "%25"),
            ("a%00.db", "%00"),
            ("a.db?mod=ro", "`mod`"),
            ("a.db\n", "control character"),
            ("a.db\r\n", "control character"),
            ("a\tb.db", "control character"),
            ("a.db?mode=rwc\n", "control character"),
            (" a.db", "%20"),
            ("a.db ?mode=rwc", "%20"),
            ("a.db\u{a0}", "%20"),
        ] {
            let error = file_options(rest).unwrap_err().to_string();
            assert!(error.contains(expected), "{rest}: {error}");
        }
    }
}
