//! `kvctl seed`: items to try things with.

use std::fs;

use serde_json::Value;
use tests::Env;

use crate::{
    kvctl::import::{count, lines, said},
    kvctl::said::assert_failed,
};

tests::list! {
    EveryEngine =>
        seed_makes_100_items,
        the_same_items_every_time,
        running_it_again_changes_nothing,
        a_file_is_taken_instead;
    Once =>
        numbers_have_six_digits_or_more,
        values_are_as_long_as_asked,
        what_it_cannot_make_is_refused_before_anything
}

async fn seed(env: &Env, words: &[&str]) -> String {
    let output = env.kvctl(["seed"]).args(words).await.expect(0);
    assert_eq!(output.stderr, "");
    output.text().to_owned()
}

/// All there is, but for times.
async fn items(env: &Env) -> Vec<(String, String, i64)> {
    let export = env.kvctl(["export"]).await.expect(0);
    let item = |line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let member = |name: &str| line[name].as_str().expect("text").to_owned();
        (
            member("key"),
            member("value"),
            line["version"].as_i64().expect("a number"),
        )
    };
    export.text().lines().map(item).collect()
}

async fn seed_makes_100_items(env: Env) {
    assert_eq!(seed(&env, &[]).await, said(100, 0, 0));
    let items = items(&env).await;
    let keys = (1..=100).map(|n| format!("seed-{n:06}"));
    assert!(items.iter().map(|(key, ..)| key.clone()).eq(keys));
    for (key, value, version) in &items {
        assert!(
            value.is_ascii() && value.len() == 100 && *version == 1,
            "{key}: {value}"
        );
        assert!(
            !value.contains(|c: char| c.is_ascii_control()),
            "{key}: {value}"
        );
    }
    // kvd serves them as any others.
    let kvd = env.start().await;
    let read = kvd.get("/items/seed-000100").await.expect(200);
    assert_eq!(read.member("value"), items[99].1);
}

async fn the_same_items_every_time(env: Env) {
    let words = ["--count", "20", "--prefix", "é 😀/", "--value-bytes", "7"];
    let _seeded = seed(&env, &words).await;
    let before = items(&env).await;
    assert_eq!(before[19].0, "é 😀/000020");
    env.database().execute("DELETE FROM items").await;
    let _seeded = seed(&env, &words).await;
    assert_eq!(items(&env).await, before);
}

async fn running_it_again_changes_nothing(env: Env) {
    let _put = env.kvctl(["put", "seed-000002", "mine"]).await.expect(0);
    assert_eq!(seed(&env, &["--count", "3"]).await, said(2, 0, 1));
    let before = env.kvctl(["export"]).await.expect(0).stdout;
    for words in [
        &["--count", "3"][..],
        &["--count", "2"],
        &["--count", "3", "--value-bytes", "5"],
    ] {
        let skipped = words[1].parse().expect("a number");
        assert_eq!(seed(&env, words).await, said(0, 0, skipped));
        assert_eq!(env.kvctl(["export"]).await.expect(0).stdout, before);
    }
    assert_eq!(seed(&env, &["--count", "5"]).await, said(2, 0, 3));
    let after = env.kvctl(["export"]).await.expect(0).stdout;
    assert!(after.starts_with(&before) && count(&env).await == 5);
    assert_eq!(seed(&env, &["--count", "0"]).await, said(0, 0, 0));
    let json = seed(&env, &["--count", "6", "-o", "json"]).await;
    assert_eq!(json, "{\"created\":1,\"updated\":0,\"skipped\":5}\n");
    assert_eq!(
        items(&env).await[1],
        ("seed-000002".into(), "mine".into(), 1)
    );
}

async fn a_file_is_taken_instead(env: Env) {
    let _put = env.kvctl(["put", "a", "mine"]).await.expect(0);
    let text = lines([("b", "first"), ("a", "theirs"), ("b", "last")]);
    fs::write(env.directory().join("items.ndjson"), &text).expect("a file");
    assert_eq!(seed(&env, &["--file", "items.ndjson"]).await, said(1, 0, 2));
    let expected =
        [("a", "mine"), ("b", "first")].map(|(key, value)| (key.into(), value.into(), 1));
    assert_eq!(items(&env).await, expected);
    let piped = env
        .kvctl(["seed", "--file", "-"])
        .stdin(text)
        .await
        .expect(0);
    assert_eq!(piped.text(), said(0, 0, 3));
    fs::write(env.directory().join("bad"), lines([("c", "")]) + "{}").expect("a file");
    let bad = env.kvctl(["seed", "--file", "bad"]).await;
    assert_failed(bad, 2, "line 2: ");
    assert_failed(env.kvctl(["seed", "--file", "missing"]).await, 2, "missing");
    assert_eq!(count(&env).await, 2);
    for other in ["--count=1", "--prefix=p", "--value-bytes=1"] {
        let both = env.kvctl(["seed", "--file", "items.ndjson", other]).await;
        assert_failed(both, 2, "--file");
    }
}

async fn numbers_have_six_digits_or_more(env: Env) {
    let words = ["--count", "1000000", "--prefix", "", "--value-bytes", "0"];
    assert_eq!(seed(&env, &words).await, said(1_000_000, 0, 0));
    let some = "SELECT key FROM items WHERE id IN (1, 999999, 1000000) ORDER BY id";
    let some: Vec<String> = env.database().column(some).await;
    // In the order of the keys, in which they are stored.
    assert_eq!(some, ["000001", "999998", "999999"]);
    assert_eq!(env.kvctl(["get", "1000000"]).await.expect(0).text(), "");
}

async fn values_are_as_long_as_asked(env: Env) {
    for bytes in [0, 1, 262_144] {
        let (prefix, bytes) = (format!("{bytes}/"), bytes.to_string());
        let words = ["--count", "2", "--prefix", &prefix, "--value-bytes", &bytes];
        assert_eq!(seed(&env, &words).await, said(2, 0, 0));
    }
    let words = [
        "--count",
        "1",
        "--prefix",
        "x",
        "--value-bytes",
        "300000",
        "--max-value-bytes",
        "300000",
    ];
    assert_eq!(seed(&env, &words).await, said(1, 0, 0));
    let lengths: Vec<i64> = env
        .database()
        .column("SELECT length(value) FROM items ORDER BY key")
        .await;
    assert_eq!(lengths, [0, 0, 1, 1, 262_144, 262_144, 300_000]);
}

async fn what_it_cannot_make_is_refused_before_anything(env: Env) {
    let long = format!("--prefix={}", "p".repeat(507));
    for (words, named) in [
        (&["--value-bytes=262145"][..], "--max-value-bytes"),
        (&["--value-bytes=99999999999999"], "--max-value-bytes"),
        (
            &["--value-bytes=11", "--max-value-bytes=10"],
            "--max-value-bytes",
        ),
        (&["--value-bytes=-1"], "--value-bytes"),
        (&["--count=-1"], "--count"),
        (&["--count=many"], "--count"),
        (&["--count=1.5"], "--count"),
        (&["--count=99999999999999999999"], "--count"),
        (&[&long], "512"),
        (&["--prefix=a\tb"], "U+0009"),
        (&["more"], "more"),
        (&["-o", "table"], "table"),
    ] {
        assert_failed(env.kvctl(["seed"]).args(words).await, 2, named);
    }
    // Of the last key, one byte too long, the first is not made either.
    let nearly = format!("--prefix={}", "p".repeat(506));
    assert_failed(
        env.kvctl(["seed", &nearly, "--count=1000000"]).await,
        2,
        "512",
    );
    assert_eq!(count(&env).await, 0);
    let at_the_bound = env.kvctl(["seed", &nearly, "--count=1"]).await.expect(0);
    assert_eq!(at_the_bound.text(), said(1, 0, 0));
}
