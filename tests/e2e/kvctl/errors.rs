//! What `kvctl` says when it cannot do what it was asked: what happened, why, and what to do next.

use std::fs;

use reqwest::Url;
use tests::{Engine, Env, database::Database, process::Output};

tests::list! {
    EveryEngine =>
        on_a_database_that_is_not_migrated_every_command_says_what_to_do,
        no_command_takes_a_table_of_others_for_its_own,
        a_key_that_does_not_exist_is_named;
    Only(Engine::Postgres) =>
        a_user_without_a_right_is_told_so,
        a_read_only_postgresql_is_told_as_such;
    Once =>
        a_read_only_file_is_told_as_such,
        a_bad_key_is_told_with_the_rule,
        a_value_that_is_too_large_is_told_with_the_bound,
        a_file_that_cannot_be_read_is_named,
        a_form_that_a_command_does_not_have_is_a_usage_error
}

pub(crate) const SECRET: &str = "Tops3cret";

/// Each command that works on the database, and some of its ways; the keys are not there.
pub(crate) const CALLS: [&[&str]; 24] = [
    &["get", "a"],
    &["get", "a", "-o", "json"],
    &["put", "a", "b"],
    &["put", "--create", "a", "b"],
    &["put", "--update", "a", "b"],
    &["put", "--if-match", "1-1", "a", "b"],
    &["delete", "a"],
    &["delete", "a", "b", "-o", "json"],
    &["delete", "--ignore-missing", "a"],
    &["delete", "--if-match", "1-1", "a"],
    &["list"],
    &["list", "a", "--keys", "--limit", "1"],
    &["list", "-o", "json"],
    &["list", "-o", "table"],
    &["count"],
    &["count", "a", "-o", "json"],
    &["inspect", "a"],
    &["export"],
    &["import", "-"],
    &["import", "-", "--dry-run"],
    &["import", "-", "--on-conflict", "overwrite"],
    &["import", "-", "--on-conflict", "skip"],
    &["seed"],
    &["seed", "--count", "1", "-o", "json"],
];

pub(crate) const ITEM: &str = "{\"key\":\"a\",\"value\":\"b\"}\n";

/// Nothing on standard output, and a line or two for a person, with each of these words.
#[track_caller]
pub(crate) fn assert_told(output: Output, code: i32, words: &[&str]) {
    let output = output.expect(code);
    assert_eq!(output.text(), "");
    let said = &output.stderr;
    assert!((1..=2).contains(&said.lines().count()), "{said}");
    assert!(
        said.starts_with("kvctl: ") && said.ends_with('\n'),
        "{said}"
    );
    for word in words {
        assert!(said.contains(word), "no {word}: {said}");
    }
    for word in [
        SECRET,
        "DbErr",
        "Error(",
        "Error {",
        "panicked",
        "Some(",
        "None",
        "sqlx",
        "SqlState",
        "os error",
        "RUST_BACKTRACE",
    ] {
        assert!(!said.contains(word), "{word}: {said}");
    }
}

pub(crate) async fn call(env: &Env, url: &str, words: &[&str]) -> Output {
    let kvctl = tests::kvctl::on(url).directory(env.directory());
    kvctl.args(words).stdin(ITEM).await
}

async fn on_a_database_that_is_not_migrated_every_command_says_what_to_do(env: Env) {
    let url = empty(&env).await;
    for words in CALLS {
        let output = call(&env, &url, words).await;
        assert_told(output, 2, &["not migrated", "run kvctl migrate"]);
    }
}

async fn no_command_takes_a_table_of_others_for_its_own(env: Env) {
    let database = env.empty_database().await;
    database
        .execute("CREATE TABLE items (name varchar(20))")
        .await;
    database
        .execute("INSERT INTO items VALUES ('theirs')")
        .await;
    for words in CALLS {
        let output = call(&env, &database.url(), words).await;
        assert_told(output, 2, &["not migrated", "run kvctl migrate"]);
    }
    let theirs: Vec<String> = database.column("SELECT name FROM items").await;
    assert_eq!(theirs, ["theirs"]);
}

/// The URL of a database without any table.
async fn empty(env: &Env) -> String {
    let database = env.empty_database().await;
    if env.engine() == Engine::Sqlite {
        // There is no file before something was written.
        database.execute("PRAGMA user_version = 1").await;
    }
    database.url()
}

async fn a_key_that_does_not_exist_is_named(env: Env) {
    for words in [
        &["get", "gone/é"][..],
        &["get", "gone/é", "-o", "json"],
        &["put", "--update", "gone/é", "b"],
        &["put", "--if-match", "1-1", "gone/é", "b"],
        &["delete", "gone/é"],
        &["delete", "--if-match", "1-1", "gone/é"],
        &["inspect", "gone/é"],
    ] {
        let output = env.kvctl([]).args(words).await;
        assert_told(output, 1, &["\"gone/é\""]);
    }
    for (command, next) in [
        ("get", "kvctl list"),
        ("inspect", "kvctl list"),
        ("delete", "--ignore-missing"),
    ] {
        assert_told(env.kvctl([command, "gone"]).await, 1, &["\"gone\"", next]);
    }
}

/// The URL of the test's database with another part.
pub(crate) fn with(database: &Database, change: impl FnOnce(&mut Url)) -> String {
    let mut url = Url::parse(&database.url()).expect("a URL");
    change(&mut url);
    url.into()
}

/// Calls that write, also when there is nothing to write upon.
const WRITES: [&[&str]; 6] = [
    &["put", "a", "b"],
    &["put", "a", "b", "--update"],
    &["delete", "a"],
    &["import", "-", "--on-conflict", "overwrite"],
    &["seed", "--count", "3"],
    &["migrate", "down"],
];

async fn a_read_only_postgresql_is_told_as_such(env: Env) {
    let _put = env.kvctl(["put", "a", "old"]).await.expect(0);
    let database = env.database();
    let read_only = format!(
        "ALTER DATABASE {} SET default_transaction_read_only = on",
        database.name()
    );
    database.execute(&read_only).await;
    for words in WRITES {
        let output = call(&env, &database.url(), words).await;
        assert_told(output, 2, &["read-only"]);
    }
    assert_readable(&env, &database.url()).await;
}

async fn a_read_only_file_is_told_as_such(env: Env) {
    let _put = env.kvctl(["put", "a", "old"]).await.expect(0);
    // Not by its permissions, which do not bind the superuser.
    let url = with(env.database(), |url| url.set_query(Some("mode=ro")));
    for words in WRITES {
        assert_told(call(&env, &url, words).await, 2, &["read-only"]);
    }
    assert_readable(&env, &url).await;
}

/// Whatever only reads works.
async fn assert_readable(env: &Env, url: &str) {
    for words in [
        &["get", "a"][..],
        &["list"],
        &["count"],
        &["inspect"],
        &["inspect", "a"],
        &["export"],
        &["migrate", "status"],
        &["migrate"],
    ] {
        let output = call(env, url, words).await.expect(0);
        assert_eq!(output.stderr, "", "{words:?}");
    }
    assert_eq!(call(env, url, &["get", "a"]).await.text(), "old");
    assert_eq!(call(env, url, &["count"]).await.text(), "1\n");
}

async fn a_user_without_a_right_is_told_so(env: Env) {
    let database = env.database();
    let user = format!("reader_{}", database.name());
    let create = format!(
        "CREATE ROLE {user} LOGIN PASSWORD '{SECRET}'; \
         GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}"
    );
    database.execute(&create).await;
    let _put = env.kvctl(["put", "a", "old"]).await.expect(0);
    let url = with(database, |url| {
        url.set_username(&user).expect("a server's URL");
        url.set_password(Some(SECRET)).expect("a server's URL");
    });
    for words in [
        &["put", "a", "b"][..],
        &["put", "a", "b", "--update"],
        &["delete", "a"],
        &["import", "-", "--on-conflict", "skip"],
        &["seed"],
        &["migrate", "down"],
    ] {
        let output = call(&env, &url, words).await;
        assert_told(output, 2, &["lacks a right", "grant it"]);
    }
    assert_readable(&env, &url).await;
    let revoke = format!("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {user}");
    database.execute(&revoke).await;
    for words in [
        &["get", "a"][..],
        &["list"],
        &["count"],
        &["export"],
        &["inspect"],
    ] {
        let output = call(&env, &url, words).await;
        assert_told(output, 2, &["lacks a right", "grant it"]);
    }
    // A role belongs to the server, which may have been given for the tests and stays.
    database.execute(&format!("DROP ROLE {user}")).await;
}

async fn a_bad_key_is_told_with_the_rule(env: Env) {
    let long = "é".repeat(257);
    for (key, rule) in [
        ("", "at least 1 byte"),
        (".", "\"..\""),
        ("a\nb", "control characters"),
        (&long, "512"),
    ] {
        let item = serde_json::json!({ "key": key, "value": "" }).to_string();
        for words in [&["put", key, "x"][..], &["import", "-"]] {
            let output = env.kvctl([]).args(words).stdin(item.as_str()).await;
            assert_told(output, 2, &["a key", rule]);
        }
    }
    assert_told(env.kvctl(["seed", "--prefix", &long]).await, 2, &["512"]);
}

async fn a_value_that_is_too_large_is_told_with_the_bound(env: Env) {
    let value = "v".repeat(262_145);
    fs::write(env.directory().join("large"), &value).expect("a file");
    let item = serde_json::json!({ "key": "a", "value": value }).to_string();
    let of_file = env.kvctl(["put", "a", "@large"]).await;
    let of_stdin = env.kvctl(["put", "a", "-"]).stdin(value).await;
    let of_import = env.kvctl(["import", "-"]).stdin(item).await;
    let of_seed = env.kvctl(["seed", "--value-bytes", "262145"]).await;
    for output in [of_file, of_stdin, of_import, of_seed] {
        assert_told(output, 2, &["262144", "--max-value-bytes"]);
    }
    let count = env.kvctl(["count"]).await.expect(0);
    assert_eq!(count.text(), "0\n");
    // What it advises helps.
    let raised = env.kvctl(["put", "a", "@large", "--max-value-bytes", "262145"]);
    assert_eq!(raised.await.expect(0).text(), "1\n");
}

async fn a_file_that_cannot_be_read_is_named(env: Env) {
    for (words, named) in [
        (&["import", "missing.ndjson"][..], "missing.ndjson"),
        (&["seed", "--file", "missing.ndjson"], "missing.ndjson"),
        (&["put", "a", "@missing"], "missing"),
        (&["import", "/"], "/"),
        (&["put", "a", "@/"], "/"),
    ] {
        let why = if named == "/" {
            "directory"
        } else {
            "no such file"
        };
        assert_told(env.kvctl([]).args(words).await, 2, &[named, why]);
    }
}

async fn a_form_that_a_command_does_not_have_is_a_usage_error(env: Env) {
    let _put = env.kvctl(["put", "a", "old"]).await.expect(0);
    for words in [
        &["get", "a"][..],
        &["put", "a", "new"],
        &["delete", "a"],
        &["count"],
        &["inspect"],
        &["inspect", "a"],
        &["seed"],
        &["import", "-", "--on-conflict", "overwrite"],
        &["export"],
        &["migrate"],
        &["migrate", "status"],
        &["migrate", "down"],
        &["migrate", "fresh", "--yes"],
    ] {
        let output = env.kvctl(["-o", "table"]).args(words).stdin(ITEM).await;
        // It says which form there is.
        assert_told(output, 2, &["json"]);
    }
    assert_readable(&env, &env.database().url()).await;
}
