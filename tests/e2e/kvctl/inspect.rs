//! `kvctl inspect`: one item with its sizes and times, or the state of the database.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tests::{Engine, Env, database::Database};

use crate::{
    adoption::hand_made::{catalogue, hand_made},
    kvctl::list::{insert, insert_keys},
    kvctl::said::assert_failed,
};

tests::list! {
    EveryEngine =>
        inspect_of_a_key_shows_its_sizes_and_times,
        inspect_of_a_missing_key_is_exit_code_1,
        inspect_says_what_is_wrong_with_a_key,
        inspect_shows_the_state_of_the_database,
        the_bytes_on_disk_grow_with_the_values,
        a_database_that_is_not_migrated_is_inspected_and_left_alone,
        of_many_odd_keys_text_names_twenty_and_json_all;
    Once => inspect_refuses_what_it_cannot_do;
    Only(Engine::Postgres) => a_table_made_by_hand_is_inspected_and_left_alone
}

/// The lines of text: names and values.
async fn text(env: &Env, database: &Database, words: &[&str]) -> BTreeMap<String, String> {
    let output = env.kvctl_on(database, ["inspect"]).args(words).await;
    let output = output.expect(0);
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ').expect("a name and a value");
        (name.to_owned(), value.trim_start().to_owned())
    };
    output.text().lines().map(pair).collect()
}

async fn json(env: &Env, database: &Database, words: &[&str]) -> Value {
    let output = env
        .kvctl_on(database, ["inspect", "-o", "json"])
        .args(words);
    let output = output.await.expect(0);
    assert_eq!(output.stderr, "");
    assert_eq!(output.text().lines().count(), 1);
    serde_json::from_str(output.text()).expect("JSON")
}

async fn inspect_of_a_key_shows_its_sizes_and_times(env: Env) {
    for (key, value) in [
        ("é/😀", "漢\n字"),
        ("empty", ""),
        ("large", &*"é".repeat(100_000)),
    ] {
        let _put = env.kvctl(["put", key, "-"]).stdin(value).await.expect(0);
        let _put = env.kvctl(["put", key, "-"]).stdin(value).await.expect(0);
        let got = env.kvctl(["get", key, "-o", "json"]).await.expect(0);
        let mut expected: Value = serde_json::from_str(got.text()).expect("JSON");
        let members = expected.as_object_mut().expect("an item");
        members.remove("value");
        members.insert("key_bytes".to_owned(), json!(key.len()));
        members.insert("value_bytes".to_owned(), json!(value.len()));
        members.insert("problem".to_owned(), Value::Null);
        assert_eq!(json(&env, env.database(), &[key]).await, expected);
        assert_eq!(expected["version"], 2);

        let shown = text(&env, env.database(), &[key]).await;
        // A person need not hear that nothing is wrong.
        let members = expected.as_object_mut().expect("an item");
        members.remove("problem");
        assert_eq!(shown.len(), members.len(), "{shown:?}");
        for (name, value) in members {
            let value = match value {
                Value::Null => "-".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            assert_eq!(shown[name], value, "{name}");
        }
    }
}

async fn inspect_of_a_missing_key_is_exit_code_1(env: Env) {
    insert_keys(&env, &["a"]).await;
    for missing in ["missing", "A", "a ", "", ".", "line\nbreak"] {
        for form in ["text", "json"] {
            let output = env.kvctl(["inspect", missing, "-o", form]).await;
            assert_failed(output, 1, "no key");
        }
    }
    assert_failed(env.kvctl(["inspect", "missing"]).await, 1, "\"missing\"");
}

async fn inspect_says_what_is_wrong_with_a_key(env: Env) {
    let long = "é".repeat(400);
    let odd = [
        ("..", "\"..\""),
        ("tab\there", "U+0009"),
        ("line\nbreak", "U+000A"),
        ("\u{7f}", "U+007F"),
        (&long, "512"),
        ("", "1 byte"),
    ];
    insert(&env, odd.map(|(key, _)| (key.to_owned(), "odd".to_owned()))).await;
    for (key, problem) in odd {
        let inspected = json(&env, env.database(), &["--", key]).await;
        assert_eq!(inspected["key"], key);
        assert_eq!(inspected["key_bytes"], key.len());
        assert_eq!(inspected["value_bytes"], 3);
        let said = inspected["problem"].as_str().expect("a problem");
        assert!(said.contains(problem), "{key:?}: {said}");
        let output = env.kvctl(["inspect", "--", key]).await.expect(0);
        assert_eq!(output.text().lines().count(), 9, "{}", output.text());
        let last = output.text().lines().last().unwrap_or_default();
        assert!(
            last.starts_with("problem ") && last.ends_with(said),
            "{last}"
        );
    }
    let shown = text(&env, env.database(), &["line\nbreak"]).await;
    assert_eq!(shown["key"], "line\\nbreak");
}

/// What the server says of itself.
async fn server(env: &Env) -> (&'static str, String) {
    let sql = match env.engine() {
        Engine::Postgres => "SELECT current_setting('server_version')",
        Engine::Mysql => "SELECT version()",
        Engine::Sqlite => "SELECT sqlite_version()",
    };
    let version: String = env.database().value(sql).await;
    let engine = match env.engine() {
        Engine::Postgres => "PostgreSQL",
        Engine::Mysql if version.contains("MariaDB") => "MariaDB",
        Engine::Mysql => "MySQL",
        Engine::Sqlite => "SQLite",
    };
    (engine, version)
}

async fn inspect_shows_the_state_of_the_database(env: Env) {
    let (engine, version) = server(&env).await;
    let number = version.split(['-', ' ']).next().unwrap_or_default();
    for items in [0, 3] {
        let row = |n| (format!("{items}/{n}"), "x".to_owned());
        if items > 0 {
            insert(&env, (0..items).map(row)).await;
        }
        let inspected = json(&env, env.database(), &[]).await;
        let members: BTreeSet<_> = inspected.as_object().expect("members").keys().collect();
        let named = [
            "disk_bytes",
            "engine",
            "expired",
            "items",
            "odd_keys",
            "pending_migrations",
            "server_version",
        ];
        assert!(members.into_iter().eq(named), "{inspected}");
        assert_eq!(inspected["engine"], engine);
        let told = inspected["server_version"].as_str().expect("a version");
        assert!(told.starts_with(number), "{told} is not {version}");
        assert_eq!(inspected["pending_migrations"], json!([]));
        assert_eq!(inspected["items"], items);
        assert_eq!(inspected["expired"], 0);
        assert!(inspected["disk_bytes"].is_u64(), "{inspected}");
        assert_eq!(inspected["odd_keys"], json!([]));

        let shown = text(&env, env.database(), &[]).await;
        assert_eq!(shown.len(), 7, "{shown:?}");
        assert_eq!(shown["engine"], engine);
        assert_eq!(shown["server_version"], told);
        assert_eq!(shown["pending_migrations"], "none");
        assert_eq!(shown["items"], items.to_string());
        assert_eq!(shown["expired"], "0");
        assert!(shown["disk_bytes"].parse::<u64>().is_ok(), "{shown:?}");
        assert_eq!(shown["odd_keys"], "0");
    }
}

async fn the_bytes_on_disk_grow_with_the_values(env: Env) {
    let disk_bytes = async || {
        if env.engine() == Engine::Mysql {
            // Where the size of the file is not told, an estimate is, which is not made at once.
            let _analyzed = env.database().execute("ANALYZE TABLE items").await;
        }
        let inspected = json(&env, env.database(), &[]).await;
        inspected["disk_bytes"].as_u64().expect("a number")
    };
    let before = disk_bytes().await;
    // No engine makes much less of these.
    let mut random = env.random();
    let mut value = || {
        (0..200_000)
            .map(|_| random.alphanumeric())
            .collect::<String>()
    };
    let rows: Vec<_> = (0..20).map(|n| (format!("large/{n}"), value())).collect();
    insert(&env, rows).await;
    let after = disk_bytes().await;
    assert!(after > before + 2_000_000, "{before}, then {after}");
    assert!(after < before + 40_000_000, "{before}, then {after}");
}

async fn a_database_that_is_not_migrated_is_inspected_and_left_alone(env: Env) {
    let database = env.empty_database().await;
    let inspected = json(&env, &database, &[]).await;
    assert_eq!(inspected["engine"], server(&env).await.0);
    let pending = inspected["pending_migrations"].as_array().expect("names");
    let pending: Vec<_> = pending.iter().filter_map(Value::as_str).collect();
    assert!(!pending.is_empty() && pending[0].starts_with('m'));
    assert_eq!(inspected["items"], Value::Null);
    assert_eq!(inspected["disk_bytes"], Value::Null);
    let shown = text(&env, &database, &[]).await;
    assert_eq!(shown["pending_migrations"], pending.join(", "));
    for unknown in ["items", "expired", "disk_bytes", "odd_keys"] {
        assert_eq!(shown[unknown], "-", "{unknown}");
    }
    let tables = match env.engine() {
        Engine::Postgres => {
            "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
        }
        Engine::Mysql => {
            "SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE()"
        }
        Engine::Sqlite => "SELECT count(*) FROM sqlite_master",
    };
    assert_eq!(database.value::<i64>(tables).await, 0);
    let one = env.kvctl_on(&database, ["inspect", "a"]).await;
    assert_failed(one, 2, "kvctl migrate");
}

async fn of_many_odd_keys_text_names_twenty_and_json_all(env: Env) {
    let odd: Vec<_> = (0..30).map(|n| format!("odd\t{n:02}")).collect();
    insert(&env, odd.iter().map(|key| (key.clone(), String::new()))).await;
    insert_keys(&env, &["fine", "fine too"]).await;
    let output = env.kvctl(["inspect"]).await.expect(0);
    assert!(!output.stderr.contains('\t') && !output.stderr.contains("fine"));
    assert_eq!(output.stderr.matches("odd\\t").count(), 20);
    let last = output.stderr.lines().last().unwrap_or_default();
    assert!(
        last.contains("and 10 more") && last.contains("json"),
        "{last}"
    );
    let shown = text(&env, env.database(), &[]).await;
    assert_eq!((&*shown["odd_keys"], &*shown["items"]), ("30", "32"));

    let inspected = json(&env, env.database(), &[]).await;
    let mut named: Vec<String> = inspected["odd_keys"]
        .as_array()
        .expect("names")
        .iter()
        .filter_map(|key| key.as_str().map(str::to_owned))
        .collect();
    named.sort_unstable();
    assert_eq!(named, odd);

    // No more than there are.
    let _deleted = env.kvctl(["delete"]).args(&odd[20..]).await.expect(0);
    let output = env.kvctl(["inspect"]).await.expect(0);
    assert_eq!(output.stderr.matches("odd\\t").count(), 20);
    assert!(!output.stderr.contains("more"), "{}", output.stderr);
}

async fn inspect_refuses_what_it_cannot_do(env: Env) {
    for words in [
        &["inspect", "-o", "table"][..],
        &["inspect", "a", "-o", "table"],
    ] {
        assert_failed(env.kvctl([]).args(words).await, 2, "table");
    }
    assert_failed(env.kvctl(["inspect", "a", "b"]).await, 2, "b");
    let output = env.kvctl(["inspect", "-o", "ndjson"]).await.expect(0);
    let one_line: Value = serde_json::from_str(output.text()).expect("JSON");
    assert_eq!(one_line, json(&env, env.database(), &[]).await);
}

async fn a_table_made_by_hand_is_inspected_and_left_alone(env: Env) {
    let database = hand_made(&env).await;
    let before = catalogue(&database).await;
    let inspected = json(&env, &database, &[]).await;
    assert_ne!(inspected["pending_migrations"], json!([]));
    assert_eq!(inspected["items"], Value::Null);
    let shown = env.kvctl_on(&database, ["inspect"]).await.expect(0);
    assert!(shown.stderr.contains("5 rows"), "{}", shown.stderr);
    assert_eq!(catalogue(&database).await, before);
}
