//! Whether an error of MySQL or SQLite says that kvd's own tables lack something: that a migration is missing.

/// A missing table is a missing migration only if it is one of these, and a trigger's own fault otherwise.
const OUR_TABLES: [&str; 3] = ["items", "kvd_migrations", "kvd_tokens"];

/// So is a missing column only if it is named as one of these tables, or alone as one of these columns.
/// A trigger may miss a column of such a name, too, in a table of its own: MySQL and SQLite do not tell that apart.
const OUR_COLUMNS: [&str; 7] = [
    "id",
    "key",
    "value",
    "version",
    "created_at",
    "updated_at",
    "expires_at",
];

/// By the message of MySQL's ER_NO_SUCH_TABLE.
pub(crate) fn lack_table_in_mysql(message: &str) -> bool {
    is_our_table_in(message, ".", "'")
}

/// By the message of MySQL's ER_BAD_FIELD_ERROR, which first names the column in quotes.
pub(crate) fn lack_column_in_mysql(message: &str) -> bool {
    message.split('\'').nth(1).is_some_and(is_our_column)
}

/// By SQLite's message. Of a table that a trigger wants it names the schema, too.
pub(crate) fn lack_in_sqlite(message: &str) -> bool {
    OUR_TABLES
        .iter()
        .any(|table| message == format!("no such table: {table}"))
        || message
            .strip_prefix("no such column: ")
            .is_some_and(is_our_column)
        || is_our_table_in(message, "table ", " has no column named ")
}

/// Whether a column, which may have the name of its table before it, is one of ours.
fn is_our_column(name: &str) -> bool {
    match name.split_once('.') {
        Some((table, _)) => OUR_TABLES.contains(&table),
        None => OUR_COLUMNS.contains(&name),
    }
}

/// Whether a message names one of our tables between these.
fn is_our_table_in(message: &str, before: &str, after: &str) -> bool {
    OUR_TABLES
        .iter()
        .any(|table| message.contains(&format!("{before}{table}{after}")))
}
