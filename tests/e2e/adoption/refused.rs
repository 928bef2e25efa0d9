//! A table almost like the hand-made one on PostgreSQL is refused, the difference named, nothing touched.

use tests::{Engine, Env, database::Database};

use crate::adoption::hand_made::{HAND_MADE, catalogue};

tests::list! {
    Only(Engine::Postgres) =>
        other_columns_are_refused,
        other_indexes_and_constraints_are_refused,
        what_else_hangs_on_the_table_is_refused,
        other_relations_by_this_name_are_refused,
        a_table_in_another_schema_is_nobodys_business
}

/// What is refused although it is not, or without naming this; everything else about it holds.
async fn wrong(env: &Env, make: &str, named: &str) -> Option<String> {
    let database = env.empty_database().await;
    database.execute(make).await;
    let before = catalogue(&database).await;
    let output = env.kvctl_on(&database, ["migrate"]).await;
    if output.code != 2 {
        return Some(format!("exit code {} for: {make}", output.code));
    }
    assert_eq!(catalogue(&database).await, before, "touched: {make}");
    assert_eq!(applied(&database).await, 0, "{make}");
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    match output.stderr.contains(named) {
        true => None,
        false => Some(format!("'{named}' is not named in: {}", output.stderr)),
    }
}

/// The recorded migrations, if there is a record.
async fn applied(database: &Database) -> i64 {
    let exists = "SELECT to_regclass('kvd_migrations') IS NOT NULL";
    match database.value::<bool>(exists).await {
        true => database.value("SELECT count(*) FROM kvd_migrations").await,
        false => 0,
    }
}

async fn assert_refused(env: &Env, cases: &[(&str, &str)]) {
    let mut all = Vec::new();
    for (make, named) in cases {
        all.extend(wrong(env, make, named).await);
    }
    assert!(all.is_empty(), "{all:#?}");
}

/// The hand-made table after these changes, each by itself.
async fn assert_changes_refused(env: &Env, changes: &[(&str, &str)]) {
    let made: Vec<(String, &str)> = changes
        .iter()
        .map(|(change, named)| (format!("{HAND_MADE}; {change}"), *named))
        .collect();
    let cases: Vec<(&str, &str)> = made.iter().map(|(sql, named)| (&**sql, *named)).collect();
    assert_refused(env, &cases).await;
}

// Long: it is one table of cases.
async fn other_columns_are_refused(env: Env) {
    let changes = [
        ("ALTER TABLE items ADD COLUMN owner text", "owner"),
        (
            "ALTER TABLE items ADD COLUMN version bigint NOT NULL DEFAULT 1",
            "version",
        ),
        ("ALTER TABLE items DROP COLUMN updated_at", "updated_at"),
        (
            "ALTER TABLE items RENAME COLUMN value TO content",
            "content",
        ),
        ("ALTER TABLE items ALTER COLUMN id TYPE bigint", "id"),
        ("ALTER TABLE items ALTER COLUMN id DROP DEFAULT", "id"),
        (
            "ALTER TABLE items ALTER COLUMN key TYPE varchar(512)",
            "key",
        ),
        ("ALTER TABLE items ALTER COLUMN key DROP NOT NULL", "key"),
        ("ALTER TABLE items ALTER COLUMN key SET DEFAULT 'k'", "key"),
        (
            "ALTER TABLE items ALTER COLUMN key TYPE text COLLATE \"C\"",
            "key",
        ),
        ("ALTER TABLE items ALTER COLUMN value TYPE varchar", "value"),
        (
            "ALTER TABLE items ALTER COLUMN value TYPE jsonb USING to_jsonb(value)",
            "value",
        ),
        (
            "ALTER TABLE items ALTER COLUMN value DROP NOT NULL",
            "value",
        ),
        (
            "ALTER TABLE items ALTER COLUMN created_at TYPE timestamptz",
            "created_at",
        ),
        (
            "ALTER TABLE items ALTER COLUMN created_at TYPE timestamp(0)",
            "created_at",
        ),
        (
            "ALTER TABLE items ALTER COLUMN created_at SET NOT NULL",
            "created_at",
        ),
        (
            "ALTER TABLE items ALTER COLUMN updated_at DROP DEFAULT",
            "updated_at",
        ),
        (
            "ALTER TABLE items ALTER COLUMN updated_at SET DEFAULT '2020-01-01'",
            "updated_at",
        ),
        (
            "ALTER TABLE items ALTER COLUMN id DROP DEFAULT; DROP SEQUENCE items_id_seq; \
             ALTER TABLE items ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY",
            "id",
        ),
    ];
    assert_changes_refused(&env, &changes).await;
}

// Long: it is one table of cases.
async fn other_indexes_and_constraints_are_refused(env: Env) {
    let changes = [
        ("ALTER TABLE items DROP CONSTRAINT items_key_key", "key"),
        (
            "ALTER TABLE items DROP CONSTRAINT items_pkey",
            "PRIMARY KEY",
        ),
        ("ALTER TABLE items ADD UNIQUE (value)", "value"),
        (
            "CREATE UNIQUE INDEX one_value ON items (value)",
            "one_value",
        ),
        ("CREATE UNIQUE INDEX folded ON items (lower(key))", "folded"),
        ("CREATE INDEX by_value ON items (value)", "by_value"),
        (
            "ALTER TABLE items ADD CONSTRAINT short CHECK (length(key) < 100)",
            "100",
        ),
        (
            "ALTER TABLE items ADD CONSTRAINT e EXCLUDE USING btree (value WITH =)",
            "value",
        ),
        (
            "CREATE TABLE owners (name text PRIMARY KEY); \
             ALTER TABLE items ADD FOREIGN KEY (value) REFERENCES owners",
            "owners",
        ),
        (
            "CREATE TABLE notes (item integer REFERENCES items)",
            "notes",
        ),
        (
            "CREATE TABLE notes (item text REFERENCES items (key))",
            "notes",
        ),
        (
            "ALTER TABLE items DROP CONSTRAINT items_key_key; \
             ALTER TABLE items ADD UNIQUE (key) DEFERRABLE",
            "UNIQUE (key)",
        ),
        (
            "ALTER TABLE items DROP CONSTRAINT items_key_key; \
             CREATE UNIQUE INDEX partly ON items (key) WHERE value <> ''",
            "partly",
        ),
    ];
    assert_changes_refused(&env, &changes).await;
}

async fn what_else_hangs_on_the_table_is_refused(env: Env) {
    let changes = [
        (
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
             CREATE TRIGGER eats_rows BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION f()",
            "eats_rows",
        ),
        (
            "CREATE RULE swallow AS ON DELETE TO items DO INSTEAD NOTHING",
            "swallow",
        ),
        ("ALTER TABLE items ENABLE ROW LEVEL SECURITY", "row"),
        ("CREATE TABLE more_items () INHERITS (items)", "more_items"),
        ("CREATE VIEW seen AS SELECT id, key FROM items", "view seen"),
        (
            "CREATE MATERIALIZED VIEW kept AS SELECT count(value) FROM items",
            "view kept",
        ),
        ("ALTER SEQUENCE items_id_seq CYCLE", "begins anew"),
        ("ALTER SEQUENCE items_id_seq MAXVALUE 1000", "ends"),
    ];
    assert_changes_refused(&env, &changes).await;
}

async fn other_relations_by_this_name_are_refused(env: Env) {
    let columns = "id SERIAL PRIMARY KEY, key TEXT UNIQUE NOT NULL, value TEXT NOT NULL, \
                   created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, \
                   updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP";
    let renamed = HAND_MADE.replacen("items", "other", 1);
    let view = format!("{renamed}; CREATE VIEW items AS SELECT * FROM other");
    let snapshot = format!("{renamed}; CREATE MATERIALIZED VIEW items AS SELECT * FROM other");
    let unlogged = format!("CREATE UNLOGGED TABLE items ({columns})");
    let child =
        format!("{renamed}; CREATE TABLE items (LIKE other INCLUDING ALL) INHERITS (other)");
    assert_refused(
        &env,
        &[
            (&view, "kind"),
            (&snapshot, "kind"),
            (&unlogged, "unlogged"),
            (&child, "other"),
            ("CREATE TABLE items ()", "key"),
        ],
    )
    .await;
}

async fn a_table_in_another_schema_is_nobodys_business(env: Env) {
    let database = env.empty_database().await;
    let other = "CREATE SCHEMA other; CREATE TABLE other.items (name text); \
                 INSERT INTO other.items VALUES ('theirs')";
    database.execute(other).await;
    let _migrated = env.kvctl_on(&database, ["migrate"]).await.expect(0);
    let _fresh = env
        .kvctl_on(&database, ["migrate", "fresh", "--yes"])
        .await
        .expect(0);
    let _down = env
        .kvctl_on(&database, ["migrate", "down", "--steps", "99"])
        .await
        .expect(0);
    let kept: String = database.value("SELECT name FROM other.items").await;
    assert_eq!(kept, "theirs");
}
