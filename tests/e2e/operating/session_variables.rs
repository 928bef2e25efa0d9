//! What server, role, database and URL have set for a session changes no answer.

use std::{collections::BTreeMap, fmt::Write};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tests::{Engine, Env, Kvd, database::Database, item, load::together};

use crate::{
    adoption::hand_made::HAND_MADE,
    http::refused::{assert_database_refused, postgres_trigger},
};

tests::list! {
    Only(Engine::Postgres) =>
        what_a_database_has_set_changes_no_answer,
        what_the_urls_options_have_set_changes_no_answer,
        who_may_write_and_which_triggers_fire_is_left_to_the_database,
        behind_a_role_with_its_own_search_path_the_tables_are_there,
        a_search_path_of_temporary_tables_is_no_place_for_items,
        a_hand_made_table_is_known_however_definitions_are_written;
    FaultsOnly(Engine::Mysql) =>
        what_the_server_has_set_changes_no_answer,
        a_server_in_oracle_mode_changes_no_answer
}

/// What may be set for a database or a role of PostgreSQL, or by options.
pub(crate) const OTHERWISE: [(&str, &str); 27] = [
    ("quote_all_identifiers", "on"),
    ("row_security", "off"),
    ("standard_conforming_strings", "off"),
    ("escape_string_warning", "off"),
    ("backslash_quote", "off"),
    ("exit_on_error", "on"),
    ("log_parameter_max_length_on_error", "-1"),
    ("default_transaction_isolation", "serializable"),
    ("default_transaction_deferrable", "on"),
    ("client_encoding", "latin1"),
    ("DateStyle", "German"),
    ("IntervalStyle", "sql_standard"),
    ("TimeZone", "Asia/Kathmandu"),
    ("bytea_output", "escape"),
    ("extra_float_digits", "-15"),
    ("lock_timeout", "1"),
    ("statement_timeout", "1"),
    ("idle_in_transaction_session_timeout", "60000"),
    ("transform_null_equals", "on"),
    ("array_nulls", "off"),
    ("xmloption", "document"),
    ("synchronous_commit", "off"),
    ("plan_cache_mode", "force_custom_plan"),
    ("enable_indexscan", "off"),
    ("enable_hashjoin", "off"),
    ("lc_messages", "C"),
    ("client_min_messages", "error"),
];

/// Sets variables for all sessions that begin.
pub(crate) async fn set_otherwise(env: &Env, database: &Database, variables: &[(&str, &str)]) {
    for (name, value) in variables {
        let set = format!("ALTER DATABASE {} SET {name} = '{value}'", database.name());
        env.server().administrate(&set).await.expect("a variable");
    }
}

async fn what_a_database_has_set_changes_no_answer(env: Env) {
    let database = env.empty_database().await;
    set_otherwise(&env, &database, &OTHERWISE).await;
    assert_all_is_right(&env, &database, &database.url()).await;
    let _migrated = env.kvctl_on(&database, ["migrate"]).await.expect(0);
    set_otherwise(&env, &database, &[("default_transaction_read_only", "on")]).await;
    let kvd = env.kvd_on(&database).start().await;
    for write in [kvd.post("a", "x"), kvd.put("/items/a?upsert=true", "x")] {
        write.await.problem(503, "database-unavailable");
    }
}

async fn what_the_urls_options_have_set_changes_no_answer(env: Env) {
    let database = env.empty_database().await;
    let mut options = String::new();
    for (name, value) in OTHERWISE {
        write!(options, "-c%20{name}={value}%20").expect("a text grows");
    }
    let url = format!("{}?options={options}", database.url());
    assert_all_is_right(&env, &database, &url).await;
}

async fn who_may_write_and_which_triggers_fire_is_left_to_the_database(env: Env) {
    let kvd = env.start().await;
    postgres_trigger(&env, "RAISE EXCEPTION 'no';").await;
    assert_database_refused(&kvd.post("a", "x").await);
    for (variable, value, status) in [
        ("session_replication_role", "replica", 201),
        ("default_transaction_read_only", "on", 503),
    ] {
        set_otherwise(&env, env.database(), &[(variable, value)]).await;
        let kvd = env.start().await;
        let answer = kvd.post(variable, "x").await.expect(status);
        assert_eq!(answer.status, status, "{variable}");
        let _page = kvd.get("/items/").await.expect(200);
        kvd.ready().await;
    }
}

async fn what_the_server_has_set_changes_no_answer(env: Env) {
    let database = env.empty_database().await;
    let modes = "EMPTY_STRING_IS_NULL,ANSI_QUOTES,NO_BACKSLASH_ESCAPES,IGNORE_SPACE,\
                 PAD_CHAR_TO_FULL_LENGTH,NO_UNSIGNED_SUBTRACTION,HIGH_NOT_PRECEDENCE,REAL_AS_FLOAT";
    env.server().set_otherwise(modes).await;
    assert_all_is_right(&env, &database, &database.url()).await;
}

async fn a_server_in_oracle_mode_changes_no_answer(env: Env) {
    let database = env.empty_database().await;
    env.server()
        .set_otherwise("ORACLE,SIMULTANEOUS_ASSIGNMENT")
        .await;
    assert_all_is_right(&env, &database, &database.url()).await;
}

/// Texts that mean something else to another character set, mode or notation, and the empty one. Those of
/// keys have a beginning in common that is longer than the least number of bytes that a server may sort by.
fn texts() -> BTreeMap<String, String> {
    let odd = [
        "a", "A", "á", "Ä", "ß", "😀", "🦀", "\\", "\\n", "'", "''", "\"", "`", "a\\'b", "%", "_",
        "a ", " a", "NULL", "#x", "--x", "/*x*/", "$1", "?", ":x", "~",
    ];
    let beginning = "k".repeat(100);
    let of_keys = odd
        .iter()
        .map(|text| (format!("{beginning}{text}"), (*text).to_owned()));
    let more = (0..200).map(|n| (format!("n-{n}"), String::new()));
    of_keys.chain(more).collect()
}

fn ndjson(items: &BTreeMap<String, String>) -> String {
    let line = |(key, value): (&String, &String)| json!({"key": key, "value": value});
    items
        .iter()
        .map(|item| format!("{}\n", line(item)))
        .collect()
}

/// All that kvctl and kvd do with an empty database behind this URL.
async fn assert_all_is_right(env: &Env, database: &Database, url: &str) {
    let kvctl = async |arguments: &[&str], stdin: &str| {
        let kvctl = env.kvctl_bare([]).args(arguments).env("DATABASE_URL", url);
        kvctl.stdin(stdin).await.expect(0).text().to_owned()
    };
    let _migrated = kvctl(&["migrate"], "").await;
    let items = texts();
    for on_conflict in ["skip", "skip", "overwrite"] {
        let import = ["import", "-", "--on-conflict", on_conflict];
        let _imported = kvctl(&import, &ndjson(&items)).await;
    }
    assert_eq!(kvctl(&["count"], "").await, format!("{}\n", items.len()));
    let exported = kvctl(&["export"], "").await;
    assert_eq!(exported.lines().count(), items.len());
    let pairs = exported.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("NDJSON");
        let member = |name: &str| line[name].as_str().expect("a text").to_owned();
        (member("key"), member("value"))
    });
    // The map has them in the order of their bytes too.
    assert_eq!(pairs.collect::<Vec<_>>(), Vec::from_iter(items.clone()));
    let kvd = env.kvd_on(database).env("DATABASE_URL", url).start().await;
    kvd.ready().await;
    assert_pages(&kvd, &items).await;
    assert_items(&kvd).await;
    let _gone = kvctl(&["delete", "n-0", "n-1", "n-2"], "").await;
    let _down = kvctl(&["migrate", "down", "--steps", "99"], "").await;
    // Its sessions have their statements prepared.
    for call in [kvd.get("/items/a"), kvd.post("a", "x")] {
        call.await.problem(503, "database-unavailable");
    }
}

async fn assert_pages(kvd: &Kvd, items: &BTreeMap<String, String>) {
    let keys: Vec<&str> = items.keys().map(String::as_str).collect();
    for (page, expected) in keys.chunks(100).enumerate() {
        let path = format!("/items/?page={}&page_size=100&count=exact", page + 1);
        let answer = kvd.get(&path).await.expect(200).json();
        assert_eq!(answer["total"], keys.len(), "{path}");
        let found = answer["items"].as_array().expect("items");
        let found: Vec<&str> = found
            .iter()
            .filter_map(|item| item["key"].as_str())
            .collect();
        assert_eq!(found, expected, "{path}");
    }
}

/// Writes and reads items whose texts mean something else to another notation.
pub(crate) async fn assert_items(kvd: &Kvd) {
    let values = ["", "😀\\'\"á\n", "NULL"];
    for (n, value) in values.into_iter().enumerate() {
        let key = format!("😀 é\\'{n}");
        let path = item(&key);
        let created = kvd.post(&key, value).await.expect(201);
        assert_eq!(created.member("value"), value);
        let made: DateTime<Utc> = created.member("created_at").parse().expect("a time");
        assert!((Utc::now() - made).abs() < TimeDelta::minutes(10), "{made}");
        kvd.post(&key, value).await.problem(409, "key-exists");
        let stale = kvd.put(&path, "x").header("If-Match", "\"1-99\"").await;
        stale.problem(412, "precondition-failed");
        let updated = kvd
            .put(&path, "ü")
            .header("If-Match", &created.etag())
            .await;
        assert_eq!(updated.expect(200).member("value"), "ü");
        assert_eq!(kvd.get(&path).await.expect(200).member("value"), "ü");
        let _gone = kvd.delete(&path).await.expect(204);
        kvd.get(&path).await.problem(404, "item-not-found");
    }
    let written = together(16, |n| kvd.put(&format!("/items/n-{n}?upsert=true"), "x"));
    for answer in written.await {
        assert!(matches!(answer.status, 200 | 201), "{}", answer.status);
    }
}

/// A role's path says where the tables are, as it does for psql.
async fn behind_a_role_with_its_own_search_path_the_tables_are_there(env: Env) {
    let database = env.empty_database().await;
    for sql in [
        "CREATE SCHEMA theirs".to_owned(),
        "CREATE SCHEMA ours".to_owned(),
        "CREATE TABLE theirs.items (name text)".to_owned(),
        format!(
            "ALTER DATABASE {} SET search_path = ours, theirs",
            database.name()
        ),
    ] {
        database.execute(&sql).await;
    }
    let by_url = format!("{}?options=-c%20search_path=ours", database.url());
    let migrated = env.kvctl_bare(["migrate"]).env("DATABASE_URL", &by_url);
    let _migrated = migrated.await.expect(0);
    let put = env.kvctl_on(&database, ["put", "a", "b"]);
    let _put = put.await.expect(0);
    let there: i64 = database.value("SELECT count(*) FROM ours.items").await;
    assert_eq!(there, 1);
}

async fn a_search_path_of_temporary_tables_is_no_place_for_items(env: Env) {
    let database = env.empty_database().await;
    let url = format!("{}?options=-c%20search_path=pg_temp,public", database.url());
    let refused = env.kvctl_bare(["migrate"]).env("DATABASE_URL", &url);
    let refused = refused.await.expect(2).stderr;
    assert!(refused.contains("pg_temp"), "{refused}");
    let put = env.kvctl(["put", "a", "b"]).await;
    let _put = put.expect(0);
    let kvd = env.kvd();
    let url = format!(
        "{}?options=-c%20search_path=pg_temp,public",
        env.database().url()
    );
    let kvd = kvd.env("DATABASE_URL", &url).start().await;
    assert_eq!(kvd.get("/items/a").await.expect(200).member("value"), "b");
}

async fn a_hand_made_table_is_known_however_definitions_are_written(env: Env) {
    let database = env.empty_database().await;
    database.execute(HAND_MADE).await;
    let set = format!(
        "ALTER DATABASE {} SET quote_all_identifiers = on",
        database.name()
    );
    database.execute(&set).await;
    let _adopted = env.kvctl_on(&database, ["migrate"]).await.expect(0);
    let _down = env
        .kvctl_on(&database, ["migrate", "down", "--steps", "99"])
        .await
        .expect(0);
    let _again = env.kvctl_on(&database, ["migrate"]).await.expect(0);
}
