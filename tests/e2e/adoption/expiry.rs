//! The migrations of expiry: what they take back, and that nobody waits for them.

use sea_orm::{ConnectionTrait, DatabaseTransaction, IsolationLevel, TransactionTrait};
use tests::{Engine, Env, database::Database, kvctl::RunningKvctl, load::until, process::send};

use crate::{
    adoption::hand_made::{HAND_MADE, catalogue},
    kvctl::said::assert_failed,
};

tests::list! {
    EveryEngine =>
        down_deletes_what_has_expired_and_keeps_the_rest_for_ever,
        items_lose_their_end_only_where_that_is_meant,
        what_an_older_kvd_sends_goes_on;
    Only(Engine::Postgres) =>
        an_adopted_table_gets_its_old_shape_back_without_what_has_expired,
        a_migration_behind_a_long_read_lets_writes_past,
        beside_a_long_read_of_before_writes_of_kvd_go_on,
        a_making_of_an_index_that_was_stopped_is_begun_again,
        a_taking_back_of_an_index_that_was_stopped_is_taken_up_again,
        what_was_made_without_a_record_is_taken_up_and_back,
        killed_while_it_makes_an_index_it_can_be_run_again,
        a_table_that_was_dropped_by_hand_can_be_taken_back;
    Only(Engine::Mysql) =>
        a_migration_behind_a_long_read_lets_writes_past,
        what_was_stopped_between_two_statements_is_taken_up_again
}

/// The steps down to the version that knows nothing of expiry.
const ALL: &str = "2";

async fn migrate(env: &Env, database: &Database, words: &[&str]) -> String {
    let migrate = env.kvctl_on(database, ["migrate"]).args(words);
    migrate.await.expect(0).text().to_owned()
}

fn key(engine: Engine) -> &'static str {
    match engine {
        Engine::Mysql => "`key`",
        Engine::Postgres | Engine::Sqlite => "key",
    }
}

/// Three items: one that has expired, one that is going to, and one that never does.
async fn fill(database: &Database) {
    let key = key(database.engine());
    let insert = format!(
        "INSERT INTO items ({key}, value, expires_at) VALUES ('gone', '', '2001-01-01 00:00:00.000000'), \
         ('ending', '', '2999-01-01 00:00:00.000000'), ('lasting', '', NULL)"
    );
    assert_eq!(database.execute(&insert).await, 3);
}

async fn keys(database: &Database) -> Vec<String> {
    let key = key(database.engine());
    let sql = format!("SELECT {key} FROM items ORDER BY {key}");
    database.column(&sql).await
}

async fn down_deletes_what_has_expired_and_keeps_the_rest_for_ever(env: Env) {
    let database = env.database();
    fill(database).await;
    for _ in 0..2 {
        let down = ["down", "--steps", ALL, "--yes"];
        let said = migrate(&env, database, &down).await;
        assert_eq!(said.lines().count(), 2, "{said}");
        assert_eq!(keys(database).await, ["ending", "lasting"]);
        let said = migrate(&env, database, &["up"]).await;
        assert_eq!(said.lines().count(), 2, "{said}");
        let ends: i64 = database.value("SELECT count(expires_at) FROM items").await;
        assert_eq!(ends, 0);
    }
    let kvd = env.start().await;
    kvd.get("/items/gone").await.problem(404, "item-not-found");
    let _lasting = kvd.get("/items/ending").await.expect(200);
    let page = kvd.get("/items/").await.expect(200).json();
    assert_eq!(page["total"], 2);
}

async fn items_lose_their_end_only_where_that_is_meant(env: Env) {
    let database = env.database();
    fill(database).await;
    let _token = env.token(["app", "--read", ""]).await;
    for (steps, lost) in [
        (
            "2",
            "items would never expire: 1; add --yes if that is meant",
        ),
        (
            "3",
            "tokens would be lost: 1; items would never expire: 1; add --yes",
        ),
    ] {
        let refused = env.kvctl(["migrate", "down", "--steps", steps]).await;
        assert_failed(refused, 2, lost);
        let status = migrate(&env, database, &["status"]).await;
        assert!(!status.contains("pending"), "{status}");
    }
    assert_eq!(keys(database).await, ["ending", "gone", "lasting"]);
    // The indexes hold nothing that could be lost.
    let _down = migrate(&env, database, &["down"]).await;
    let refused = env.kvctl(["migrate", "down"]).await;
    assert_failed(refused, 2, "items would never expire: 1");
    let _up = migrate(&env, database, &["up"]).await;
    // What has expired is no loss.
    let delete = format!(
        "DELETE FROM items WHERE {} = 'ending'",
        key(database.engine())
    );
    assert_eq!(database.execute(&delete).await, 1);
    let _down = migrate(&env, database, &["down", "--steps", ALL]).await;
    assert_eq!(keys(database).await, ["lasting"]);
}

/// What 0.1 and 0.2 send names its columns, and finds the one index that keeps the keys unique.
async fn what_an_older_kvd_sends_goes_on(env: Env) {
    let database = env.database();
    let key = key(database.engine());
    let insert = format!("INSERT INTO items ({key}, value) VALUES ('a', '1')");
    assert_eq!(database.execute(&insert).await, 1);
    let again = match database.engine() {
        Engine::Mysql => "ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id), version = version + 1",
        Engine::Postgres | Engine::Sqlite => {
            "ON CONFLICT (key) DO UPDATE SET version = items.version + 1, value = excluded.value"
        }
    };
    let _upserted = database.execute(&format!("{insert} {again}")).await;
    let update = format!("UPDATE items SET version = version + 1, value = '2' WHERE {key} = 'a'");
    assert_eq!(database.execute(&update).await, 1);
    let kvd = env.start().await;
    let read = kvd.get("/items/a").await.expect(200);
    assert_eq!(
        (read.member("value").as_str(), read.etag().as_str()),
        ("2", "\"1-3\"")
    );
    assert!(read.json()["expires_at"].is_null());
}

async fn an_adopted_table_gets_its_old_shape_back_without_what_has_expired(env: Env) {
    let database = env.empty_database().await;
    // Of a table that was renamed the constraint keeps the name.
    let made = HAND_MADE.replace("TABLE items", "TABLE things");
    database.execute(&made).await;
    database.execute("ALTER TABLE things RENAME TO items").await;
    let shape = catalogue(&database).await;
    for _ in 0..2 {
        let _up = migrate(&env, &database, &["up"]).await;
        assert_ne!(catalogue(&database).await, shape);
        fill(&database).await;
        let all = ["down", "--steps", "99"];
        let refused = env.kvctl_on(&database, ["migrate"]).args(all).await;
        assert_failed(refused, 2, "items would never expire: 1");
        let _down = migrate(&env, &database, &[&all[..], &["--yes"]].concat()).await;
        assert_eq!(catalogue(&database).await, shape);
        assert_eq!(keys(&database).await, ["ending", "lasting"]);
        database.execute("DELETE FROM items").await;
    }
}

/// Reads the table and does not end.
async fn reading(database: &Database, level: IsolationLevel) -> DatabaseTransaction {
    let connection = database.connection().await;
    let begun = connection.begin_with_config(Some(level), None).await;
    let reader = begun.expect("a transaction");
    let read = reader.execute_unprepared("SELECT value FROM items").await;
    read.expect("the items");
    reader
}

/// How many sessions of kvctl wait for the lock of the table.
async fn waiting(database: &Database) -> i64 {
    let sql = match database.engine() {
        Engine::Mysql => {
            "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE() \
             AND state = 'Waiting for table metadata lock' AND info LIKE 'ALTER TABLE%'"
        }
        Engine::Postgres | Engine::Sqlite => {
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND application_name = 'kvctl' AND wait_event_type = 'Lock'"
        }
    };
    database.value(sql).await
}

/// Writes as software does that has no patience for more than some seconds.
async fn write(database: &Database, n: usize) {
    let limit = match database.engine() {
        Engine::Mysql => "SET SESSION lock_wait_timeout = 20",
        Engine::Postgres | Engine::Sqlite => "SET lock_timeout = '20s'",
    };
    let writer = database.connection().await.begin().await;
    let writer = writer.expect("a transaction");
    writer.execute_unprepared(limit).await.expect("the limit");
    let key = key(database.engine());
    let insert = format!("INSERT INTO items ({key}, value) VALUES ('k{n}', '')");
    let written = writer.execute_unprepared(&insert).await;
    written.expect("written while a migration waits");
    writer.commit().await.expect("committed");
}

/// It asks for the lock of the table again and again, and lets go in between.
async fn a_migration_behind_a_long_read_lets_writes_past(env: Env) {
    let database = env.database();
    let mut n = 0;
    // At first the indexes are missing, then the column, too.
    for steps in ["1", ALL] {
        let _down = migrate(&env, database, &["down", "--steps", steps]).await;
        let reader = reading(database, IsolationLevel::ReadCommitted).await;
        let migration = env.kvctl(["migrate"]).spawn();
        for _ in 0..3 {
            until("the migration waits", async || waiting(database).await == 1).await;
            n += 1;
            write(database, n).await;
            until("it lets go", async || waiting(database).await == 0).await;
        }
        let status = migrate(&env, database, &["status"]).await;
        assert!(status.contains("pending"), "{status}");
        reader.rollback().await.expect("the end of the read");
        let _migrated = migration.end().await.expect(0);
        let status = migrate(&env, database, &["status"]).await;
        assert!(!status.contains("pending"), "{status}");
    }
    let rows: i64 = database.value("SELECT count(*) FROM items").await;
    assert_eq!(rows, 6);
}

/// A migration that makes an index, which waits for a read that began before.
async fn indexing(env: &Env) -> (DatabaseTransaction, RunningKvctl) {
    let database = env.database();
    let _down = migrate(env, database, &["down"]).await;
    let reader = reading(database, IsolationLevel::RepeatableRead).await;
    let migration = env.kvctl(["migrate"]).spawn();
    until_indexing(database).await;
    (reader, migration)
}

async fn until_indexing(database: &Database) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
               AND application_name = 'kvctl' AND wait_event = 'virtualxid'";
    until("kvctl waits for the reader", async || {
        database.value::<i64>(sql).await == 1
    })
    .await;
}

async fn beside_a_long_read_of_before_writes_of_kvd_go_on(env: Env) {
    let (reader, migration) = indexing(&env).await;
    let kvd = env.start().await;
    for n in 0..100 {
        let _created = kvd.create(&format!("k{n}"), "").await;
        let _updated = kvd.put(&format!("/items/k{n}"), "v").await.expect(200);
    }
    until_indexing(env.database()).await;
    reader.rollback().await.expect("the end of the read");
    let _migrated = migration.end().await.expect(0);
    kvd.ready().await;
    kvd.post("k7", "").await.problem(409, "key-exists");
    assert_eq!(kvd.get("/items/").await.json()["total"], 100);
}

async fn end_sessions_of_kvctl(database: &Database) {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = 'kvctl'";
    assert_eq!(database.value::<i64>(sql).await, 1);
}

async fn invalid_indexes(database: &Database) -> i64 {
    let sql = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    database.value(sql).await
}

async fn a_making_of_an_index_that_was_stopped_is_begun_again(env: Env) {
    let database = env.database();
    let whole = catalogue(database).await;
    let (reader, migration) = indexing(&env).await;
    end_sessions_of_kvctl(database).await;
    let _ended = migration.end().await.expect(2);
    assert_eq!(invalid_indexes(database).await, 1);
    reader.rollback().await.expect("the end of the read");
    let _up = migrate(&env, database, &["up"]).await;
    assert_eq!(invalid_indexes(database).await, 0);
    assert_eq!(catalogue(database).await, whole);
    // As well by the other direction.
    let (reader, migration) = indexing(&env).await;
    end_sessions_of_kvctl(database).await;
    let _ended = migration.end().await.expect(2);
    reader.rollback().await.expect("the end of the read");
    let _down = migrate(&env, database, &["down"]).await;
    assert_eq!(invalid_indexes(database).await, 0);
    let _up = migrate(&env, database, &["up"]).await;
    assert_eq!(catalogue(database).await, whole);
}

async fn a_taking_back_of_an_index_that_was_stopped_is_taken_up_again(env: Env) {
    let database = env.database();
    let whole = catalogue(database).await;
    let _down = migrate(&env, database, &["down"]).await;
    let before = catalogue(database).await;
    for (direction, shape) in [("down", before), ("up", whole)] {
        let _up = migrate(&env, database, &["up"]).await;
        let reader = reading(database, IsolationLevel::RepeatableRead).await;
        let down = env.kvctl(["migrate", "down"]).spawn();
        until_indexing(database).await;
        end_sessions_of_kvctl(database).await;
        let _ended = down.end().await.expect(2);
        assert_eq!(invalid_indexes(database).await, 1);
        reader.rollback().await.expect("the end of the read");
        let _done = migrate(&env, database, &[direction]).await;
        assert_eq!(catalogue(database).await, shape, "{direction}");
    }
}

/// With its column PostgreSQL would drop the constraint that keeps the keys unique.
async fn what_was_made_without_a_record_is_taken_up_and_back(env: Env) {
    let database = env.database();
    let whole = catalogue(database).await;
    let forget = "DELETE FROM kvd_migrations WHERE version LIKE '%expiry_indexes'";
    database.execute(forget).await;
    let _up = migrate(&env, database, &["up"]).await;
    assert_eq!(catalogue(database).await, whole);
    database.execute(forget).await;
    let _down = migrate(&env, database, &["down"]).await;
    let constraint = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'u' \
                      AND conrelid = 'items'::regclass";
    let kept: String = database.value(constraint).await;
    assert_eq!(kept, "UNIQUE (key)");
    let _up = migrate(&env, database, &["up"]).await;
    assert_eq!(catalogue(database).await, whole);
}

/// The server goes on for a client that is gone, and the next one waits for it.
async fn killed_while_it_makes_an_index_it_can_be_run_again(env: Env) {
    let database = env.database();
    let whole = catalogue(database).await;
    let (reader, migration) = indexing(&env).await;
    send(migration.pid(), nix::sys::signal::Signal::SIGKILL);
    let _killed = migration.end().await;
    let again = env.kvctl(["migrate"]).spawn();
    let sessions = "SELECT count(*) FROM pg_stat_activity \
                    WHERE datname = current_database() AND application_name = 'kvctl'";
    until("the next one is there", async || {
        database.value::<i64>(sessions).await == 2
    })
    .await;
    reader.rollback().await.expect("the end of the read");
    let _migrated = again.end().await.expect(0);
    assert_eq!(catalogue(database).await, whole);
    assert_eq!(invalid_indexes(database).await, 0);
}

/// The statements that end a transaction, and what they leave before the record of them is written.
async fn what_was_stopped_between_two_statements_is_taken_up_again(env: Env) {
    let database = env.database();
    let made = "SELECT CONCAT(index_name, ' ', seq_in_index, ' ', column_name) \
                FROM information_schema.statistics WHERE table_schema = DATABASE() \
                AND table_name = 'items' ORDER BY index_name, seq_in_index";
    let whole: Vec<String> = database.column(made).await;
    assert_eq!(whole.len(), 5, "{whole:?}");
    let forget = |name: &str| format!("DELETE FROM kvd_migrations WHERE version LIKE '%{name}'");
    let drop_key = |name: &str| format!("ALTER TABLE items DROP KEY {name}");
    let (column, indexes) = (forget("expiry"), forget("expiry_indexes"));
    let (ends, keys) = (
        drop_key("items_expires_at"),
        drop_key("items_key_expires_at"),
    );
    for (stopped, direction) in [
        (&[&indexes, &keys][..], "up"),
        (&[&indexes], "up"),
        (&[&ends], "up"),
        (&[&ends, &keys], "up"),
        (&[&indexes, &column, &ends, &keys], "up"),
        (&[&ends], "down"),
        // With their column these would turn into others of the same names.
        (&[&indexes, &keys], "down"),
        (&[&indexes], "down"),
    ] {
        for statement in stopped {
            database.execute(statement).await;
        }
        env.note(format!("{direction} after {stopped:?}"));
        let _done = migrate(&env, database, &[direction]).await;
        let _up = migrate(&env, database, &["up"]).await;
        let found: Vec<String> = database.column(made).await;
        assert_eq!(found, whole, "{direction} after {stopped:?}");
        let _put = env.kvctl(["put", "a", "b"]).await.expect(0);
    }
}

async fn a_table_that_was_dropped_by_hand_can_be_taken_back(env: Env) {
    let database = env.database();
    database.execute("DROP TABLE items").await;
    let _down = migrate(&env, database, &["down", "--steps", "99"]).await;
    let applied: i64 = database.value("SELECT count(*) FROM kvd_migrations").await;
    assert_eq!(applied, 0);
}
