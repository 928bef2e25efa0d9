//! Migrations: up, down, several at once, and beside other people's tables.

use std::{future::IntoFuture, time::Duration};

use sea_orm::{ConnectionTrait, TransactionTrait};
use tests::{Engine, Env, database::Database};
use tokio::{task::JoinSet, time::sleep};

use crate::kvctl::said::assert_failed;

tests::list! {
    EveryEngine =>
        up_down_and_up_again,
        migrate_alone_is_up_and_doing_it_twice_changes_nothing,
        status_names_what_is_applied_and_what_is_pending,
        several_kvctl_at_once_all_succeed,
        several_kvd_starting_at_once_all_succeed,
        fresh_needs_yes,
        fresh_empties_and_rebuilds_our_tables,
        other_tables_survive_down_and_fresh,
        a_newer_migration_is_left_alone,
        kvd_serves_as_soon_as_its_database_is_migrated,
        a_table_that_was_dropped_by_hand_is_made_again,
        a_column_that_is_missing_is_a_missing_migration,
        migrations_up_and_down_at_once_take_turns;
    Only(Engine::Postgres) => another_encoding_is_refused;
    Only(Engine::Sqlite) => a_new_file_that_others_write_is_waited_for
}

async fn kvctl<const N: usize>(env: &Env, database: &Database, args: [&str; N]) -> String {
    let output = env.kvctl_on(database, args).await.expect(0);
    output.text().to_owned()
}

async fn migrate(env: &Env, database: &Database, what: &str) -> String {
    kvctl(env, database, ["migrate", what]).await
}

async fn up_down_and_up_again(env: Env) {
    let database = env.empty_database().await;
    for _ in 0..2 {
        let _up = migrate(&env, &database, "up").await;
        let _put = kvctl(&env, &database, ["put", "a", "b"]).await;
        let rows: i64 = database.value("SELECT count(*) FROM items").await;
        assert_eq!(rows, 1);
        let _down = kvctl(&env, &database, ["migrate", "down", "--steps", "99"]).await;
        let gone = env.kvctl_on(&database, ["get", "a"]).await.expect(2);
        assert!(gone.stderr.contains("migrate"), "{}", gone.stderr);
        let applied: i64 = database.value("SELECT count(*) FROM kvd_migrations").await;
        assert_eq!(applied, 0);
    }
    let _nothing_left = migrate(&env, &database, "down").await;
    let _up = migrate(&env, &database, "up").await;
    let kvd = env.kvd_on(&database).start().await;
    kvd.get("/items/a").await.problem(404, "item-not-found");
    let _created = kvd.create("a", "b").await;
}

async fn migrate_alone_is_up_and_doing_it_twice_changes_nothing(env: Env) {
    let database = env.empty_database().await;
    let first = kvctl(&env, &database, ["migrate"]).await;
    let _put = kvctl(&env, &database, ["put", "a", "b"]).await;
    let second = kvctl(&env, &database, ["migrate"]).await;
    assert_ne!(first, second, "the second time there is nothing to do");
    assert_eq!(kvctl(&env, &database, ["get", "a"]).await, "b");
    let status = migrate(&env, &database, "status").await;
    assert!(!status.contains("pending"), "{status}");
}

async fn status_names_what_is_applied_and_what_is_pending(env: Env) {
    let database = env.empty_database().await;
    let before = migrate(&env, &database, "status").await;
    assert!(before.contains("pending") && !before.contains("applied"));
    let _up = migrate(&env, &database, "up").await;
    let after = migrate(&env, &database, "status").await;
    assert!(after.contains("applied") && !after.contains("pending"));
    assert_eq!(before.replace("pending", "applied"), after);

    let json = kvctl(&env, &database, ["migrate", "status", "-o", "json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let recorded = database.column::<String>("SELECT version FROM kvd_migrations ORDER BY version");
    let names: Vec<String> = recorded.await;
    let listed = json.as_array().expect("a list").iter();
    let listed: Vec<&str> = listed.filter_map(|m| m["name"].as_str()).collect();
    assert_eq!(listed, names);
}

/// One row for each migration, and a table that works.
async fn assert_migrated_once(env: &Env, database: &Database) {
    let applied: i64 = database.value("SELECT count(*) FROM kvd_migrations").await;
    let status = migrate(env, database, "status").await;
    assert_eq!(applied, status.lines().count() as i64, "{status}");
    assert!(!status.contains("pending"), "{status}");
    assert_eq!(kvctl(env, database, ["put", "x", "y"]).await.trim(), "1");
}

async fn several_kvctl_at_once_all_succeed(env: Env) {
    for _ in 0..3 {
        let database = env.empty_database().await;
        let mut processes = JoinSet::new();
        for _ in 0..6 {
            processes.spawn(env.kvctl_on(&database, ["migrate"]).into_future());
        }
        let mut applied = 0;
        for output in processes.join_all().await {
            let said = output.expect(0).text().to_owned();
            applied += usize::from(said.starts_with("applied"));
            assert!(said.starts_with("applied") || said == "nothing to do\n");
        }
        assert_eq!(applied, 1, "one of them did it, and the others say so");
        assert_migrated_once(&env, &database).await;
    }
}

async fn a_new_file_that_others_write_is_waited_for(env: Env) {
    let database = env.empty_database().await;
    let begun = database.connection().await.begin().await;
    let other = begun.expect("a transaction");
    let table = other.execute_unprepared("CREATE TABLE others (id INTEGER)");
    table.await.expect("written");
    let migrating = tokio::spawn(env.kvctl_on(&database, ["migrate"]).into_future());
    // Longer than an attempt to connect may take. A machine so slow that kvctl has not begun would only make the
    // test easier.
    sleep(Duration::from_secs(6)).await;
    other.commit().await.expect("committed");
    let _migrated = migrating.await.expect("no panic").expect(0);
}

async fn several_kvd_starting_at_once_all_succeed(env: Env) {
    let database = env.empty_database().await;
    let mut processes = JoinSet::new();
    for _ in 0..4 {
        processes.spawn(env.kvd_on(&database).flag("--migrate").start());
    }
    let started = processes.join_all().await;
    for kvd in &started {
        kvd.ready().await;
    }
    for (n, kvd) in started.iter().enumerate() {
        let _created = kvd.create(&n.to_string(), "").await;
    }
    assert_migrated_once(&env, &database).await;
}

async fn fresh_needs_yes(env: Env) {
    let _put = env.kvctl(["put", "a", "b"]).await.expect(0);
    let refused = env.kvctl(["migrate", "fresh"]).await.expect(2);
    assert_eq!(refused.text(), "");
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    assert_eq!(env.kvctl(["get", "a"]).await.expect(0).text(), "b");
}

async fn fresh_empties_and_rebuilds_our_tables(env: Env) {
    let database = env.database();
    let kvd = env.start().await;
    let _created = kvd.create("a", "b").await;
    let _fresh = kvctl(&env, database, ["migrate", "fresh", "--yes"]).await;
    let rows: i64 = database.value("SELECT count(*) FROM items").await;
    assert_eq!(rows, 0);
    assert_migrated_once(&env, database).await;
    // kvd goes on as if nothing had happened.
    kvd.get("/items/a").await.problem(404, "item-not-found");
    let _created = kvd.create("a", "b").await;

    let empty = env.empty_database().await;
    let _fresh = kvctl(&env, &empty, ["migrate", "fresh", "--yes"]).await;
    assert_migrated_once(&env, &empty).await;
}

async fn a_column_that_is_missing_is_a_missing_migration(env: Env) {
    let kvd = env.start().await;
    let _created = kvd.create("a", "1").await;
    let rename = async |from: &str, to: &str| {
        // Else SQLite looks for the column in the schema as this connection saw it last.
        let first = match env.engine() {
            Engine::Sqlite => "SELECT count(*) FROM items; ",
            Engine::Postgres | Engine::Mysql => "",
        };
        let sql = format!("{first}ALTER TABLE items RENAME COLUMN {from} TO {to}");
        env.database().execute(&sql).await;
    };
    for column in ["value", "updated_at", "expires_at"] {
        rename(column, "theirs").await;
        for call in [
            kvd.get("/items/a"),
            kvd.put("/items/a", "2"),
            kvd.put("/items/a?upsert=true", "2"),
            kvd.put("/items/new?upsert=true", "2"),
            kvd.post("new", "2"),
        ] {
            env.note(format!("without {column}: {}", call.asked()));
            call.await.problem(503, "database-unavailable");
        }
        rename("theirs", column).await;
    }
    assert_eq!(kvd.get("/items/a").await.expect(200).member("value"), "1");
    kvd.get("/items/new").await.problem(404, "item-not-found");
}

async fn a_table_that_was_dropped_by_hand_is_made_again(env: Env) {
    let database = env.database();
    database.execute("DROP TABLE items").await;
    let done = kvctl(&env, database, ["migrate"]).await;
    assert!(done.starts_with("applied"), "{done}");
    assert_migrated_once(&env, database).await;
    database.execute("DROP TABLE kvd_migrations").await;
    let _fresh = kvctl(&env, database, ["migrate", "fresh", "--yes"]).await;
    assert_migrated_once(&env, database).await;
}

async fn another_encoding_is_refused(env: Env) {
    let database = env.empty_database().await;
    let other = format!("{}_latin1", database.name());
    let make = format!("CREATE DATABASE {other} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    database.execute(&make).await;
    let url = database.url().replace(database.name(), &other);
    let refused = tests::kvctl::on(&url).args(["migrate"]).await;
    assert_failed(refused, 2, "LATIN1");
    database.execute(&format!("DROP DATABASE {other}")).await;
}

async fn migrations_up_and_down_at_once_take_turns(env: Env) {
    let database = env.empty_database().await;
    for _ in 0..5 {
        let mut processes = JoinSet::new();
        for words in [["migrate", "up"], ["migrate", "down"], ["migrate", "up"]] {
            processes.spawn(env.kvctl_on(&database, words).into_future());
        }
        for output in processes.join_all().await {
            let _done = output.expect(0);
        }
    }
}

async fn other_tables_survive_down_and_fresh(env: Env) {
    let database = env.empty_database().await;
    for name in ["items_2", "item", "seaql_migrations", "migrations"] {
        let create = format!("CREATE TABLE {name} (version varchar(99) PRIMARY KEY)");
        database.execute(&create).await;
        let insert = format!("INSERT INTO {name} VALUES ('theirs')");
        assert_eq!(database.execute(&insert).await, 1);
    }
    let down = ["migrate", "down", "--steps", "99"];
    for args in [&["migrate", "up"][..], &down, &["migrate", "up"]] {
        let _done = env.kvctl_on(&database, []).args(args).await.expect(0);
    }
    let _fresh = kvctl(&env, &database, ["migrate", "fresh", "--yes"]).await;
    let _down = kvctl(&env, &database, down).await;
    for name in ["items_2", "item", "seaql_migrations", "migrations"] {
        let select = format!("SELECT version FROM {name}");
        assert_eq!(database.value::<String>(&select).await, "theirs");
    }
}

async fn a_newer_migration_is_left_alone(env: Env) {
    let database = env.database();
    let newer = "INSERT INTO kvd_migrations (version, applied_at) \
                 SELECT 'm99991231_235959_newer', applied_at FROM kvd_migrations LIMIT 1";
    assert_eq!(database.execute(newer).await, 1);
    let _put = kvctl(&env, database, ["put", "a", "b"]).await;
    let count = "SELECT count(*) FROM kvd_migrations";
    let before: i64 = database.value(count).await;

    let _up = env.kvctl(["migrate"]).await.expect(0);
    let status = migrate(&env, database, "status").await;
    assert!(status.contains("m99991231_235959_newer"), "{status}");
    // To take back what one does not know is not possible.
    let down = env.kvctl(["migrate", "down"]).await.expect(2);
    assert!(down.stderr.contains("newer"), "{}", down.stderr);
    assert_eq!(database.value::<i64>(count).await, before);
    assert_eq!(kvctl(&env, database, ["get", "a"]).await, "b");

    let kvd = env.kvd().flag("--migrate").start().await;
    let _ready = kvd.get("/readyz").await.expect(200);
    assert_eq!(kvd.get("/items/a").await.member("value"), "b");
}

async fn kvd_serves_as_soon_as_its_database_is_migrated(env: Env) {
    let database = env.empty_database().await;
    let kvd = env.kvd_on(&database).start().await;
    for _ in 0..2 {
        let not_ready = kvd.get("/readyz").await.expect(503);
        assert!(not_ready.text().contains("migrat"), "{}", not_ready.text());
        for answer in [kvd.get("/items/").await, kvd.post("a", "b").await] {
            answer.problem(503, "database-unavailable");
            assert!(answer.header("retry-after").is_some());
        }
    }
    let _migrated = kvctl(&env, &database, ["migrate"]).await;
    // Items at once, and readiness when its second is over.
    let _created = kvd.create("a", "b").await;
    kvd.ready().await;
}
