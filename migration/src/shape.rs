//! What a table `items` looks like before kvd touches it.
//!
//! A shape is the set of lines that describe the table: `column id integer not null default
//! nextval`, `constraint PRIMARY KEY (id)` and so on, in no order.

use std::collections::BTreeSet;

use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

/// The tables `items` that kvd can meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// There is none.
    Absent,
    /// As migrated by kvd.
    Ours,
    /// As made by hand on PostgreSQL, ready to be adopted.
    HandMade,
    /// Anything else; the lines say how it differs from what kvd could take.
    Other(Vec<String>),
}

const POSTGRES_HAND_MADE: [&str; 7] = [
    "column id integer not null default nextval",
    "column key text not null",
    "column value text not null",
    "column created_at timestamp without time zone default CURRENT_TIMESTAMP",
    "column updated_at timestamp without time zone default CURRENT_TIMESTAMP",
    "index PRIMARY KEY (id)",
    "index UNIQUE (key)",
];

const POSTGRES_OURS: [&str; 8] = [
    "column id bigint not null default nextval",
    "column key text collate C not null",
    "column value text not null",
    "column version bigint not null default 1",
    "column created_at timestamp with time zone not null default now()",
    "column updated_at timestamp with time zone not null default now()",
    "index PRIMARY KEY (id)",
    "index UNIQUE (key)",
];

const MYSQL_OURS: [&str; 8] = [
    "column id bigint not null auto_increment",
    "column key varchar(512) not null",
    "column value longtext not null",
    "column version bigint not null",
    "column created_at datetime(6) not null",
    "column updated_at datetime(6) not null",
    "index PRIMARY KEY (id)",
    "index UNIQUE (key)",
];

const SQLITE_OURS: [&str; 8] = [
    "column id INTEGER",
    "column key TEXT not null",
    "column value TEXT not null",
    "column version INTEGER not null default 1",
    "column created_at TEXT not null default strftime('%Y-%m-%d %H:%M:%f000', 'now')",
    "column updated_at TEXT not null default strftime('%Y-%m-%d %H:%M:%f000', 'now')",
    "index PRIMARY KEY (id)",
    "index UNIQUE (key)",
];

/// Reads the shape of the table `items`. Only reads.
///
/// # Errors
/// What the database said.
pub async fn shape(db: &impl ConnectionTrait) -> Result<Shape, DbErr> {
    let (query, ours) = match db.get_database_backend() {
        DbBackend::Postgres => (POSTGRES, &POSTGRES_OURS),
        DbBackend::MySql => (MYSQL, &MYSQL_OURS),
        DbBackend::Sqlite => (SQLITE, &SQLITE_OURS),
        other => {
            return Err(DbErr::BackendNotSupported {
                db: other.as_str(),
                ctx: "kvd",
            });
        }
    };
    let statement = Statement::from_string(db.get_database_backend(), query);
    let found = db
        .query_all_raw(statement)
        .await?
        .iter()
        .map(|row| row.try_get("", "line"))
        .collect::<Result<BTreeSet<String>, DbErr>>()?;
    let is = |lines: &[&str]| found.iter().map(String::as_str).eq(sorted(lines));
    Ok(if found.is_empty() {
        Shape::Absent
    } else if is(ours) {
        Shape::Ours
    } else if db.get_database_backend() != DbBackend::Postgres {
        Shape::Other(difference(&found, ours))
    } else if is(&POSTGRES_HAND_MADE) {
        Shape::HandMade
    } else {
        Shape::Other(difference(&found, &POSTGRES_HAND_MADE))
    })
}

fn sorted<'a>(lines: &[&'a str]) -> impl Iterator<Item = &'a str> {
    lines.iter().copied().collect::<BTreeSet<_>>().into_iter()
}

fn difference(found: &BTreeSet<String>, expected: &[&str]) -> Vec<String> {
    let missing = sorted(expected)
        .filter(|line| !found.contains(*line))
        .map(|line| format!("expected {line}"));
    let unknown = found
        .iter()
        .filter(|line| !expected.contains(&line.as_str()))
        .map(|line| format!("found {line}"));
    missing.chain(unknown).collect()
}

const POSTGRES: &str = r#"
WITH t AS (SELECT to_regclass('items')::oid AS oid)
SELECT 'column ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
       || CASE WHEN c.collname <> 'default' THEN ' collate ' || c.collname ELSE '' END
       || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
       || CASE WHEN a.attidentity <> '' THEN ' identity' ELSE '' END
       || CASE WHEN a.attgenerated <> '' THEN ' generated' ELSE '' END
       || CASE WHEN d.adbin IS NULL THEN ''
               WHEN pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%' THEN ' default nextval'
               ELSE ' default ' || pg_get_expr(d.adbin, d.adrelid) END AS line
FROM t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation c ON c.oid = a.attcollation
UNION ALL
SELECT CASE WHEN i.indisprimary THEN 'index PRIMARY KEY (' || k.keys || ')'
            WHEN i.indisunique AND n.oid IS NOT NULL THEN 'index UNIQUE (' || k.keys || ')'
            ELSE 'index ' || i.indexrelid::regclass::text END
FROM t JOIN pg_index i ON i.indrelid = t.oid
LEFT JOIN pg_constraint n ON n.conindid = i.indexrelid AND n.conrelid = t.oid AND n.contype = 'u'
CROSS JOIN LATERAL (SELECT string_agg(pg_get_indexdef(i.indexrelid, s, true), ', ' ORDER BY s) AS keys
                    FROM generate_series(1, i.indnatts) s) k
UNION ALL
SELECT 'constraint ' || pg_get_constraintdef(n.oid) FROM t JOIN pg_constraint n
ON n.conrelid = t.oid AND n.contype NOT IN ('p', 'u', 'n')
UNION ALL
SELECT 'reference from ' || n.conrelid::regclass::text FROM t JOIN pg_constraint n
ON n.confrelid = t.oid AND n.contype = 'f'
UNION ALL
SELECT 'trigger ' || g.tgname FROM t JOIN pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal
UNION ALL
SELECT 'kind ' || c.relkind::text FROM t JOIN pg_class c ON c.oid = t.oid
AND (c.relkind <> 'r' OR c.relispartition OR c.relrowsecurity)
"#;

const MYSQL: &str = r"
SELECT CAST(CONCAT('column ', column_name, ' ', REPLACE(column_type, 'bigint(20)', 'bigint'),
       CASE is_nullable WHEN 'NO' THEN ' not null' ELSE '' END,
       CASE WHEN extra LIKE '%auto_increment%' THEN ' auto_increment' ELSE '' END) AS CHAR) AS line
FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'items'
UNION ALL
SELECT CAST(CONCAT('index ', CASE WHEN index_name = 'PRIMARY' THEN 'PRIMARY KEY ('
       WHEN MAX(non_unique) = 0 THEN 'UNIQUE (' ELSE CONCAT(index_name, ' (') END,
       GROUP_CONCAT(column_name ORDER BY seq_in_index SEPARATOR ', '), ')') AS CHAR)
FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = 'items'
GROUP BY index_name
";

const SQLITE: &str = r#"
SELECT 'column ' || c.name || ' ' || c.type || CASE c."notnull" WHEN 1 THEN ' not null' ELSE '' END
       || CASE WHEN c.dflt_value IS NULL THEN '' ELSE ' default ' || c.dflt_value END AS line
FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.name = 'items'
UNION ALL
SELECT CASE WHEN i.origin = 'u' THEN 'index UNIQUE (' || (SELECT group_concat(x.name, ', ')
       FROM pragma_index_info(i.name) x) || ')' ELSE 'index ' || i.name END
FROM sqlite_master t JOIN pragma_index_list(t.name) i WHERE t.name = 'items'
UNION ALL
SELECT 'index PRIMARY KEY (id)' FROM sqlite_master
WHERE name = 'items' AND sql LIKE '%id INTEGER PRIMARY KEY AUTOINCREMENT%'
"#;
