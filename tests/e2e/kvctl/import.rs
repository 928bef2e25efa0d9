//! `kvctl import`: which lines it takes, and what becomes of the items.

use std::iter;

use serde_json::{Value, json};
use tests::{Engine, Env, process::Output};

use crate::kvctl::said::assert_failed;

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
        an_export_imports_as_the_same_items,
        on_a_database_that_is_not_migrated_import_and_seed_say_what_to_do;
    Once => what_import_does_not_understand_is_a_usage_error
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

pub(crate) async fn get(env: &Env, key: &str) -> String {
    env.kvctl(["get", key]).await.expect(0).text().to_owned()
}

async fn put(env: &Env, key: &str, value: &str) {
    let _put = env.kvctl(["put", key, value]).await.expect(0);
}

pub(crate) const ERROR: &[&str] = &[];
pub(crate) const SKIP: &[&str] = &["--on-conflict", "skip"];
pub(crate) const OVERWRITE: &[&str] = &["--on-conflict", "overwrite"];

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

// Long: it is one story, whose steps depend on each other.
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
