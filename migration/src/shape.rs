//! What a table `items` looks like before kvd touches it.
//!
//! A shape is the set of lines that describe the table: `column id integer not null default
//! nextval`, `constraint PRIMARY KEY (id)` and so on, in no order.

use std::collections::BTreeSet;

use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

/// The tables `items` that kvd can meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// There is no table `items`.
    Absent,
    /// kvd's migrations made it.
    Ours,
    /// It was made by hand on PostgreSQL, and can be adopted.
    HandMade,
    /// Any other table; the lines say how it differs from what kvd could take.
    Other(Vec<String>),
}

const POSTGRES_HAND_MADE: [&str; 8] = [
    "kind table",
    "column id integer not null default nextval",
    "column key text not null",
    "column value text not null",
    "column created_at timestamp without time zone default CURRENT_TIMESTAMP",
    "column updated_at timestamp without time zone default CURRENT_TIMESTAMP",
    "index PRIMARY KEY (id)",
    "index UNIQUE (key)",
];

const POSTGRES_OURS: [&str; 9] = [
    "kind table",
    "column id bigint not null default nextval",
    "column key text collate C not null",
    "column value text not null",
    "column version bigint not null default 1",
    "column created_at timestamp with time zone not null default now()",
    "column updated_at timestamp with time zone not null default now()",
    "index PRIMARY KEY (id)",
    "index UNIQUE (key)",
];

const MYSQL_OURS: [&str; 9] = [
    "kind BASE TABLE InnoDB",
    "column id bigint not null auto_increment",
    "column key varchar(512) collate binary no-pad not null",
    "column value longtext collate binary no-pad not null",
    "column version bigint not null default 1",
    "column created_at datetime(6) not null default utc_timestamp(6)",
    "column updated_at datetime(6) not null default utc_timestamp(6)",
    "index PRIMARY KEY (id)",
    "index UNIQUE (key)",
];

const SQLITE_OURS: [&str; 9] = [
    "kind table strict",
    "column id INTEGER",
    "column key TEXT not null",
    "column value TEXT not null",
    "column version INTEGER not null default 1",
    "column created_at TEXT not null default strftime('%Y-%m-%d %H:%M:%f000', 'now')",
    "column updated_at TEXT not null default strftime('%Y-%m-%d %H:%M:%f000', 'now')",
    "index PRIMARY KEY (id)",
    "index UNIQUE (key)",
];

/// Reads the shape of the table `items`.
pub(crate) async fn shape(db: &impl ConnectionTrait) -> Result<Shape, DbErr> {
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
    let is_ours = || {
        let lines = found.iter().filter_map(|line| of_the_first(line));
        lines.collect::<BTreeSet<_>>().into_iter().eq(sorted(ours))
    };
    Ok(if found.is_empty() {
        Shape::Absent
    } else if is_ours() {
        Shape::Ours
    } else if db.get_database_backend() != DbBackend::Postgres {
        Shape::Other(difference(&found, ours))
    } else if is(&POSTGRES_HAND_MADE) {
        Shape::HandMade
    } else {
        // It was probably meant to be the one that it differs less from.
        let differences = [&POSTGRES_HAND_MADE[..], ours].map(|lines| difference(&found, lines));
        let nearest = differences.into_iter().min_by_key(Vec::len);
        Shape::Other(nearest.unwrap_or_default())
    })
}

/// A line of kvd's table as it was made first: without what later migrations add. Other software may look at it through
/// a view.
fn of_the_first(line: &str) -> Option<&str> {
    match line {
        "index UNIQUE (key, expires_at)" => Some("index UNIQUE (key)"),
        _ if line.starts_with("column expires_at ") => None,
        _ if line.starts_with("index items_expires_at") => None,
        _ if line.starts_with("index items_key_expires_at") => None,
        _ if line.starts_with("view ") => None,
        _ => Some(line),
    }
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

// Raw SQL, here and below: these are functions and catalogs of one engine each, which the builder
// could only wrap.

const POSTGRES: &str = r#"
WITH t AS (SELECT to_regclass('items')::oid AS oid)
SELECT 'column ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
       || CASE WHEN c.collname <> 'default' THEN ' collate ' || c.collname ELSE '' END
       || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
       || CASE WHEN a.attidentity <> '' THEN ' identity' ELSE '' END
       || CASE WHEN a.attgenerated <> '' THEN ' generated' ELSE '' END
       || CASE WHEN d.adbin IS NULL THEN ''
               WHEN pg_get_serial_sequence(t.oid::regclass::text, a.attname) IS NOT NULL
                    AND pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%' THEN ' default nextval'
               ELSE ' default ' || pg_get_expr(d.adbin, d.adrelid) END AS line
FROM t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation c ON c.oid = a.attcollation
UNION ALL
SELECT CASE WHEN NOT i.indimmediate THEN 'deferrable index ' || i.indexrelid::regclass::text
            WHEN NOT i.indisvalid THEN 'invalid index ' || i.indexrelid::regclass::text
            WHEN i.indisprimary THEN 'index PRIMARY KEY (' || k.keys || ')'
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
SELECT 'rule ' || r.rulename FROM t JOIN pg_rewrite r ON r.ev_class = t.oid AND r.rulename <> '_RETURN'
UNION ALL
SELECT DISTINCT 'view ' || r.ev_class::regclass::text FROM t JOIN pg_depend d ON d.refobjid = t.oid
JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass AND r.ev_class <> t.oid
UNION ALL
SELECT 'sequence that ends or begins anew' FROM t
JOIN pg_sequence s ON s.seqrelid = to_regclass(pg_get_serial_sequence(t.oid::regclass::text, 'id'))
WHERE s.seqcycle OR s.seqincrement < 1 OR s.seqmax NOT IN (2147483647, 9223372036854775807)
UNION ALL
SELECT 'parent ' || h.inhparent::regclass::text FROM t JOIN pg_inherits h ON h.inhrelid = t.oid
UNION ALL
SELECT 'child ' || h.inhrelid::regclass::text FROM t JOIN pg_inherits h ON h.inhparent = t.oid
UNION ALL
SELECT 'kind ' || CASE c.relkind WHEN 'r' THEN 'table' ELSE 'other than table (' || c.relkind::text || ')' END
       || CASE c.relpersistence WHEN 'u' THEN ' unlogged' WHEN 't' THEN ' temporary' ELSE '' END
       || CASE WHEN c.relrowsecurity THEN ' with row level security' ELSE '' END
FROM t JOIN pg_class c ON c.oid = t.oid
"#;

const MYSQL: &str = r"
SELECT CAST(CONCAT('column ', column_name, ' ', REPLACE(column_type, 'bigint(20)', 'bigint'),
       CASE WHEN collation_name IS NULL THEN ''
            WHEN collation_name IN ('utf8mb4_0900_bin', 'utf8mb4_nopad_bin') THEN ' collate binary no-pad'
            ELSE CONCAT(' collate ', collation_name) END,
       CASE is_nullable WHEN 'NO' THEN ' not null' ELSE '' END,
       CASE WHEN column_default IS NULL THEN '' ELSE CONCAT(' default ', column_default) END,
       CASE WHEN extra LIKE '%auto_increment%' THEN ' auto_increment' ELSE '' END) AS CHAR) AS line
FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'items'
UNION ALL
SELECT CAST(CONCAT('index ', CASE WHEN index_name = 'PRIMARY' THEN 'PRIMARY KEY ('
       WHEN MAX(non_unique) = 0 THEN 'UNIQUE (' ELSE CONCAT(index_name, ' (') END,
       GROUP_CONCAT(column_name ORDER BY seq_in_index SEPARATOR ', '), ')') AS CHAR)
FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = 'items'
GROUP BY index_name
UNION ALL
SELECT CAST(CONCAT('constraint ', constraint_name) AS CHAR) FROM information_schema.table_constraints
WHERE table_schema = DATABASE() AND table_name = 'items' AND constraint_type IN ('CHECK', 'FOREIGN KEY')
UNION ALL
SELECT CAST(CONCAT('trigger ', trigger_name) AS CHAR) FROM information_schema.triggers
WHERE event_object_schema = DATABASE() AND event_object_table = 'items'
UNION ALL
SELECT CAST(CONCAT('kind ', table_type, ' ', COALESCE(engine, '')) AS CHAR)
FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'items'
";

const SQLITE: &str = r#"
SELECT 'column ' || c.name || ' ' || c.type || CASE c."notnull" WHEN 1 THEN ' not null' ELSE '' END
       || CASE WHEN c.dflt_value IS NULL THEN '' ELSE ' default ' || c.dflt_value END AS line
FROM pragma_table_info('items') c
UNION ALL
SELECT CASE WHEN i.origin = 'u' THEN 'index UNIQUE (' || (
           SELECT group_concat(x.name || CASE x.coll WHEN 'BINARY' THEN '' ELSE ' collate ' || x.coll END, ', ')
           FROM pragma_index_xinfo(i.name) x WHERE x.key = 1) || ')'
       ELSE 'index ' || i.name END
FROM pragma_index_list('items') i
UNION ALL
SELECT 'index PRIMARY KEY (id)' FROM sqlite_master
WHERE name = 'items' AND sql LIKE '%id INTEGER PRIMARY KEY AUTOINCREMENT%'
UNION ALL
SELECT 'trigger ' || name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'items'
UNION ALL
SELECT 'kind ' || type || CASE strict WHEN 1 THEN ' strict' ELSE '' END
FROM pragma_table_list('items') WHERE schema = 'main'
"#;
