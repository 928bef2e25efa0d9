//! The table `items` as the contract describes it, on each engine, seen past kvd.

use sea_orm::ConnectionTrait;
use tests::{Engine, Env, item};

tests::list! {
    EveryEngine =>
        the_columns_are_of_the_contracts_types,
        ids_and_versions_are_64_bit,
        the_database_itself_keeps_keys_apart_and_unique,
        the_longest_key_and_the_largest_value_fit,
        a_larger_max_value_bytes_fits_too;
    Only(Engine::Postgres) => times_are_utc_whatever_the_time_zone_of_a_postgresql_session;
    Only(Engine::Mysql) => times_are_utc_whatever_the_time_zone_of_a_mysql_session
}

/// A line for each column: name, type, nullability and what else the contract says of it.
fn columns(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => {
            "SELECT concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), \
             CASE WHEN a.attnotnull THEN 'not null' ELSE 'null' END, \
             CASE WHEN a.attname = 'key' THEN c.collname END, \
             CASE WHEN pg_get_expr(d.adbin, d.adrelid) IN ('1', 'now()') \
             THEN pg_get_expr(d.adbin, d.adrelid) END) \
             FROM pg_attribute a LEFT JOIN pg_collation c ON c.oid = a.attcollation \
             LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
             WHERE a.attrelid = 'items'::regclass AND a.attnum > 0 AND NOT a.attisdropped \
             ORDER BY a.attnum"
        }
        Engine::Mysql => {
            "SELECT CONVERT(CONCAT_WS(' ', column_name, \
             CASE WHEN data_type = 'datetime' THEN column_type ELSE data_type END, \
             CASE is_nullable WHEN 'NO' THEN 'not null' ELSE 'null' END, \
             CASE WHEN column_name = 'key' THEN CONCAT(character_set_name, ' ', \
             CASE WHEN collation_name IN ('utf8mb4_nopad_bin', 'utf8mb4_0900_bin') \
             THEN 'binary no-pad' ELSE collation_name END) END, \
             CASE WHEN column_name = 'version' THEN column_default END) USING utf8mb4) \
             FROM information_schema.columns WHERE table_schema = DATABASE() \
             AND table_name = 'items' ORDER BY ordinal_position"
        }
        Engine::Sqlite => {
            "SELECT name || ' ' || type || CASE WHEN \"notnull\" OR pk THEN ' not null' ELSE ' null' END \
             || CASE name WHEN 'version' THEN ' ' || dflt_value ELSE '' END \
             FROM pragma_table_info('items') ORDER BY cid"
        }
    }
}

fn expected(engine: Engine) -> [&'static str; 7] {
    match engine {
        Engine::Postgres => [
            "id bigint not null",
            "key text not null C",
            "value text not null",
            "version bigint not null 1",
            "created_at timestamp with time zone not null now()",
            "updated_at timestamp with time zone not null now()",
            "expires_at timestamp with time zone null",
        ],
        Engine::Mysql => [
            "id bigint not null",
            "key varchar not null utf8mb4 binary no-pad",
            "value longtext not null",
            "version bigint not null 1",
            "created_at datetime(6) not null",
            "updated_at datetime(6) not null",
            "expires_at datetime(6) null",
        ],
        Engine::Sqlite => [
            "id INTEGER not null",
            "key TEXT not null",
            "value TEXT not null",
            "version INTEGER not null 1",
            "created_at TEXT not null",
            "updated_at TEXT not null",
            "expires_at TEXT null",
        ],
    }
}

async fn the_columns_are_of_the_contracts_types(env: Env) {
    let database = env.database();
    let found: Vec<String> = database.column(columns(env.engine())).await;
    assert_eq!(found, expected(env.engine()));
    let more = match env.engine() {
        Engine::Postgres => {
            "SELECT data_type::text = 'bigint' FROM pg_sequences \
             WHERE format('%I.%I', schemaname, sequencename)::regclass \
             = pg_get_serial_sequence('items', 'id')::regclass"
        }
        Engine::Mysql => {
            "SELECT extra LIKE '%auto_increment%' FROM information_schema.columns \
             WHERE table_schema = DATABASE() AND table_name = 'items' AND column_name = 'id'"
        }
        Engine::Sqlite => {
            "SELECT sql LIKE '%AUTOINCREMENT%' FROM sqlite_master WHERE name = 'items'"
        }
    };
    match env.engine() {
        Engine::Postgres => assert!(database.value::<bool>(more).await),
        _ => assert_eq!(database.value::<i64>(more).await, 1),
    }
}

async fn ids_and_versions_are_64_bit(env: Env) {
    let database = env.database();
    let kvd = env.start().await;
    let _first = kvd.create("first", "").await;
    let jump = match env.engine() {
        Engine::Postgres => "SELECT setval(pg_get_serial_sequence('items', 'id'), 4999999999)",
        Engine::Mysql => "ALTER TABLE items AUTO_INCREMENT = 5000000000",
        Engine::Sqlite => "UPDATE sqlite_sequence SET seq = 4999999999 WHERE name = 'items'",
    };
    database.execute(jump).await;
    let created = kvd.create("a", "b").await;
    assert_eq!(created.etag(), "\"5000000000-1\"");
    let raise = "UPDATE items SET version = 8000000000 WHERE id = 5000000000";
    assert_eq!(database.execute(raise).await, 1);
    let updated = kvd
        .put("/items/a", "c")
        .header("If-Match", "\"5000000000-8000000000\"");
    let updated = updated.await.expect(200);
    assert_eq!(updated.etag(), "\"5000000000-8000000001\"");
    assert_eq!(updated.json()["version"], 8_000_000_001_u64);
    let put = env.kvctl(["put", "a", "d"]).await.expect(0);
    assert_eq!(put.text(), "8000000002\n");
}

async fn the_database_itself_keeps_keys_apart_and_unique(env: Env) {
    let database = env.database();
    let key = if env.engine() == Engine::Mysql {
        "`key`"
    } else {
        "key"
    };
    let insert = |text: &str| format!("INSERT INTO items ({key}, value) VALUES ('{text}', '')");
    let keys = ["a", "A", "a ", "á", "a\u{301}", "ａ", "ß", "ss"];
    for text in keys {
        assert_eq!(database.execute(&insert(text)).await, 1, "{text:?}");
    }
    for text in keys {
        let again = database
            .connection()
            .await
            .execute_unprepared(&insert(text))
            .await;
        let refused = again
            .expect_err("a key is unique")
            .to_string()
            .to_lowercase();
        assert!(
            refused.contains("unique") || refused.contains("duplicate"),
            "{refused}"
        );
        let same: i64 = database
            .value(&format!(
                "SELECT count(*) FROM items WHERE {key} = '{text}'"
            ))
            .await;
        assert_eq!(same, 1, "{text:?}");
    }
}

async fn the_longest_key_and_the_largest_value_fit(env: Env) {
    let kvd = env.start().await;
    let key = "😀".repeat(128);
    assert_eq!(key.len(), 512);
    for value in ["v".repeat(262_144), "😀".repeat(65_536)] {
        let put = kvd
            .put(&format!("{}?upsert=true", item(&key)), &value)
            .await;
        assert!(put.status < 300, "{}", put.text());
        let read = kvd.get(&item(&key)).await.expect(200);
        assert_eq!(read.member("key"), key);
        assert!(read.member("value") == value, "another value");
        let page = kvd.get("/items/").await.expect(200).json();
        assert!(page["items"][0]["value"] == value, "another value");
        let read = env.kvctl(["get", &key]).await.expect(0);
        assert!(read.text() == value, "another value");
    }
}

async fn a_larger_max_value_bytes_fits_too(env: Env) {
    let kvd = env.kvd().arg("--max-value-bytes", "2000000").start().await;
    let value = "v".repeat(2_000_000);
    let _created = kvd.create("a", &value).await;
    let read = kvd.get("/items/a").await.expect(200);
    assert!(read.member("value") == value, "another value");
    kvd.post("b", &format!("{value}v"))
        .await
        .problem(413, "value-too-large");
}

/// Generous to a slow machine, yet less than any time zone is away from UTC.
#[track_caller]
fn assert_now(text: &str) {
    let time: chrono::DateTime<chrono::Utc> = text.parse().expect("RFC 3339");
    let away = (chrono::Utc::now() - time).num_minutes().abs();
    assert!(away < 20, "{text} is {away} minutes away");
}

/// A row written by other software in a session far from UTC, then read and updated by kvd.
async fn assert_utc(env: &Env, insert: &str) {
    env.database().execute(insert).await;
    let kvd = env.start().await;
    let read = kvd.get("/items/theirs").await.expect(200);
    assert_now(&read.member("created_at"));
    assert_now(&read.member("updated_at"));
    let updated = kvd.put("/items/theirs", "ours").await.expect(200);
    assert_eq!(updated.member("created_at"), read.member("created_at"));
    assert!(updated.member("updated_at") >= read.member("updated_at"));
    assert_now(&kvd.create("ours", "").await.member("created_at"));
    let shown = env.kvctl(["get", "ours", "-o", "json"]).await.expect(0);
    let shown: serde_json::Value = serde_json::from_str(shown.text()).expect("JSON");
    assert_now(shown["created_at"].as_str().expect("a time"));
}

async fn times_are_utc_whatever_the_time_zone_of_a_postgresql_session(env: Env) {
    let name = env.database().name();
    let zone = format!("ALTER DATABASE {name} SET TimeZone = 'Pacific/Kiritimati'");
    env.database().execute(&zone).await;
    let insert = "SET TimeZone = 'America/St_Johns'; \
                  INSERT INTO items (key, value) VALUES ('theirs', ''); RESET TimeZone";
    assert_utc(&env, insert).await;
}

async fn times_are_utc_whatever_the_time_zone_of_a_mysql_session(env: Env) {
    let insert = "SET time_zone = '+05:45'; \
                  INSERT INTO items (`key`, value) VALUES ('theirs', ''); SET time_zone = DEFAULT";
    assert_utc(&env, insert).await;
}
