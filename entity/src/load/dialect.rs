//! The statements of a load in the words of each engine.

use sea_orm::DbBackend;

pub(super) struct Dialect {
    /// Makes `kvctl_load (line, key, value)`, where a key has the same type as in `items`.
    pub(super) prepare: &'static [&'static str],
    /// Makes the staged lines accessible in the order of their keys.
    pub(super) index: &'static [&'static str],
    /// The same of lines that did not come in that order.
    pub(super) index_unsorted: &'static [&'static str],
    /// The first key that is on several lines.
    pub(super) repeated: &'static str,
    /// How many of the staged keys exist.
    pub(super) existing: &'static str,
    /// The key of a line. Parameter: its number.
    pub(super) key_of_line: &'static str,
    /// Begins what [`Self::undo`] takes back without losing the staged lines.
    pub(super) begin: &'static str,
    pub(super) undo: &'static str,
    /// The last key of a chunk, and its size. Parameters: the key below it, the most lines.
    pub(super) chunk: &'static str,
    /// The session waits for locks; otherwise a chunk that meets one is tried again.
    pub(super) waits: bool,
    /// Merges a chunk that has no key twice, and fails if one exists: much cheaper than to look for
    /// each. Parameters: the key below the chunk, its last key.
    pub(super) create: &'static str,
    /// Merges a chunk, leaving existing items alone. Parameters as of [`Self::create`].
    pub(super) skip: &'static str,
    /// Merges a chunk, updating existing items. Parameters as of [`Self::create`].
    pub(super) overwrite: &'static str,
    /// [`Self::overwrite`] returns the version of each item it stores. Otherwise it counts as MySQL
    /// does: a created item once, an updated one twice.
    pub(super) returns_versions: bool,
}

impl Dialect {
    pub(super) fn of(backend: DbBackend) -> &'static Self {
        match backend {
            DbBackend::Postgres => &POSTGRES,
            DbBackend::MySql => &MYSQL,
            _ => &SQLITE,
        }
    }
}

/// `$key` is the quoted column, `$1` and `$2` the parameters.
macro_rules! repeated {
    ($key:literal) => {
        concat!(
            "SELECT ",
            $key,
            ", min(line) AS first_line, max(line) AS last_line FROM kvctl_load ",
            "GROUP BY ",
            $key,
            " HAVING count(*) > 1 ORDER BY min(line) LIMIT 1"
        )
    };
}

macro_rules! existing {
    ($key:literal) => {
        concat!(
            "SELECT count(DISTINCT l.",
            $key,
            ") AS staged_keys, ",
            "count(DISTINCT i.",
            $key,
            ") AS existing_keys, ",
            "min(CASE WHEN i.",
            $key,
            " IS NOT NULL THEN line END) AS first_line ",
            "FROM kvctl_load l LEFT JOIN items i ON i.",
            $key,
            " = l.",
            $key
        )
    };
}

macro_rules! chunk {
    ($key:literal, $above:literal, $most:literal) => {
        concat!(
            "SELECT max(",
            $key,
            ") AS last_key, count(*) AS staged_lines, ",
            "count(DISTINCT ",
            $key,
            ") AS staged_keys FROM (SELECT ",
            $key,
            " FROM kvctl_load WHERE ",
            $key,
            " > ",
            $above,
            " ORDER BY ",
            $key,
            " LIMIT ",
            $most,
            ") c"
        )
    };
}

/// The lines of a chunk that count: of several with the same key the first or the last one.
macro_rules! lines {
    ($key:literal, $above:literal, $last:literal, $order:literal) => {
        concat!(
            "SELECT ",
            $key,
            ", value FROM (SELECT ",
            $key,
            ", value, ",
            "row_number() OVER (PARTITION BY ",
            $key,
            " ORDER BY line ",
            $order,
            ") AS turn ",
            "FROM kvctl_load WHERE ",
            $key,
            " > ",
            $above,
            " AND ",
            $key,
            " <= ",
            $last,
            ") w ",
            "WHERE turn = 1 ORDER BY ",
            $key
        )
    };
}

macro_rules! create {
    ($key:literal, $above:literal, $last:literal) => {
        concat!(
            "INSERT INTO items (",
            $key,
            ", value) SELECT ",
            $key,
            ", value FROM kvctl_load ",
            "WHERE ",
            $key,
            " > ",
            $above,
            " AND ",
            $key,
            " <= ",
            $last,
            " ORDER BY ",
            $key
        )
    };
}

macro_rules! returning {
    ($prepare:expr, $index:expr, $index_unsorted:expr, $begin:literal, $undo:literal, $now:literal) => {
        Dialect {
            prepare: $prepare,
            index: $index,
            index_unsorted: $index_unsorted,
            repeated: repeated!("\"key\""),
            existing: existing!("\"key\""),
            key_of_line: "SELECT \"key\" FROM kvctl_load WHERE line = $1",
            begin: $begin,
            undo: $undo,
            chunk: chunk!("\"key\"", "$1", "$2"),
            waits: true,
            create: create!("\"key\"", "$1", "$2"),
            skip: concat!(
                "INSERT INTO items (\"key\", value) ",
                lines!("\"key\"", "$1", "$2", "ASC"),
                " ON CONFLICT (\"key\") DO NOTHING"
            ),
            overwrite: concat!(
                "INSERT INTO items (\"key\", value) ",
                lines!("\"key\"", "$1", "$2", "DESC"),
                " ON CONFLICT (\"key\") DO UPDATE SET value = excluded.value, ",
                "version = items.version + 1, updated_at = ",
                $now,
                " RETURNING version"
            ),
            returns_versions: true,
        }
    };
}

static POSTGRES: Dialect = returning!(
    // One transaction from the start: a pooler may give every transaction another connection.
    &[
        "BEGIN",
        // The lines may come slowly.
        "SET LOCAL idle_in_transaction_session_timeout = 0",
        "CREATE TEMPORARY TABLE kvctl_load ON COMMIT DROP AS \
         SELECT version AS line, key, value FROM items WITH NO DATA",
    ],
    &[
        "CREATE INDEX kvctl_load_key ON kvctl_load (key, line)",
        // Without it the planner sorts everything for each chunk.
        "ANALYZE kvctl_load",
    ],
    &[
        "CREATE INDEX kvctl_load_key ON kvctl_load (key, line)",
        // Otherwise each chunk is gathered from everywhere.
        "CLUSTER kvctl_load USING kvctl_load_key",
        "ANALYZE kvctl_load",
    ],
    "SAVEPOINT merge",
    "ROLLBACK TO SAVEPOINT merge",
    "clock_timestamp()"
);

static SQLITE: Dialect = returning!(
    // In a file of the session's own, so without a lock on the database.
    &["CREATE TEMPORARY TABLE kvctl_load AS SELECT version AS line, key, value FROM items LIMIT 0"],
    &["CREATE INDEX temp.kvctl_load_key ON kvctl_load (key, line)"],
    &["CREATE INDEX temp.kvctl_load_key ON kvctl_load (key, line)"],
    "BEGIN IMMEDIATE",
    "ROLLBACK",
    "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
);

static MYSQL: Dialect = Dialect {
    prepare: &[
        // While an `INSERT … SELECT` waits for a lock, MariaDB lets nobody else have a new id. So it
        // does not wait there, and is tried again. MySQL, which has no such trouble, makes it 1 s.
        "SET SESSION innodb_lock_wait_timeout = 0",
        "CREATE TEMPORARY TABLE kvctl_load (PRIMARY KEY (`key`, line)) ENGINE = InnoDB AS \
         SELECT version AS line, `key`, value FROM items LIMIT 0",
    ],
    index: &[],
    index_unsorted: &[],
    repeated: repeated!("`key`"),
    existing: existing!("`key`"),
    key_of_line: "SELECT `key` FROM kvctl_load WHERE line = ?",
    begin: "START TRANSACTION",
    undo: "ROLLBACK",
    chunk: chunk!("`key`", "?", "?"),
    waits: false,
    create: create!("`key`", "?", "?"),
    // `IGNORE` can ignore nothing but an existing key: the columns have the same types.
    skip: concat!(
        "INSERT IGNORE INTO items (`key`, value) ",
        lines!("`key`", "?", "?", "ASC")
    ),
    overwrite: concat!(
        "INSERT INTO items (`key`, value) ",
        lines!("`key`", "?", "?", "DESC"),
        " ON DUPLICATE KEY UPDATE items.value = VALUES(value), items.version = items.version + 1, \
         items.updated_at = UTC_TIMESTAMP(6)"
    ),
    returns_versions: false,
};
