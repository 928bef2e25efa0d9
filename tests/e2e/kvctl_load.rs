//! `kvctl import`, `export` and `seed`: many items, all or nothing.

use std::{fmt::Write, fs, sync::Arc};

use serde_json::{Value, json};
use tests::{Env, database::Database, item, process::Output};

use crate::kvctl::assert_failed;

tests::list! {
    EveryEngine =>
        import_creates_what_is_new_and_says_how_much,
        a_key_that_exists_is_an_error_unless_told_otherwise,
        overwrite_raises_the_version_and_keeps_the_rest,
        a_key_on_several_lines_counts_once,
        a_dry_run_writes_nothing_and_says_what_the_run_then_does,
        a_bad_line_is_named_and_nothing_is_imported,
        values_arrive_byte_for_byte,
        an_export_imports_into_another_database,
        an_export_is_in_the_byte_order_of_the_keys,
        an_export_is_one_snapshot,
        seed_makes_the_same_items_every_time,
        seed_leaves_alone_what_is_there,
        seed_takes_a_file;
    Once =>
        empty_lines_ends_of_lines_and_marks_do_not_matter,
        a_line_without_end_is_refused,
        a_file_that_cannot_be_read_is_exit_code_2,
        an_export_is_ndjson_only,
        a_reader_that_has_enough_is_no_failure,
        keys_that_break_the_rule_are_exported_and_counted,
        what_seed_cannot_make_is_a_usage_error
}

/// What import and seed say: created, updated, skipped.
#[track_caller]
fn numbers(output: Output) -> (u64, u64, u64) {
    let output = output.expect(0);
    let said: Value = serde_json::from_str(output.text()).expect("JSON");
    let number = |name: &str| said[name].as_u64().expect("a number");
    (number("created"), number("updated"), number("skipped"))
}

fn lines<'a>(items: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    items
        .into_iter()
        .fold(String::new(), |mut text, (key, value)| {
            let line = json!({ "key": key, "value": value });
            writeln!(text, "{line}").expect("a string takes it");
            text
        })
}

/// Imports these lines with these flags.
async fn import(env: &Env, flags: &[&str], text: impl Into<Vec<u8>>) -> Output {
    let words = ["import", "-", "-o", "json"];
    env.kvctl(words).args(flags).stdin(text).await
}

async fn count(env: &Env) -> String {
    env.kvctl(["count"])
        .await
        .expect(0)
        .text()
        .trim()
        .to_owned()
}

async fn get(env: &Env, key: &str) -> String {
    env.kvctl(["get", key]).await.expect(0).text().to_owned()
}

async fn import_creates_what_is_new_and_says_how_much(env: Env) {
    let kvd = env.start().await;
    let text = lines([("a", "1"), ("b/é", "2"), ("😀", "")]);
    fs::write(env.directory().join("items.ndjson"), &text).expect("a file");
    let said = env.kvctl(["import", "items.ndjson"]).await.expect(0);
    assert_eq!(said.text(), "created 3, updated 0, skipped 0\n");
    assert_eq!(said.stderr, "");
    for (key, value) in [("a", "1"), ("b/é", "2"), ("😀", "")] {
        let read = kvd.get(&item(key)).await.expect(200);
        assert_eq!(
            (
                read.member("value").as_str(),
                read.json()["version"].as_u64()
            ),
            (value, Some(1))
        );
    }
    assert_eq!(numbers(import(&env, &[], "").await), (0, 0, 0));
}

async fn a_key_that_exists_is_an_error_unless_told_otherwise(env: Env) {
    let _put = env.kvctl(["put", "b", "old"]).await.expect(0);
    let _put = env.kvctl(["put", "c", "old"]).await.expect(0);
    let text = lines([("d", "new"), ("c", "new"), ("a", "new"), ("b", "new")]);
    let refused = import(&env, &[], text.as_str()).await;
    assert!(refused.stderr.contains("line 2"), "{}", refused.stderr);
    assert_failed(refused, 1, "\"c\"");
    assert_eq!(count(&env).await, "2");
    assert_eq!(get(&env, "b").await, "old");
    let skip = import(&env, &["--on-conflict", "skip"], text.as_str()).await;
    assert_eq!(numbers(skip), (2, 0, 2));
    assert_eq!(get(&env, "b").await, "old");
    let overwrite = import(
        &env,
        &["--on-conflict", "overwrite"],
        text + &lines([("e", "new")]),
    );
    assert_eq!(numbers(overwrite.await), (1, 4, 0));
    assert_eq!(get(&env, "b").await, "new");
    assert_eq!(count(&env).await, "5");
}

async fn overwrite_raises_the_version_and_keeps_the_rest(env: Env) {
    let kvd = env.start().await;
    let before = kvd.create("a", "1").await;
    let text = lines([("a", "2")]);
    for (version, flag) in [(2, "overwrite"), (2, "skip"), (3, "overwrite")] {
        let _said = numbers(import(&env, &["--on-conflict", flag], text.as_str()).await);
        let now = kvd.get("/items/a").await.expect(200);
        assert_eq!(now.json()["version"], version, "{flag}");
        assert_eq!(now.member("created_at"), before.member("created_at"));
        let (id, _) = before
            .member("etag")
            .split_once('-')
            .map(|(id, v)| (id.to_owned(), v.to_owned()))
            .expect("a tag");
        assert_eq!(now.member("etag"), format!("{id}-{version}"));
    }
    let stale = kvd.put("/items/a", "x").header("If-Match", &before.etag());
    stale.await.problem(412, "precondition-failed");
}

async fn a_key_on_several_lines_counts_once(env: Env) {
    // So far apart that they come in different batches and different chunks.
    let mut text = lines([("twice", "first")]);
    for n in 0..12_000 {
        writeln!(text, r#"{{"key":"k{n}","value":"x"}}"#).expect("a string takes it");
    }
    text += &lines([("twice", "last")]);
    let refused = import(&env, &[], text.as_str()).await;
    assert!(refused.stderr.contains("line 12002"), "{}", refused.stderr);
    assert!(refused.stderr.contains("line 1 "), "{}", refused.stderr);
    assert_failed(refused, 2, "twice");
    assert_eq!(count(&env).await, "0");
    let skip = import(&env, &["--on-conflict", "skip"], text.as_str()).await;
    assert_eq!(numbers(skip), (12_001, 0, 1));
    assert_eq!(get(&env, "twice").await, "first");
    let overwrite = import(&env, &["--on-conflict", "overwrite"], text.as_str()).await;
    assert_eq!(numbers(overwrite), (0, 12_001, 1));
    assert_eq!(get(&env, "twice").await, "last");
    let versions: i64 = env
        .database()
        .value("SELECT count(*) FROM items WHERE version = 2")
        .await;
    assert_eq!(versions, 12_001);
}

async fn a_dry_run_writes_nothing_and_says_what_the_run_then_does(env: Env) {
    let _put = env.kvctl(["put", "b", "old"]).await.expect(0);
    let text = lines([("a", "new"), ("b", "new"), ("a", "newer")]);
    for flags in [["--on-conflict", "skip"], ["--on-conflict", "overwrite"]] {
        let tried = import(&env, &[flags[0], flags[1], "--dry-run"], text.as_str()).await;
        assert!(tried.stderr.contains("dry run"), "{}", tried.stderr);
        assert_eq!(count(&env).await, "1");
        assert_eq!(get(&env, "b").await, "old");
        let tried = numbers(tried);
        assert_eq!(tried, numbers(import(&env, &flags, text.as_str()).await));
        let _deleted = env.kvctl(["delete", "a"]).await.expect(0);
        let _deleted = env.kvctl(["delete", "b"]).await.expect(0);
        let _put = env.kvctl(["put", "b", "old"]).await.expect(0);
    }
    let text = lines([("c", "new"), ("b", "new")]);
    let tried = import(&env, &["--dry-run"], text).await.expect(1);
    assert!(tried.stderr.contains("line 2"), "{}", tried.stderr);
    let wrong = import(&env, &["--dry-run"], "{}").await.expect(2);
    assert!(wrong.stderr.contains("line 1"), "{}", wrong.stderr);
}

async fn a_bad_line_is_named_and_nothing_is_imported(env: Env) {
    let long = "k".repeat(513);
    let mut bad: Vec<Vec<u8>> = [
        "{",
        "nonsense",
        "[\"k\",\"v\"]",
        "\"k\"",
        "{}",
        r#"{"key":"k"}"#,
        r#"{"value":"v"}"#,
        r#"{"key":"k","value":"v","valeu":1}"#,
        r#"{"key":"k","key":"k","value":"v"}"#,
        r#"{"key":1,"value":"v"}"#,
        r#"{"key":"k","value":null}"#,
        r#"{"key":"k","value":"v"} x"#,
        r#"{"key":"","value":"v"}"#,
        r#"{"key":".","value":"v"}"#,
        r#"{"key":"a\tb","value":"v"}"#,
        r#"{"key":"k","value":"\u0000"}"#,
        r#"{"key":"k","value":"\ud800"}"#,
    ]
    .map(|line| line.as_bytes().to_vec())
    .to_vec();
    bad.push(lines([(long.as_str(), "v")]).trim().as_bytes().to_vec());
    bad.push(b"{\"key\":\"k\",\"value\":\"\xff\"}".to_vec());
    bad.push(
        lines([("k", "v".repeat(262_145).as_str())])
            .trim()
            .as_bytes()
            .to_vec(),
    );
    for line in bad {
        let shown = String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
        let mut text = lines([("a", "1"), ("b", "2")]).into_bytes();
        text.extend(line);
        text.extend(b"\n");
        text.extend(lines([("c", "3")]).as_bytes());
        let refused = import(&env, &["--on-conflict", "skip"], text).await;
        assert_eq!(refused.code, 2, "{shown}");
        assert!(
            refused.stderr.contains("line 3: "),
            "{shown}: {}",
            refused.stderr
        );
        assert_failed(refused, 2, "nothing was written");
    }
    let mut many: String = (0..20_000)
        .map(|n| format!("{{\"key\":\"k{n}\",\"value\":\"\"}}\n"))
        .collect();
    many += "{\"key\":";
    assert_failed(import(&env, &[], many).await, 2, "line 20001: ");
    assert_eq!(count(&env).await, "0");
}

async fn values_arrive_byte_for_byte(env: Env) {
    let large = "é".repeat(131_072);
    let values = [
        "",
        "\\",
        "\\.",
        "\\N",
        "a\tb\nc\rd",
        "\"quoted\" 'quoted' `quoted`",
        "%s ? $1 :x",
        "😀\u{7f}\u{1}\u{2028}",
        &large,
    ];
    let keys: Vec<_> = (0..values.len())
        .map(|n| format!("key \\ \"{n}\""))
        .collect();
    let text = lines(keys.iter().map(String::as_str).zip(values));
    assert_eq!(
        numbers(import(&env, &[], text).await),
        (values.len() as u64, 0, 0)
    );
    for (key, value) in keys.iter().zip(values) {
        assert!(get(&env, key).await == value, "{key}: {value:.20}");
    }
}

/// A migrated database beside the test's own.
async fn other(env: &Env) -> Arc<Database> {
    let other = env.empty_database().await;
    let _migrated = env.kvctl_on(&other, ["migrate"]).await.expect(0);
    other
}

async fn an_export_imports_into_another_database(env: Env) {
    let text = lines([("a", "1"), ("z\u{10ffff}", "\n"), ("é", "\\\"")]);
    assert_eq!(numbers(import(&env, &[], text).await).0, 3);
    let _put = env.kvctl(["put", "a", "2"]).await.expect(0);
    let export = env.kvctl(["export"]).await.expect(0);
    assert_eq!(export.stderr, "");
    let other = other(&env).await;
    let imported = env
        .kvctl_on(&other, ["import", "-"])
        .stdin(export.stdout.clone());
    assert_eq!(
        imported.await.expect(0).text(),
        "created 3, updated 0, skipped 0\n"
    );
    let again = env.kvctl_on(&other, ["export"]).await.expect(0);
    let contents = |output: &Output| -> Vec<(Value, Value)> {
        let lines = output.text().lines();
        let parsed = lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        parsed
            .map(|line| (line["key"].clone(), line["value"].clone()))
            .collect()
    };
    assert_eq!(contents(&export), contents(&again));
}

async fn an_export_is_in_the_byte_order_of_the_keys(env: Env) {
    let mut keys = [
        "b", "a", "B", "é", "a/1", "a/é", "a0", "😀", "\u{ffff}", "a%", "a_",
    ];
    let text = lines(keys.map(|key| (key, "v")));
    assert_eq!(numbers(import(&env, &[], text).await).0, keys.len() as u64);
    keys.sort_unstable();
    let keys_of = |output: Output| -> Vec<String> {
        let output = output.expect(0);
        let lines = output.text().lines().map(|line| {
            let members = [
                "{\"key\":",
                ",\"value\":",
                ",\"version\":1,\"created_at\":\"",
                "\",\"updated_at\":\"",
            ];
            let mut rest = line;
            for member in members {
                let (_, after) = rest
                    .split_once(member)
                    .unwrap_or_else(|| panic!("{member} in {line}"));
                rest = after;
            }
            let parsed: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(
                parsed.as_object().map(serde_json::Map::len),
                Some(5),
                "{line}"
            );
            parsed["key"].as_str().expect("a key").to_owned()
        });
        lines.collect()
    };
    assert_eq!(keys_of(env.kvctl(["export"]).await), keys);
    assert_eq!(keys_of(env.kvctl(["export", "a/"]).await), ["a/1", "a/é"]);
    assert_eq!(keys_of(env.kvctl(["export", "a%"]).await), ["a%"]);
    assert_eq!(keys_of(env.kvctl(["export", "nothing"]).await), [""; 0]);
}

async fn an_export_is_one_snapshot(env: Env) {
    // Both ends of the table change in one transaction, again and again.
    let filling: Vec<_> = (0..3_000).map(|n| format!("m{n:05}")).collect();
    let mut text = lines(filling.iter().map(|key| (key.as_str(), "x")));
    text += &lines([("a", "0"), ("z", "0")]);
    assert_eq!(numbers(import(&env, &[], text).await).0, 3_002);
    let writer = async {
        for round in 0.. {
            let sql = format!(
                "UPDATE items SET value = '{round}' WHERE id IN (SELECT id FROM (SELECT id FROM items WHERE value <> 'x') AS ends)"
            );
            env.database().execute(&sql).await;
        }
    };
    let reader = async {
        for _ in 0..8 {
            let export = env.kvctl(["export"]).await.expect(0);
            let mut lines = export.text().lines();
            let value = |line: Option<&str>| -> String {
                let line: Value = serde_json::from_str(line.expect("a line")).expect("JSON");
                line["value"].as_str().expect("a value").to_owned()
            };
            let (first, last) = (value(lines.next()), value(lines.next_back()));
            assert_eq!(first, last, "two moments in one export");
        }
    };
    tokio::select! {
        () = writer => {}
        () = reader => {}
    }
}

async fn seed_makes_the_same_items_every_time(env: Env) {
    let other = other(&env).await;
    let mut exports = Vec::new();
    for database in [env.database(), &*other] {
        let said = env.kvctl_on(
            database,
            [
                "seed",
                "--count",
                "3",
                "--prefix",
                "é/",
                "--value-bytes",
                "5",
            ],
        );
        assert_eq!(
            said.await.expect(0).text(),
            "created 3, updated 0, skipped 0\n"
        );
        let listed = env.kvctl_on(database, ["list"]).await.expect(0);
        exports.push(listed.text().to_owned());
    }
    assert_eq!(exports[0], exports[1]);
    let lines: Vec<_> = exports[0].lines().collect();
    assert_eq!(lines.len(), 3);
    for (line, key) in lines.iter().zip(["é/000001", "é/000002", "é/000003"]) {
        let (found, value) = line.split_once('\t').expect("a tab");
        assert_eq!((found, value.len()), (key, 5));
    }
    let _default = env.kvctl(["seed"]).await.expect(0);
    assert_eq!(
        env.kvctl(["count", "seed-"]).await.expect(0).text(),
        "100\n"
    );
    assert_eq!(get(&env, "seed-000100").await.len(), 100);
    let empty = env.kvctl(["seed", "--count", "0"]).await.expect(0);
    assert_eq!(empty.text(), "created 0, updated 0, skipped 0\n");
}

async fn seed_leaves_alone_what_is_there(env: Env) {
    let _put = env.kvctl(["put", "seed-000002", "mine"]).await.expect(0);
    for (count, said) in [("3", (2, 0, 1)), ("3", (0, 0, 3)), ("5", (2, 0, 3))] {
        let seed = env.kvctl(["seed", "--count", count, "-o", "json"]).await;
        assert_eq!(numbers(seed), said);
    }
    assert_eq!(get(&env, "seed-000002").await, "mine");
    let versions: i64 = env
        .database()
        .value("SELECT count(*) FROM items WHERE version = 1")
        .await;
    assert_eq!(versions, 5);
}

async fn seed_takes_a_file(env: Env) {
    let _put = env.kvctl(["put", "a", "mine"]).await.expect(0);
    let text = lines([("a", "theirs"), ("b", "theirs")]);
    fs::write(env.directory().join("items.ndjson"), text).expect("a file");
    let seed = env
        .kvctl(["seed", "--file", "items.ndjson", "-o", "json"])
        .await;
    assert_eq!(numbers(seed), (1, 0, 1));
    assert_eq!(get(&env, "a").await, "mine");
    let both = env
        .kvctl(["seed", "--file", "items.ndjson", "--count", "3"])
        .await;
    assert_failed(both, 2, "--file");
}

async fn empty_lines_ends_of_lines_and_marks_do_not_matter(env: Env) {
    let text = "\u{feff}{\"key\":\"a\",\"value\":\"1\"}\r\n\r\n  \n \t{\"value\":\"2\",\"key\":\"b\",\"version\":7,\"etag\":\"1-1\",\"created_at\":\"\",\"updated_at\":null}  ";
    assert_eq!(numbers(import(&env, &[], text).await), (2, 0, 0));
    assert_failed(import(&env, &[], "\n\nx").await, 2, "line 3");
}

async fn a_line_without_end_is_refused(env: Env) {
    let endless = vec![b'x'; 50_000_000];
    assert_failed(import(&env, &[], endless).await, 2, "line 1");
    let mut string = b"{\"key\":\"a\",\"value\":\"".to_vec();
    string.resize(10_000_000, b'v');
    assert_failed(import(&env, &[], string).await, 2, "longer");
}

async fn a_file_that_cannot_be_read_is_exit_code_2(env: Env) {
    assert_failed(env.kvctl(["import", "missing"]).await, 2, "missing");
    assert_failed(env.kvctl(["import", "."]).await, 2, ".");
    assert_failed(env.kvctl(["seed", "--file", "missing"]).await, 2, "missing");
}

async fn an_export_is_ndjson_only(env: Env) {
    let _export = env.kvctl(["export", "-o", "ndjson"]).await.expect(0);
    for form in ["json", "table"] {
        assert_failed(env.kvctl(["export", "-o", form]).await, 2, "ndjson");
    }
}

async fn a_reader_that_has_enough_is_no_failure(env: Env) {
    let _seed = env.kvctl(["seed", "--count", "5000"]).await.expect(0);
    let kvctl = tests::process::binary("kvctl").unwrap_or_else(|e| panic!("{e}"));
    for command in ["export", "list", "list -o json"] {
        let script = format!(
            "{} {command} | head -c 10; exit ${{PIPESTATUS[0]}}",
            kvctl.display()
        );
        let run = tokio::process::Command::new("bash")
            .args(["-c", &script])
            .env("DATABASE_URL", env.database().url())
            .output();
        let run = run.await.expect("bash runs");
        assert_eq!(run.status.code(), Some(0), "{command}");
        assert_eq!(String::from_utf8_lossy(&run.stderr), "", "{command}");
    }
}

async fn keys_that_break_the_rule_are_exported_and_counted(env: Env) {
    for key in ["''", "'..'", "'a' || char(10)", "'fine'"] {
        let insert = format!("INSERT INTO items (key, value) VALUES ({key}, 'v')");
        env.database().execute(&insert).await;
    }
    let export = env.kvctl(["export"]).await.expect(0);
    assert_eq!(export.text().lines().count(), 4);
    assert!(export.stderr.contains('3'), "{}", export.stderr);
    let refused = import(&env, &["--on-conflict", "skip"], export.stdout).await;
    assert_failed(refused, 2, "line 1");
}

async fn what_seed_cannot_make_is_a_usage_error(env: Env) {
    let long = "p".repeat(507);
    for (flag, value, named) in [
        ("--value-bytes", "262145", "--max-value-bytes"),
        ("--value-bytes", "99999999999", "--max-value-bytes"),
        ("--prefix", &long, "512"),
        ("--prefix", "a\tb", "U+0009"),
        ("--count", "-1", "--count"),
        ("--count", "many", "--count"),
    ] {
        let flag_and_value = format!("{flag}={value}");
        assert_failed(env.kvctl(["seed", &flag_and_value]).await, 2, named);
    }
    assert_eq!(count(&env).await, "0");
    let digits = env
        .kvctl(["seed", "--count", "100001", "--value-bytes", "0"])
        .await;
    let _said = digits.expect(0);
    assert_eq!(get(&env, "seed-100001").await, "");
}
