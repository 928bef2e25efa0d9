//! `kvctl import`: which lines it takes, and what becomes of the items.

use std::{fs, iter};

use serde_json::{Value, json};
use tests::{
    Engine, Env, item,
    process::{Output, PATIENCE},
};
use tokio::time::timeout;

use crate::kvctl::assert_failed;

tests::list! {
    EveryEngine =>
        import_says_what_it_created_updated_and_skipped,
        kvd_serves_what_was_imported_at_once,
        an_existing_key_is_named_with_its_line,
        of_a_key_on_two_lines_the_first_or_the_last_counts,
        a_key_on_thousands_of_lines_counts_once,
        keys_are_told_apart_byte_for_byte,
        overwriting_is_an_update_to_kvd,
        a_dry_run_writes_nothing_and_tells_what_the_run_then_does,
        a_bad_line_after_many_good_ones_leaves_nothing,
        keys_and_values_arrive_byte_for_byte,
        an_export_imports_as_the_same_items,
        on_a_database_that_is_not_migrated_import_and_seed_say_what_to_do;
    Once =>
        every_kind_of_bad_line_is_named_by_its_number,
        what_an_export_tells_besides_is_left_unread,
        ends_of_lines_empty_lines_and_a_mark_do_not_matter,
        a_file_is_as_good_as_standard_input,
        a_line_that_never_ends_is_refused_before_it_is_read,
        max_value_bytes_is_the_bound_of_a_value,
        what_import_does_not_understand_is_a_usage_error
}

/// Lines as an import takes them.
pub(crate) fn lines<K: AsRef<str>, V: AsRef<str>>(
    items: impl IntoIterator<Item = (K, V)>,
) -> String {
    let line = |(key, value): (K, V)| {
        let line = json!({ "key": key.as_ref(), "value": value.as_ref() });
        format!("{line}\n")
    };
    items.into_iter().map(line).collect()
}

/// Many lines with the same value: `k00000` and so on.
pub(crate) fn numbered(numbers: impl Iterator<Item = usize>, value: &str) -> String {
    lines(numbers.map(|n| (format!("k{n:05}"), value)))
}

/// Imports these lines from standard input.
pub(crate) async fn import(env: &Env, flags: &[&str], text: impl Into<Vec<u8>>) -> Output {
    env.kvctl(["import", "-"]).args(flags).stdin(text).await
}

/// What import and seed say when they are done.
pub(crate) fn said(created: u64, updated: u64, skipped: u64) -> String {
    format!("created {created}, updated {updated}, skipped {skipped}\n")
}

pub(crate) async fn count(env: &Env) -> i64 {
    env.database().value("SELECT count(*) FROM items").await
}

async fn get(env: &Env, key: &str) -> String {
    env.kvctl(["get", key]).await.expect(0).text().to_owned()
}

async fn put(env: &Env, key: &str, value: &str) {
    let _put = env.kvctl(["put", key, value]).await.expect(0);
}

const ERROR: &[&str] = &[];
const SKIP: &[&str] = &["--on-conflict", "skip"];
const OVERWRITE: &[&str] = &["--on-conflict", "overwrite"];

async fn import_says_what_it_created_updated_and_skipped(env: Env) {
    let old = lines([("a", "1"), ("b", "1")]);
    let new = lines([("c", "2"), ("b", "2"), ("a", "2"), ("d", "2")]);
    let created = import(&env, ERROR, old).await.expect(0);
    assert_eq!(created.text(), said(2, 0, 0));
    assert_eq!(created.stderr, "");
    let skipped = import(&env, SKIP, new.as_str()).await.expect(0);
    assert_eq!(skipped.text(), said(2, 0, 2));
    assert_eq!(
        (get(&env, "a").await, get(&env, "c").await),
        ("1".into(), "2".into())
    );
    let updated = import(&env, OVERWRITE, [new, lines([("e", "")])].concat())
        .await
        .expect(0);
    assert_eq!(updated.text(), said(1, 4, 0));
    assert_eq!(get(&env, "a").await, "2");
    for form in ["json", "ndjson"] {
        let words = ["--on-conflict", "overwrite", "-o", form];
        let text = lines([("a", "3"), ("a", "4"), (form, "")]);
        let output = import(&env, &words, text).await.expect(0);
        assert!(output.text().ends_with('\n') && output.text().lines().count() == 1);
        let output: Value = serde_json::from_str(output.text()).expect("JSON");
        assert_eq!(output, json!({ "created": 1, "updated": 1, "skipped": 1 }));
    }
    let nothing = import(&env, ERROR, "").await.expect(0);
    assert_eq!(
        (nothing.text(), nothing.stderr.as_str()),
        (said(0, 0, 0).as_str(), "")
    );
}

async fn kvd_serves_what_was_imported_at_once(env: Env) {
    let kvd = env.start().await;
    kvd.get("/items/k00001")
        .await
        .problem(404, "item-not-found");
    let _imported = import(&env, ERROR, numbered(0..3, "1")).await.expect(0);
    let read = kvd.get("/items/k00001").await.expect(200);
    assert_eq!(
        (read.member("value"), read.json()["version"].as_i64()),
        ("1".into(), Some(1))
    );
    assert_eq!(read.json()["created_at"], read.json()["updated_at"]);
    kvd.post("k00001", "").await.problem(409, "key-exists");
    let _updated = kvd
        .put("/items/k00001", "2")
        .header("If-Match", &read.etag())
        .await
        .expect(200);
    let _gone = kvd.delete("/items/k00002").await.expect(204);
    assert_eq!(kvd.get("/items/?keys_only=true").await.json()["total"], 2);
}

async fn an_existing_key_is_named_with_its_line(env: Env) {
    put(&env, "y", "old").await;
    put(&env, "a", "old").await;
    // The first line, not the first key.
    let text = lines([("x", "1"), ("y", "2"), ("a", "3")]);
    let refused = import(&env, ERROR, text.as_str()).await;
    assert!(refused.stderr.contains("line 2"), "{}", refused.stderr);
    assert_failed(refused, 1, "\"y\"");
    let refused = import(&env, &["--on-conflict", "error"], text).await;
    assert_failed(refused, 1, "nothing was written");
    // Also if it is found only when others are stored already.
    let many = [numbered(0..12_000, "new"), lines([("y", "new")])].concat();
    assert_failed(import(&env, ERROR, many).await, 1, "line 12001");
    assert_eq!((count(&env).await, get(&env, "y").await), (2, "old".into()));
}

async fn of_a_key_on_two_lines_the_first_or_the_last_counts(env: Env) {
    // So far apart that nothing that is sent or merged at once has both.
    let far = [
        lines([("twice", "first")]),
        numbered((0..12_000).rev(), "once"),
        lines([("twice", "last")]),
    ]
    .concat();
    let near = lines([
        ("twice", "first"),
        ("a", ""),
        ("twice", "middle"),
        ("twice", "last"),
    ]);
    for (text, others, again, lines) in [(near, 1, 2, "line 3"), (far, 12_000, 1, "line 12002")] {
        let refused = import(&env, ERROR, text.as_str()).await;
        for named in ["line 1", lines] {
            assert!(
                refused.stderr.contains(named) || again == 2,
                "{}",
                refused.stderr
            );
        }
        assert_failed(refused, 2, "\"twice\"");
        assert_eq!(count(&env).await, 0);
        let skip = import(&env, SKIP, text.as_str()).await.expect(0);
        assert_eq!(skip.text(), said(others + 1, 0, again));
        assert_eq!(get(&env, "twice").await, "first");
        let skip = import(&env, SKIP, text.as_str()).await.expect(0);
        assert_eq!(skip.text(), said(0, 0, others + 1 + again));
        let overwrite = import(&env, OVERWRITE, text.as_str()).await.expect(0);
        assert_eq!(overwrite.text(), said(0, others + 1, again));
        assert_eq!(get(&env, "twice").await, "last");
        env.database().execute("DELETE FROM items").await;
        let overwrite = import(&env, OVERWRITE, text).await.expect(0);
        assert_eq!(overwrite.text(), said(others + 1, 0, again));
        assert_eq!(get(&env, "twice").await, "last");
        // A line that does not count is no update.
        let versions: Vec<i64> = env
            .database()
            .column("SELECT DISTINCT version FROM items")
            .await;
        assert_eq!(versions, [1]);
        env.database().execute("DELETE FROM items").await;
    }
}

async fn a_key_on_thousands_of_lines_counts_once(env: Env) {
    // More lines than are merged at once, with others in front and behind.
    let repeated = numbered(iter::repeat_n(5_000, 5_999), "middle");
    let text = [
        numbered(1..5_000, ""),
        repeated,
        numbered(5_000..5_003, "last"),
    ]
    .concat();
    for (flags, created, updated, value) in
        [(SKIP, 5_002, 0, "middle"), (OVERWRITE, 0, 5_002, "last")]
    {
        let imported = import(&env, flags, text.as_str()).await.expect(0);
        assert_eq!(
            imported.text(),
            said(created, updated, 11_001 - created - updated)
        );
        assert_eq!(get(&env, "k05000").await, value);
    }
    let versions: Vec<i64> = env
        .database()
        .column("SELECT DISTINCT version FROM items")
        .await;
    assert_eq!(versions, [2]);
}

async fn keys_are_told_apart_byte_for_byte(env: Env) {
    let long = "é".repeat(256);
    let keys = [
        "a", "A", "a ", "á", "a\u{301}", " a", "ss", "ß", "😀", "💤", "\u{fffd}", &long,
    ];
    let text = lines(keys.map(|key| (key, key)));
    let imported = import(&env, ERROR, text.as_str()).await.expect(0);
    assert_eq!(imported.text(), said(keys.len() as u64, 0, 0));
    for flags in [SKIP, OVERWRITE] {
        let imported = import(&env, flags, text.as_str()).await.expect(0);
        assert!(imported.text().starts_with("created 0, "));
    }
    for key in keys {
        assert_eq!(get(&env, key).await, key);
    }
}

async fn overwriting_is_an_update_to_kvd(env: Env) {
    let kvd = env.start().await;
    let before = kvd.create("a", "1").await;
    let tag = before.member("etag");
    let (id, _) = tag.split_once('-').expect("a tag");
    // The very same value is an update, too.
    for (flags, value, version) in [(OVERWRITE, "2", 2), (SKIP, "3", 2), (OVERWRITE, "2", 3)] {
        let last = kvd.get("/items/a").await.expect(200);
        let _imported = import(&env, flags, lines([("a", value)])).await.expect(0);
        let now = kvd.get("/items/a").await.expect(200);
        assert_eq!(now.member("value"), "2");
        assert_eq!(now.json()["version"], version);
        assert_eq!(now.member("etag"), format!("{id}-{version}"));
        assert_eq!(now.member("created_at"), before.member("created_at"));
        let (last, now) = (last.member("updated_at"), now.member("updated_at"));
        assert!(
            if flags == SKIP {
                now == last
            } else {
                now > last
            },
            "{flags:?}: {last}, {now}"
        );
    }
    let stale = kvd
        .put("/items/a", "x")
        .header("If-Match", &before.etag())
        .await;
    stale.problem(412, "precondition-failed");
}

async fn a_dry_run_writes_nothing_and_tells_what_the_run_then_does(env: Env) {
    let old = lines([("b", "old"), ("c", "old")]);
    let new = lines([("a", "1"), ("b", "1"), ("a", "2"), ("d", "1")]);
    let all =
        "SELECT concat(key, ' ', value, ' ', version, ' ', updated_at) FROM items ORDER BY id";
    let all = match env.engine() {
        Engine::Mysql => all.replace("key", "`key`"),
        Engine::Postgres | Engine::Sqlite => all.to_owned(),
    };
    for flags in [SKIP, OVERWRITE] {
        env.database().execute("DELETE FROM items").await;
        let _old = import(&env, ERROR, old.as_str()).await.expect(0);
        let before: Vec<String> = env.database().column(&all).await;
        let words = [flags, &["--dry-run"]].concat();
        let tried = import(&env, &words, new.as_str()).await.expect(0);
        assert!(tried.stderr.contains("dry run"), "{}", tried.stderr);
        assert_eq!(env.database().column::<String>(&all).await, before);
        let done = import(&env, flags, new.as_str()).await.expect(0);
        assert_eq!(tried.text(), done.text());
    }
    for (text, code, named) in [
        (lines([("z", ""), ("b", "")]), 1, "line 2"),
        (lines([("z", ""), ("z", "")]), 2, "line 2"),
        (lines([("z", "")]) + "{", 2, "line 2"),
    ] {
        let tried = import(&env, &["--dry-run"], text.as_str())
            .await
            .expect(code);
        let done = import(&env, ERROR, text).await.expect(code);
        assert!(tried.stderr.contains(named), "{}", tried.stderr);
        assert!(
            tried.stderr.ends_with(&done.stderr),
            "{} {}",
            tried.stderr,
            done.stderr
        );
        assert_eq!(tried.text(), "");
    }
}

async fn a_bad_line_after_many_good_ones_leaves_nothing(env: Env) {
    for flags in [ERROR, SKIP, OVERWRITE] {
        let text = numbered(0..20_000, "good") + "{\"key\":\"bad\",\"value\":1}";
        assert_failed(import(&env, flags, text).await, 2, "line 20001: ");
        assert_eq!(count(&env).await, 0);
    }
}

async fn keys_and_values_arrive_byte_for_byte(env: Env) {
    let large = "é\\\"\n".repeat(52_428) + "1234";
    assert_eq!(large.len(), 262_144);
    let values = [
        "",
        " ",
        "\n",
        "\t",
        "\r\n",
        "\\",
        "\\.",
        "\\N",
        "\\x41",
        "\\\\t",
        "NULL",
        "a\tb\nc\rd\\",
        "\"q\" 'q' `q`",
        "''; --",
        "%s ? ?1 $1 :x {}",
        "{\"key\":\"x\"}",
        "😀\u{1}\u{7f}\u{85}\u{2028}\u{fffd}\u{10ffff}",
        &large,
    ];
    let keys: Vec<String> = (0..values.len())
        .map(|n| format!("{n} \\N\\\"'`%😀\u{85}/"))
        .collect();
    let text = lines(keys.iter().zip(values));
    let imported = import(&env, ERROR, text).await.expect(0);
    assert_eq!(imported.text(), said(values.len() as u64, 0, 0));
    let kvd = env.start().await;
    for (key, value) in keys.iter().zip(values) {
        assert!(get(&env, key).await == value, "{key}");
        let read = kvd.get(&item(key)).await.expect(200);
        assert!(
            read.member("value") == value && read.member("key") == *key,
            "{key}"
        );
    }
}

async fn an_export_imports_as_the_same_items(env: Env) {
    let text = lines([("é/ \"", "\\\n"), ("z\u{10ffff}", ""), ("a", "1")]);
    let _imported = import(&env, ERROR, text).await.expect(0);
    put(&env, "a", "2").await;
    let export = env.kvctl(["export"]).await.expect(0);
    let other = env.empty_database().await;
    let _migrated = env.kvctl_on(&other, ["migrate"]).await.expect(0);
    for (flags, numbers) in [
        ("error", (3, 0, 0)),
        ("skip", (0, 0, 3)),
        ("overwrite", (0, 3, 0)),
    ] {
        let imported = env.kvctl_on(&other, ["import", "-", "--on-conflict", flags]);
        let imported = imported.stdin(export.stdout.clone()).await.expect(0);
        assert_eq!(imported.text(), said(numbers.0, numbers.1, numbers.2));
    }
    let items = |output: Output| -> Vec<(Value, Value)> {
        let line = |line| serde_json::from_str::<Value>(line).expect("JSON");
        let parsed = output.text().lines().map(line);
        parsed
            .map(|line| (line["key"].clone(), line["value"].clone()))
            .collect()
    };
    let again = env.kvctl_on(&other, ["export"]).await.expect(0);
    assert_eq!(items(again), items(export));
}

async fn on_a_database_that_is_not_migrated_import_and_seed_say_what_to_do(env: Env) {
    let database = env.empty_database().await;
    for words in [
        &["import", "-"][..],
        &["import", "-", "--dry-run"],
        &["seed"],
        &["export"],
    ] {
        let kvctl = env.kvctl_on(&database, []).args(words);
        let output = kvctl.stdin(lines([("a", "b")])).await.expect(2);
        assert!(
            output.stderr.contains("kvctl migrate"),
            "{words:?}: {}",
            output.stderr
        );
        assert_eq!(output.text(), "");
    }
}

async fn every_kind_of_bad_line_is_named_by_its_number(env: Env) {
    let line = |key: &str, value: &str| lines([(key, value)]).trim_end().as_bytes().to_vec();
    let text = [
        "x",
        "{",
        "}",
        "{}",
        "null",
        "\"k\"",
        "[]",
        r#"["k","v"]"#,
        r#"[{"key":"k","value":"v"}]"#,
        r#"{"key":"k"}"#,
        r#"{"value":"v"}"#,
        r#"{"key":"k","value":"v","vaule":"v"}"#,
        r#"{"key":"k","value":"v","id":1}"#,
        r#"{"Key":"k","value":"v"}"#,
        r#"{"key":"k","value":"v","value":"v"}"#,
        r#"{"key":"k","value":"v","version":1,"version":1}"#,
        r#"{"key":"k","value":1}"#,
        r#"{"key":"k","value":null}"#,
        r#"{"key":"k","value":["v"]}"#,
        r#"{"key":["k"],"value":"v"}"#,
        r#"{"key":null,"value":"v"}"#,
        r#"{"key":"k","value":"v"},"#,
        r#"{"key":"k","value":"v"}{"key":"l","value":"v"}"#,
        r#"{"key":"k","value":"v",}"#,
        r#"{"key":"k","value":"v"#,
        r#"{'key':'k','value':'v'}"#,
        r#"{"key":"","value":"v"}"#,
        r#"{"key":".","value":"v"}"#,
        r#"{"key":"..","value":"v"}"#,
        r#"{"key":"a\nb","value":"v"}"#,
        r#"{"key":"\u0000","value":"v"}"#,
        r#"{"key":"\u007f","value":"v"}"#,
        r#"{"key":"k","value":"\u0000"}"#,
        r#"{"key":"k","value":"\ud800"}"#,
        r#"{"key":"k","value":"\x"}"#,
        "{\"key\":\"k\",\"value\":\"a\tb\"}",
        "\u{feff}{\"key\":\"k\",\"value\":\"v\"}",
    ];
    let mut bad: Vec<Vec<u8>> = text.map(|line| line.as_bytes().to_vec()).to_vec();
    bad.push(line(&"k".repeat(513), "v"));
    bad.push(line("k", &"v".repeat(262_145)));
    bad.push(line("k", &"é".repeat(131_073)));
    bad.push(b"{\"key\":\"k\",\"value\":\"\xff\"}".to_vec());
    bad.push(b"{\"key\":\"\xc3\",\"value\":\"v\"}".to_vec());
    bad.push(b"\xff\xfe{\0".to_vec());
    bad.push(b"\0".to_vec());
    for bad in bad {
        let shown = String::from_utf8_lossy(&bad[..bad.len().min(60)]).into_owned();
        let mut text = lines([("a", "1")]).into_bytes();
        text.extend(b"\r\n\n");
        text.extend(bad);
        text.extend(b"\n{also bad\n");
        let refused = import(&env, SKIP, text).await;
        assert!(
            refused.stderr.contains("line 4: "),
            "{shown}: {}",
            refused.stderr
        );
        assert!(refused.stderr.len() < 400, "{shown}: {}", refused.stderr);
        assert_failed(refused, 2, "nothing was written");
    }
    assert_eq!(count(&env).await, 0);
}

async fn what_an_export_tells_besides_is_left_unread(env: Env) {
    let text = r#"{"updated_at":"never","version":-7.5e300,"value":"v","etag":{"a":[1]},"created_at":null,"key":"k"}"#;
    assert_eq!(
        import(&env, ERROR, text).await.expect(0).text(),
        said(1, 0, 0)
    );
    let item = env.kvctl(["get", "k", "-o", "json"]).await.expect(0);
    let item: Value = serde_json::from_str(item.text()).expect("JSON");
    assert_eq!((&item["version"], &item["value"]), (&json!(1), &json!("v")));
}

async fn ends_of_lines_empty_lines_and_a_mark_do_not_matter(env: Env) {
    let line = r#"{"key":"k","value":"v\r\n "}"#;
    for text in [
        format!("{line}\n"),
        line.to_owned(),
        format!("{line}\r\n"),
        format!("\u{feff}{line}\r\n"),
        format!("\u{feff}\n{line}"),
        format!("\n\r\n \t \n  {line}  \n\n"),
        "{ \"key\" : \"\\u006b\" , \"value\" :\t\"v\\u000d\\u000a\\u0020\" }".to_owned(),
    ] {
        let imported = import(&env, ERROR, text.as_str()).await.expect(0);
        assert_eq!(imported.text(), said(1, 0, 0), "{text:?}");
        assert_eq!(get(&env, "k").await, "v\r\n ");
        let _gone = env.kvctl(["delete", "k"]).await.expect(0);
    }
    for nothing in ["", "\n", "\r\n\r\n", "\u{feff}", " "] {
        let imported = import(&env, ERROR, nothing).await.expect(0);
        assert_eq!(imported.text(), said(0, 0, 0), "{nothing:?}");
    }
}

async fn a_file_is_as_good_as_standard_input(env: Env) {
    fs::write(env.directory().join("two words"), numbered(0..3, "v")).expect("a file");
    let file = env
        .kvctl(["import", "two words"])
        .stdin("not read")
        .await
        .expect(0);
    assert_eq!(file.text(), said(3, 0, 0));
    fs::write(env.directory().join("bad"), "\nx").expect("a file");
    let bad = env.kvctl(["import", "bad"]).await;
    assert!(bad.stderr.contains("line 2"), "{}", bad.stderr);
    assert_failed(bad, 2, "bad");
    assert_failed(env.kvctl(["import", "missing"]).await, 2, "missing");
    assert_failed(env.kvctl(["import", "."]).await, 2, ".");
    assert_eq!(count(&env).await, 3);
}

async fn a_line_that_never_ends_is_refused_before_it_is_read(env: Env) {
    for start in ["", "{\"key\":\"k\",\"value\":\"", "\n  "] {
        let mut import = env.kvctl(["import", "-"]).spawn();
        import.send(start.as_bytes()).await;
        let filler = if start == "\n  " { b' ' } else { b'x' };
        let block = vec![filler; 1 << 20];
        // It goes away long before this is sent; and it does not wait for the rest.
        let fed = async {
            for _ in 0..50 {
                import.send(&block).await;
            }
        };
        timeout(PATIENCE, fed).await.expect("it reads, or is gone");
        let line = if start == "\n  " {
            "line 2: "
        } else {
            "line 1: "
        };
        assert_failed(import.ended().await, 2, line);
    }
}

async fn max_value_bytes_is_the_bound_of_a_value(env: Env) {
    let value = |bytes| lines([("k", "v".repeat(bytes))]);
    assert_failed(
        import(&env, &["--max-value-bytes", "10"], value(11)).await,
        2,
        "line 1: ",
    );
    let small = import(&env, &["--max-value-bytes", "10"], value(10)).await;
    assert_eq!(small.expect(0).text(), said(1, 0, 0));
    let words = ["--max-value-bytes", "400000", "--on-conflict", "overwrite"];
    let large = import(&env, &words, value(400_000)).await;
    assert_eq!(large.expect(0).text(), said(0, 1, 0));
    let by_variable = env.kvctl(["import", "-"]).env("MAX_VALUE_BYTES", "3");
    assert_failed(by_variable.stdin(value(4)).await, 2, "line 1: ");
    // As long as a line can be: escapes only.
    let escaped = "\\u00e9".repeat(131_072);
    let line = format!("{{\"key\":\"e\",\"value\":\"{escaped}\"}}");
    assert_eq!(
        import(&env, ERROR, line).await.expect(0).text(),
        said(1, 0, 0)
    );
    let escaped: String = iter::repeat_n("\\u0041", 262_144).collect();
    let line = format!("{{\"key\":\"f\",\"value\":\"{escaped}\"}}");
    assert_eq!(
        import(&env, ERROR, line).await.expect(0).text(),
        said(1, 0, 0)
    );
}

async fn what_import_does_not_understand_is_a_usage_error(env: Env) {
    for (words, named) in [
        (&[][..], "FILE"),
        (&["-", "more"], "more"),
        (&["-", "--on-conflict", "merge"], "merge"),
        (&["-", "--on-conflict"], "--on-conflict"),
        (&["-", "--dry-run=yes"], "--dry-run"),
        (&["-", "-o", "table"], "table"),
        (&["-", "--max-value-bytes=-1"], "--max-value-bytes"),
        (
            &["-", "--max-value-bytes", "18446744073709551615"],
            "--max-value-bytes",
        ),
    ] {
        let output = env
            .kvctl(["import"])
            .args(words)
            .stdin(lines([("a", "b")]))
            .await;
        assert_failed(output, 2, named);
    }
    assert_eq!(count(&env).await, 0);
}
