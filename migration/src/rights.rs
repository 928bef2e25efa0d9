//! Which rights the user of the database lacks. Only reads.

use std::fmt;

use database::Failure;
use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

use crate::m20261129_000002_tokens::TOKEN_TABLE;

/// What a right allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To see what is in the schema.
    Schema,
    Read,
    Insert,
    /// To give a new item its id (PostgreSQL).
    Sequence,
    Update,
    Delete,
}

/// The tables that a program needs, beside that of the migrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeededTable {
    Items,
    Tokens,
}

impl NeededTable {
    fn name(self) -> &'static str {
        match self {
            Self::Items => "items",
            Self::Tokens => TOKEN_TABLE,
        }
    }
}

/// A right that the user of the database lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingRight {
    pub right: Right,
    /// The schema, table or sequence.
    object: String,
}

impl fmt::Display for MissingRight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = match self.right {
            Right::Schema => "use the schema",
            Right::Read => "read the table",
            Right::Insert => "insert into the table",
            Right::Sequence => "use the sequence",
            Right::Update => "update the table",
            Right::Delete => "delete from the table",
        };
        write!(f, "no right to {to} {}", self.object)
    }
}

/// The rights on this table and that of the migrations which the user lacks; nothing about tables that are not there.
///
/// # Errors
/// What the database said.
pub async fn missing_rights(
    db: &impl ConnectionTrait,
    table: NeededTable,
) -> Result<Vec<MissingRight>, DbErr> {
    match db.get_database_backend() {
        DbBackend::Postgres => in_postgres(db, table).await,
        DbBackend::MySql => in_mysql(db, table).await,
        // The rights are those of the file.
        _ => Ok(Vec::new()),
    }
}

/// Leaves out the rights to write if the user has none of them at all. Such a user is meant to read only.
pub fn unless_read_only(missing: Vec<MissingRight>) -> Vec<MissingRight> {
    let lacks = |right| missing.iter().any(|missing| missing.right == right);
    let read_only = [Right::Insert, Right::Update, Right::Delete]
        .into_iter()
        .all(lacks);
    let counts = |missing: &MissingRight| match missing.right {
        Right::Schema | Right::Read => true,
        Right::Insert | Right::Sequence | Right::Update | Right::Delete => !read_only,
    };
    missing.into_iter().filter(counts).collect()
}

async fn in_postgres(
    db: &impl ConnectionTrait,
    table: NeededTable,
) -> Result<Vec<MissingRight>, DbErr> {
    let sql = POSTGRES.replace("$TABLE", table.name());
    let statement = Statement::from_string(DbBackend::Postgres, sql);
    let rows = db.query_all_raw(statement).await?;
    let missing = rows.iter().map(|row| {
        let right: String = row.try_get("", "privilege")?;
        Ok(MissingRight {
            right: match right.as_str() {
                "SELECT" => Right::Read,
                "INSERT" => Right::Insert,
                "UPDATE" => Right::Update,
                "DELETE" => Right::Delete,
                "SEQUENCE" => Right::Sequence,
                _ => Right::Schema,
            },
            object: row.try_get("", "object")?,
        })
    });
    missing.collect()
}

/// An index depends on its table as a sequence does, and asking for the privilege of one as a sequence is an error: what
/// is asked first is said by `CASE`, as the order of conditions is the planner's.
///
/// A right may be one of a column or of the whole table. The tables are not visible in a schema that
/// the user may not use.
///
/// Raw, here and below: the builder could only wrap these functions and catalogs.
const POSTGRES: &str = r#"
WITH ours AS (
    SELECT c.oid, c.relname FROM pg_class c
    WHERE c.relname IN ('$TABLE', 'kvd_migrations') AND c.relkind IN ('r', 'p')
    AND pg_table_is_visible(c.oid)
), needed (place, relname, privilege, columns) AS (VALUES
    (2, 'kvd_migrations', 'SELECT', '{version}'::name[]),
    (3, 'items', 'SELECT', '{id,key,value,version,created_at,updated_at,expires_at}'),
    (4, 'items', 'INSERT', '{key,value,expires_at}'),
    (6, 'items', 'UPDATE', '{id,value,version,created_at,updated_at,expires_at}'),
    (3, 'kvd_tokens', 'SELECT', '{id,name,sha256,rules,created_at,expires_at,retires_at,revoked_at}'),
    (4, 'kvd_tokens', 'INSERT', '{name,sha256,rules,expires_at}'),
    (6, 'kvd_tokens', 'UPDATE', '{retires_at,revoked_at}')
)
SELECT 1 AS place, 'SCHEMA' AS privilege, n.nspname::text AS object FROM pg_namespace n
WHERE NOT has_schema_privilege(n.oid, 'USAGE')
AND quote_ident(n.nspname) = ANY (regexp_split_to_array(
    replace(current_setting('search_path'), '"$user"', quote_ident(current_user)), '\s*,\s*'))
AND EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'kvd_migrations')
AND NOT EXISTS (SELECT FROM ours WHERE relname = 'kvd_migrations')
UNION ALL
SELECT place, privilege, relname::text FROM needed JOIN ours USING (relname)
WHERE EXISTS (SELECT FROM pg_attribute a
    WHERE a.attrelid = ours.oid AND a.attname = ANY (needed.columns) AND NOT a.attisdropped
    AND NOT has_column_privilege(a.attrelid, a.attnum, privilege))
UNION ALL
SELECT 5, 'SEQUENCE', s.relname::text FROM ours
JOIN pg_depend d ON d.refobjid = ours.oid AND d.refclassid = 'pg_class'::regclass
    AND d.classid = 'pg_class'::regclass AND d.deptype = 'a'
JOIN pg_class s ON s.oid = d.objid
WHERE ours.relname = '$TABLE'
AND CASE s.relkind WHEN 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE, UPDATE') ELSE false END
UNION ALL
SELECT 7, 'DELETE', 'items' FROM ours
WHERE relname = 'items' AND NOT has_table_privilege(oid, 'DELETE')
ORDER BY place
"#;

/// The catalogs do not say what a role allows. So the server is asked how it would run each statement:
/// it answers only a user that may.
async fn in_mysql(
    db: &impl ConnectionTrait,
    table: NeededTable,
) -> Result<Vec<MissingRight>, DbErr> {
    let mut missing = Vec::new();
    let needed = |of: &str| of == "kvd_migrations" || of == table.name();
    for (right, table, sql) in MYSQL.into_iter().filter(|(_, of, _)| needed(of)) {
        let Err(error) = db.execute_unprepared(sql).await else {
            continue;
        };
        match Failure::of(&error) {
            Failure::NoRight => missing.push(MissingRight {
                right,
                object: table.to_owned(),
            }),
            Failure::NoConnection | Failure::Unknown => return Err(error),
            // While another session has the table locked, the rest cannot be told.
            Failure::Cancelled | Failure::Locked => break,
            // The user may, and the statement would fail for another reason, such as a missing table.
            Failure::Duplicate
            | Failure::RolledBack
            | Failure::NoRoom
            | Failure::ReadOnly
            | Failure::NotMigrated
            | Failure::Refused
            | Failure::Unreadable => {}
        }
    }
    Ok(missing)
}

/// A condition on a column would need the right to read, too.
const MYSQL: [(Right, &str, &str); 8] = [
    (
        Right::Read,
        "kvd_migrations",
        "EXPLAIN SELECT version FROM kvd_migrations",
    ),
    (
        Right::Read,
        "items",
        "EXPLAIN SELECT id, `key`, value, version, created_at, updated_at, expires_at FROM items",
    ),
    (
        Right::Insert,
        "items",
        "EXPLAIN INSERT INTO items (`key`, value, expires_at) VALUES ('', '', NULL)",
    ),
    (
        Right::Update,
        "items",
        "EXPLAIN UPDATE items SET value = '', version = 1, updated_at = UTC_TIMESTAMP(6), expires_at = NULL WHERE FALSE",
    ),
    (
        Right::Delete,
        "items",
        "EXPLAIN DELETE FROM items WHERE FALSE",
    ),
    (
        Right::Read,
        "kvd_tokens",
        "EXPLAIN SELECT id, name, sha256, rules, created_at, expires_at, retires_at, revoked_at FROM kvd_tokens",
    ),
    (
        Right::Insert,
        "kvd_tokens",
        "EXPLAIN INSERT INTO kvd_tokens (name, sha256, rules, expires_at) VALUES ('', '', '', NULL)",
    ),
    (
        Right::Update,
        "kvd_tokens",
        "EXPLAIN UPDATE kvd_tokens SET retires_at = NULL, revoked_at = NULL WHERE FALSE",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(rights: &[Right]) -> Vec<MissingRight> {
        let missing = |right: &Right| MissingRight {
            right: *right,
            object: "x".to_owned(),
        };
        rights.iter().map(missing).collect()
    }

    #[test]
    fn a_user_without_any_right_to_write_is_meant_to_read_only() {
        let none = [Right::Insert, Right::Sequence, Right::Update, Right::Delete];
        assert_eq!(unless_read_only(missing(&none)), []);
        let some = missing(&none[..3]);
        assert_eq!(unless_read_only(some.clone()), some);
        let mut all = none.to_vec();
        all.push(Right::Read);
        assert_eq!(unless_read_only(missing(&all)), missing(&[Right::Read]));
    }
}
