//! The statements of a load in the words of each engine.
//!
//! They are raw: the builder cannot make a temporary table from a query, nor set up a session, nor
//! say `SAVEPOINT` and `CLUSTER`.

use sea_orm::DbBackend;

pub(super) struct Dialect {
    /// Makes `kvctl_load (line, key, value, expires_at)`, where a key has the same type as in `items`.
    pub(super) prepare: &'static [&'static str],
    /// Makes the staged lines accessible in the order of their keys.
    pub(super) index: &'static [&'static str],
    /// The same of lines that did not come in that order.
    pub(super) index_unsorted: &'static [&'static str],
    /// Leaves of a key that is on several lines only the first one.
    pub(super) keep_first: &'static [&'static str],
    /// Leaves of a key that is on several lines only the last one.
    pub(super) keep_last: &'static [&'static str],
    /// Begins what [`Self::undo`] takes back without losing the staged lines.
    pub(super) begin: &'static str,
    pub(super) undo: &'static str,
    /// The session waits for locks; otherwise a chunk that meets one is tried again.
    pub(super) waits: bool,
    /// Merges a chunk, and fails if one of its keys exists: much cheaper than to look for each.
    /// Parameters: the key below the chunk, its last key.
    pub(super) create: &'static str,
    /// Comes before [`Self::skip`], where that cannot find the lines of new keys itself. Parameters as of
    /// [`Self::create`].
    pub(super) find_absent: Option<&'static str>,
    /// Merges a chunk, leaving existing items alone. Parameters as of [`Self::create`].
    pub(super) skip: &'static str,
    /// Merges the line of a key, and fails if the key exists. Parameter: the key.
    pub(super) create_one: &'static str,
    /// Merges a chunk, updating existing items. Parameters as of [`Self::create`].
    pub(super) overwrite: &'static str,
    /// [`Self::overwrite`] returns the key of each item it stores, and whether it created it. Otherwise it
    /// counts as MySQL does: a created item once, an updated one twice.
    pub(super) returns_stored: bool,
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

/// The repeated keys go through a table of their own, since MySQL cannot use a temporary table twice in a
/// statement.
macro_rules! keep {
    ($line:literal, $key:literal, $table:literal) => {
        &[
            concat!(
                "CREATE TEMPORARY TABLE kvctl_repeated ",
                $table,
                " AS SELECT ",
                $key,
                ", ",
                $line,
                "(line) AS line FROM kvctl_load GROUP BY ",
                $key,
                " HAVING count(*) > 1"
            ),
            concat!(
                "DELETE FROM kvctl_load WHERE EXISTS (SELECT 1 FROM kvctl_repeated r ",
                "WHERE r.",
                $key,
                " = kvctl_load.",
                $key,
                " AND r.line <> kvctl_load.line)"
            ),
        ]
    };
}

macro_rules! insert {
    ($key:literal, $above:literal, $last:literal) => {
        concat!(
            "INSERT INTO items (",
            $key,
            ", value, expires_at) SELECT ",
            $key,
            ", value, expires_at FROM kvctl_load ",
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

macro_rules! create_one {
    ($key:literal, $value:literal) => {
        concat!(
            "INSERT INTO items (",
            $key,
            ", value, expires_at) SELECT ",
            $key,
            ", value, expires_at FROM kvctl_load WHERE ",
            $key,
            " = ",
            $value
        )
    };
}

macro_rules! returning {
    (
        $prepare:expr, $index:expr, $index_unsorted:expr, $begin:literal, $undo:literal, $waits:literal,
        $dropped:literal, $now:literal, $created:literal
    ) => {
        Dialect {
            prepare: $prepare,
            index: $index,
            index_unsorted: $index_unsorted,
            keep_first: keep!("min", "key", $dropped),
            keep_last: keep!("max", "key", $dropped),
            begin: $begin,
            undo: $undo,
            waits: $waits,
            create: insert!("key", "$1", "$2"),
            find_absent: None,
            skip: concat!(insert!("key", "$1", "$2"), " ON CONFLICT (key) DO NOTHING"),
            create_one: create_one!("key", "$1"),
            overwrite: concat!(
                insert!("key", "$1", "$2"),
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value, ",
                "expires_at = excluded.expires_at, version = items.version + 1, updated_at = ",
                $now,
                " RETURNING key, ",
                $created,
                " AS created"
            ),
            returns_stored: true,
        }
    };
}

static POSTGRES: Dialect = returning!(
    // One transaction from the start: a pooler may give every transaction another connection.
    &[
        "BEGIN",
        // The lines may come slowly. The second of these is known since PostgreSQL 17.
        "SELECT set_config(name, '0', true) FROM pg_settings \
         WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')",
        // A statement that waits keeps locked what it has stored, even after its client is gone: the
        // server notices that only when the wait is over.
        "SET LOCAL lock_timeout = '100ms'",
        // Not made from the table items, which would be locked as long as lines come.
        "CREATE TEMPORARY TABLE kvctl_load \
         (line bigint NOT NULL, key text COLLATE \"C\" NOT NULL, value text NOT NULL, expires_at timestamptz) \
         ON COMMIT DROP",
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
    false,
    "ON COMMIT DROP",
    "clock_timestamp()",
    // As of a single write: a row of this transaction has its time.
    "created_at = now()"
);

static SQLITE: Dialect = returning!(
    // It is in a file of the session's own, so staging takes no lock on the database.
    &["CREATE TEMPORARY TABLE kvctl_load AS \
       SELECT version AS line, key, value, expires_at FROM items LIMIT 0"],
    &["CREATE INDEX temp.kvctl_load_key ON kvctl_load (key, line)"],
    &["CREATE INDEX temp.kvctl_load_key ON kvctl_load (key, line)"],
    "BEGIN IMMEDIATE",
    "ROLLBACK",
    true,
    "",
    "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
    // As of a single write: nothing can change `NEW`, and only a row of version 0 deceives it.
    "version = 1"
);

static MYSQL: Dialect = Dialect {
    prepare: &[
        // While an `INSERT … SELECT` waits for a lock, MariaDB gives no other writer a new id. So it
        // does not wait, and is tried again. MySQL has no such trouble, and refuses 0. The first comment is
        // code to MariaDB only, the second to MySQL only.
        "SET SESSION innodb_lock_wait_timeout = /*M! 0 */ /*!80000 1 */",
        "CREATE TEMPORARY TABLE kvctl_load (PRIMARY KEY (`key`, line)) ENGINE = InnoDB AS \
         SELECT version AS line, `key`, value, expires_at FROM items LIMIT 0",
        "CREATE TEMPORARY TABLE kvctl_absent (PRIMARY KEY (`key`)) ENGINE = InnoDB AS \
         SELECT `key` FROM items LIMIT 0",
    ],
    index: &[],
    index_unsorted: &[],
    keep_first: keep!("min", "`key`", "(PRIMARY KEY (`key`)) ENGINE = InnoDB"),
    keep_last: keep!("max", "`key`", "(PRIMARY KEY (`key`)) ENGINE = InnoDB"),
    begin: "START TRANSACTION",
    undo: "ROLLBACK",
    waits: false,
    create: insert!("`key`", "?", "?"),
    // Only keys: of a table that it also inserts into, the server first copies all that it reads to its temporary
    // space. The lock waits for whoever is about to delete an item.
    find_absent: Some(
        "INSERT INTO kvctl_absent SELECT staged.`key` FROM kvctl_load staged \
         LEFT JOIN items there ON there.`key` = staged.`key` \
         WHERE staged.`key` > ? AND staged.`key` <= ? AND there.id IS NULL \
         ORDER BY staged.`key` LOCK IN SHARE MODE",
    ),
    // Not `INSERT IGNORE`, which stores an empty text where a trigger asks for `NULL`.
    skip: "INSERT INTO items (`key`, value, expires_at) \
           SELECT staged.`key`, staged.value, staged.expires_at FROM kvctl_absent absent \
           STRAIGHT_JOIN kvctl_load staged ON staged.`key` = absent.`key` \
           WHERE absent.`key` > ? AND absent.`key` <= ? ORDER BY absent.`key`",
    create_one: create_one!("`key`", "?"),
    overwrite: concat!(
        insert!("`key`", "?", "?"),
        " ON DUPLICATE KEY UPDATE items.value = VALUES(value), items.expires_at = VALUES(expires_at), \
         items.version = items.version + 1, items.updated_at = UTC_TIMESTAMP(6)"
    ),
    returns_stored: false,
};
