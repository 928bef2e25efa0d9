//! A table made by hand on PostgreSQL is adopted with every row kept, and can be given back.

use std::sync::Arc;

use tests::{Engine, Env, database::Database};

tests::list! {
    Only(Engine::Postgres) =>
        every_row_of_a_hand_made_table_is_kept_and_served,
        its_times_are_utc_and_null_becomes_the_time_of_the_migration,
        times_that_rfc_3339_cannot_write_become_the_time_of_the_migration,
        its_sequence_becomes_64_bit,
        its_sequence_goes_on_behind_ids_that_were_inserted_by_hand,
        an_adopted_table_is_like_one_of_ours,
        down_gives_the_old_shape_back_and_drops_nothing,
        up_again_adopts_it_again,
        an_empty_hand_made_table_is_adopted_too
}

/// To the letter what the contract says.
pub(crate) const HAND_MADE: &str = "CREATE TABLE items (id SERIAL PRIMARY KEY, \
    key TEXT UNIQUE NOT NULL, value TEXT NOT NULL, \
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, \
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)";

/// The second time does not exist in this zone's local time, so reading it as local would show.
const ROWS: &str = "INSERT INTO items (key, value, created_at, updated_at) VALUES \
    ('timed', 'one', '2020-01-02 03:04:05.678901', '2021-03-28 02:30:00'), \
    ('nulls', 'two', NULL, NULL), \
    ('half', '', '1999-12-31 23:59:59.999999', NULL), \
    ('Zebra', 'three', DEFAULT, DEFAULT), ('apple', 'four', DEFAULT, DEFAULT)";

/// Keys that break the rule, and still are rows.
pub(crate) fn odd_keys() -> Vec<String> {
    let odd = ["", ".", "..", "\u{1}", "tab\there", "line\nbreak", "\u{7f}"];
    let mut odd: Vec<String> = odd.map(str::to_owned).to_vec();
    odd.extend(["k".repeat(513), "😀".repeat(400)]);
    odd
}

/// A database far from UTC with the table and its rows.
pub(crate) async fn hand_made(env: &Env) -> Arc<Database> {
    let database = env.empty_database().await;
    let zone = format!(
        "ALTER DATABASE {} SET TimeZone = 'Europe/Berlin'",
        database.name()
    );
    database.execute(&zone).await;
    database.execute(HAND_MADE).await;
    database.execute(ROWS).await;
    database
}

pub(crate) async fn with_odd_keys(env: &Env) -> Arc<Database> {
    let database = hand_made(env).await;
    for key in odd_keys() {
        let insert = format!("INSERT INTO items (key, value) VALUES ('{key}', 'odd')");
        assert_eq!(database.execute(&insert).await, 1);
    }
    database
}

pub(crate) async fn migrate(env: &Env, database: &Database, what: &str) -> String {
    let output = env.kvctl_on(database, ["migrate", what]).await.expect(0);
    output.stderr
}

/// Takes all migrations back.
async fn down(env: &Env, database: &Database) {
    let down = ["migrate", "down", "--steps", "99"];
    let _done = env.kvctl_on(database, down).await.expect(0);
}

/// Under one collation, so that the statement can be prepared once for the table's both shapes.
async fn rows(database: &Database) -> Vec<String> {
    let sql = "SELECT concat_ws('|', id, key, value) COLLATE \"C\" FROM items ORDER BY id";
    database.column(sql).await
}

/// Everything the catalogue says of the table, but for the numbers of its columns.
pub(crate) async fn catalogue(database: &Database) -> Vec<String> {
    let sql = "SELECT line FROM (\
        SELECT 1 AS part, row_number() OVER (ORDER BY attnum) AS n, concat_ws(' | ', attname, \
        format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, attcollation::regcollation, \
        pg_get_expr(adbin, adrelid), col_description(attrelid, attnum)) AS line \
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum \
        WHERE attrelid = 'items'::regclass AND attnum > 0 AND NOT attisdropped \
        UNION ALL SELECT 2, 0, conname || ' ' || pg_get_constraintdef(oid) \
        FROM pg_constraint WHERE conrelid = 'items'::regclass \
        UNION ALL SELECT 3, 0, indexdef FROM pg_indexes WHERE tablename = 'items' \
        UNION ALL SELECT 4, 0, tgname::text FROM pg_trigger WHERE tgrelid = 'items'::regclass \
        UNION ALL SELECT 5, 0, concat_ws(' ', relkind, relpersistence, relowner::regrole, relacl, \
        relrowsecurity, relhasrules, obj_description(oid)) FROM pg_class WHERE oid = 'items'::regclass \
        UNION ALL SELECT 6, 0, concat_ws(' ', sequencename, data_type, start_value, min_value, \
        max_value, increment_by, cycle, cache_size, pg_get_serial_sequence('items', 'id')) \
        FROM pg_sequences) AS all_lines ORDER BY part, n, line";
    // A view, or a table without this key, has no sequence to speak of.
    let has_id =
        "SELECT count(*) FROM pg_attribute WHERE attrelid = 'items'::regclass AND attname = 'id'";
    let sql = match database.value::<i64>(has_id).await {
        0 => sql.replace("pg_get_serial_sequence('items', 'id')", "''"),
        _ => sql.to_owned(),
    };
    database.column(&sql).await
}

async fn every_row_of_a_hand_made_table_is_kept_and_served(env: Env) {
    let database = hand_made(&env).await;
    let before = rows(&database).await;
    let _said = migrate(&env, &database, "up").await;
    assert_eq!(rows(&database).await, before);

    let kvd = env.kvd_on(&database).start().await;
    let _ready = kvd.get("/readyz").await.expect(200);
    let page = kvd.get("/items/").await.expect(200).json();
    assert_eq!(page["total"], 5);
    let keys: Vec<&str> = page["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item["key"].as_str())
        .collect();
    assert_eq!(
        keys,
        ["Zebra", "apple", "half", "nulls", "timed"],
        "byte order"
    );
    let read = kvd.get("/items/timed").await.expect(200);
    assert_eq!(read.member("value"), "one");
    assert_eq!(read.etag(), "\"1-1\"");
    let updated = kvd.put("/items/timed", "new").header("If-Match", "\"1-1\"");
    assert_eq!(updated.await.expect(200).etag(), "\"1-2\"");
    kvd.post("half", "").await.problem(409, "key-exists");
    assert_eq!(kvd.create("new", "").await.etag(), "\"7-1\"");
    let _deleted = kvd.delete("/items/nulls").await.expect(204);
}

#[track_caller]
fn assert_now(text: &str) {
    let time: chrono::DateTime<chrono::Utc> = text.parse().expect("RFC 3339");
    let away = (chrono::Utc::now() - time).num_minutes().abs();
    assert!(away < 20, "{text} is {away} minutes away");
}

async fn its_times_are_utc_and_null_becomes_the_time_of_the_migration(env: Env) {
    let database = hand_made(&env).await;
    let _said = migrate(&env, &database, "up").await;
    let kvd = env.kvd_on(&database).start().await;
    let timed = kvd.get("/items/timed").await.expect(200);
    assert_eq!(timed.member("created_at"), "2020-01-02T03:04:05.678901Z");
    assert_eq!(timed.member("updated_at"), "2021-03-28T02:30:00.000000Z");
    let half = kvd.get("/items/half").await.expect(200);
    assert_eq!(half.member("created_at"), "1999-12-31T23:59:59.999999Z");
    assert_now(&half.member("updated_at"));
    let nulls = kvd.get("/items/nulls").await.expect(200);
    assert_now(&nulls.member("created_at"));
    assert_eq!(nulls.member("created_at"), nulls.member("updated_at"));
    assert_eq!(half.member("updated_at"), nulls.member("updated_at"));
}

async fn times_that_rfc_3339_cannot_write_become_the_time_of_the_migration(env: Env) {
    let database = hand_made(&env).await;
    let odd = "INSERT INTO items (key, value, created_at, updated_at) VALUES \
        ('infinite', '', 'infinity', '-infinity'), ('far', '', '20000-01-01', '0044-03-15 BC')";
    database.execute(odd).await;
    let _said = migrate(&env, &database, "up").await;
    let kvd = env.kvd_on(&database).start().await;
    let _listed = kvd.get("/items/").await.expect(200);
    for key in ["infinite", "far"] {
        let item = kvd.get(&format!("/items/{key}")).await.expect(200);
        assert_now(&item.member("created_at"));
        assert_now(&item.member("updated_at"));
    }
}

async fn its_sequence_goes_on_behind_ids_that_were_inserted_by_hand(env: Env) {
    let database = env.empty_database().await;
    database.execute(HAND_MADE).await;
    let restored = "INSERT INTO items (id, key, value) VALUES (1, 'a', ''), (70, 'b', '')";
    database.execute(restored).await;
    let _said = migrate(&env, &database, "up").await;
    let kvd = env.kvd_on(&database).start().await;
    let created = kvd.post("c", "").await.expect(201);
    let id = created.member("etag").split('-').next().map(str::to_owned);
    assert_eq!(id.as_deref(), Some("71"));
}

async fn its_sequence_becomes_64_bit(env: Env) {
    let database = hand_made(&env).await;
    let _said = migrate(&env, &database, "up").await;
    let kvd = env.kvd_on(&database).start().await;
    // The last id of 32 bits, and the first beyond.
    let jump = "SELECT setval(pg_get_serial_sequence('items', 'id'), 2147483646)";
    database.execute(jump).await;
    assert_eq!(kvd.create("a", "").await.etag(), "\"2147483647-1\"");
    assert_eq!(kvd.create("b", "").await.etag(), "\"2147483648-1\"");
    let plain = "INSERT INTO items (key, value) VALUES ('c', '')";
    assert_eq!(database.execute(plain).await, 1);
    assert_eq!(
        kvd.get("/items/c").await.expect(200).etag(),
        "\"2147483649-1\""
    );
}

/// But for the mark that `down` goes by, and its columns' order.
async fn an_adopted_table_is_like_one_of_ours(env: Env) {
    let adopted = hand_made(&env).await;
    let _said = migrate(&env, &adopted, "up").await;
    let sorted = |lines: Vec<String>| {
        let mut lines: Vec<String> = lines
            .into_iter()
            .map(|line| {
                line.split(" | adopted")
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect();
        lines.sort();
        lines
    };
    let ours = catalogue(env.database()).await;
    assert_eq!(sorted(catalogue(&adopted).await), sorted(ours));
}

async fn down_gives_the_old_shape_back_and_drops_nothing(env: Env) {
    let database = with_odd_keys(&env).await;
    let shape = catalogue(&database).await;
    let rows = "SELECT concat_ws('|', id, key, value, created_at) COLLATE \"C\" FROM items \
                WHERE key NOT IN ('nulls', 'mine') ORDER BY id";
    let before: Vec<String> = database.column(rows).await;
    let _said = migrate(&env, &database, "up").await;
    assert_ne!(catalogue(&database).await, shape);
    let kvd = env.kvd_on(&database).start().await;
    let _updated = kvd.put("/items/nulls", "updated").await.expect(200);
    let _created = kvd.create("mine", "kept").await;
    let _ended = kvd.stop().await.expect(0);

    down(&env, &database).await;
    assert_eq!(catalogue(&database).await, shape);
    let after: Vec<String> = database.column(rows).await;
    assert_eq!(before, after);
    let written =
        "SELECT string_agg(value, ' ' ORDER BY key) FROM items WHERE key IN ('nulls', 'mine')";
    assert_eq!(database.value::<String>(written).await, "kept updated");
    // The hands that made it can go on as before.
    let insert = "INSERT INTO items (key, value, created_at) VALUES ('theirs', '', NULL)";
    assert_eq!(database.execute(insert).await, 1);
}

async fn up_again_adopts_it_again(env: Env) {
    let database = with_odd_keys(&env).await;
    let shape = catalogue(&database).await;
    let before = rows(&database).await;
    for _ in 0..3 {
        let _said = migrate(&env, &database, "up").await;
        assert_eq!(rows(&database).await, before);
        down(&env, &database).await;
        assert_eq!(catalogue(&database).await, shape);
    }
    let _said = migrate(&env, &database, "up").await;
    let kvd = env.kvd_on(&database).start().await;
    let timed = kvd.get("/items/timed").await.expect(200);
    assert_eq!(timed.member("created_at"), "2020-01-02T03:04:05.678901Z");
    assert_eq!(timed.json()["version"], 1);
}

async fn an_empty_hand_made_table_is_adopted_too(env: Env) {
    let database = env.empty_database().await;
    database.execute(HAND_MADE).await;
    let said = migrate(&env, &database, "up").await;
    assert!(said.contains("adopt"), "{said}");
    let kvd = env.kvd_on(&database).start().await;
    assert_eq!(kvd.create("a", "b").await.etag(), "\"1-1\"");
    down(&env, &database).await;
    assert_eq!(database.value::<String>("SELECT key FROM items").await, "a");
}
