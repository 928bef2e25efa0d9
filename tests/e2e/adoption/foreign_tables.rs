//! A table `items` of other software: refused, the difference named, nothing touched.

use tests::{Engine, Env, database::Database};

tests::list! {
    EveryEngine =>
        a_foreign_table_items_is_refused_untouched,
        a_table_almost_like_ours_is_refused,
        kvd_does_not_serve_a_foreign_table,
        a_table_of_ours_whose_migration_was_not_recorded_is_taken_up
}

/// A table with a row that has nothing to do with kvd.
const THEIRS: [&str; 2] = [
    "CREATE TABLE items (name varchar(20) PRIMARY KEY, price integer)",
    "INSERT INTO items VALUES ('apple', 3)",
];

async fn with(env: &Env, statements: &[&str]) -> std::sync::Arc<Database> {
    let database = env.empty_database().await;
    for sql in statements {
        database.execute(sql).await;
    }
    database
}

/// Exit code 2 and one line that names one of these parts of the difference.
async fn assert_refused(env: &Env, database: &Database, args: &[&str], named: &str) {
    let kvctl = tests::kvctl::on(&database.url()).directory(env.directory());
    let refused = kvctl.args(args).await.expect(2);
    assert_eq!(refused.text(), "", "{args:?}");
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("items"), "{}", refused.stderr);
    assert!(
        refused.stderr.contains(named),
        "no {named}: {}",
        refused.stderr
    );
}

async fn a_foreign_table_items_is_refused_untouched(env: Env) {
    let database = with(&env, &THEIRS).await;
    for args in [
        &["migrate"][..],
        &["migrate", "up"],
        &["migrate", "fresh", "--yes"],
    ] {
        assert_refused(&env, &database, args, "price").await;
    }
    let _nothing = env
        .kvctl_on(&database, ["migrate", "down", "--steps", "99"])
        .await
        .expect(0);
    assert_eq!(
        database.execute("UPDATE items SET price = price + 1").await,
        1
    );
    let name: String = database
        .value("SELECT name FROM items WHERE price = 4")
        .await;
    assert_eq!(name, "apple");
    let status = env
        .kvctl_on(&database, ["migrate", "status"])
        .await
        .expect(0);
    assert!(status.text().contains("pending"), "{}", status.text());
}

/// What makes ours something else, and the word for it.
// Long: it is one table of cases.
fn changes(engine: Engine) -> Vec<(&'static str, &'static str)> {
    match engine {
        Engine::Postgres => vec![
            ("ALTER TABLE items ADD COLUMN owner text", "owner"),
            (
                "ALTER TABLE items ALTER COLUMN key TYPE text COLLATE \"default\"",
                "key",
            ),
            (
                "ALTER TABLE items ALTER COLUMN value TYPE varchar(100)",
                "value",
            ),
            (
                "ALTER TABLE items ALTER COLUMN version DROP DEFAULT",
                "version",
            ),
            ("ALTER TABLE items ADD CHECK (value <> '')", "value"),
            ("ALTER TABLE items DROP CONSTRAINT items_key_key", "key"),
        ],
        Engine::Mysql => vec![
            ("ALTER TABLE items ADD COLUMN owner text", "owner"),
            (
                "ALTER TABLE items MODIFY `key` varchar(512) NOT NULL COLLATE utf8mb4_bin",
                "key",
            ),
            (
                "ALTER TABLE items MODIFY `key` varchar(512) NOT NULL COLLATE utf8mb4_general_ci",
                "key",
            ),
            ("ALTER TABLE items MODIFY value text NOT NULL", "value"),
            (
                "ALTER TABLE items MODIFY created_at timestamp NOT NULL",
                "created_at",
            ),
            (
                "ALTER TABLE items MODIFY version bigint NOT NULL",
                "version",
            ),
            ("ALTER TABLE items DROP INDEX items_key", "key"),
            (
                "CREATE TRIGGER t BEFORE INSERT ON items FOR EACH ROW SET NEW.value = ''",
                "t",
            ),
        ],
        Engine::Sqlite => vec![
            ("ALTER TABLE items ADD COLUMN owner TEXT", "owner"),
            (
                "ALTER TABLE items RENAME COLUMN value TO content",
                "content",
            ),
            ("CREATE UNIQUE INDEX one ON items (value)", "one"),
            (
                "CREATE TRIGGER t AFTER INSERT ON items BEGIN DELETE FROM items; END",
                "t",
            ),
            (
                "DROP TABLE items; CREATE TABLE items (id INTEGER PRIMARY KEY AUTOINCREMENT, \
                 key TEXT NOT NULL UNIQUE COLLATE NOCASE, value TEXT NOT NULL, \
                 version INTEGER NOT NULL DEFAULT 1, \
                 created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now')), \
                 updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now'))) STRICT",
                "key",
            ),
        ],
    }
}

/// Only tables without a record of ours are looked at: what is recorded was made by us.
async fn a_table_almost_like_ours_is_refused(env: Env) {
    let mut accepted = Vec::new();
    for (change, named) in changes(env.engine()) {
        let database = env.empty_database().await;
        let _ours = env.kvctl_on(&database, ["migrate"]).await.expect(0);
        database.execute("DELETE FROM kvd_migrations").await;
        database.execute(change).await;
        let migrated = env.kvctl_on(&database, ["migrate"]).await;
        match migrated.code {
            2 => assert_refused(&env, &database, &["migrate"], named).await,
            _ => accepted.push(change),
        }
    }
    assert!(accepted.is_empty(), "taken for ours: {accepted:#?}");
}

async fn kvd_does_not_serve_a_foreign_table(env: Env) {
    let database = with(&env, &THEIRS).await;
    let kvd = env.kvd_on(&database).start().await;
    let _not_ready = kvd.get("/readyz").await.expect(503);
    for answer in [
        kvd.get("/items/").await,
        kvd.get("/items/apple").await,
        kvd.post("pear", "4").await,
        kvd.put("/items/pear?upsert=true", "4").await,
        kvd.delete("/items/apple").await,
    ] {
        answer.problem(503, "database-unavailable");
    }
    let _ended = kvd.stop().await.expect(0);
    // Told to migrate, it says why it cannot.
    let output = env.kvd_on(&database).flag("--migrate").run().await;
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains("price"), "{}", output.stderr);
    let price: i32 = database.value("SELECT price FROM items").await;
    assert_eq!(price, 3);
}

/// As a migration leaves it that was killed between its two steps, which MySQL cannot do in one.
async fn a_table_of_ours_whose_migration_was_not_recorded_is_taken_up(env: Env) {
    let database = env.database();
    let _put = env.kvctl(["put", "a", "b"]).await.expect(0);
    database.execute("DELETE FROM kvd_migrations").await;
    let kvd = env.start().await;
    let _not_ready = kvd.get("/readyz").await.expect(503);
    let _migrated = env.kvctl(["migrate"]).await.expect(0);
    assert_eq!(env.kvctl(["get", "a"]).await.expect(0).text(), "b");
    let status = env.kvctl(["migrate", "status"]).await.expect(0);
    assert!(!status.text().contains("pending"), "{}", status.text());
}
