//! `kvctl put`: what it takes, on which conditions, and that kvd serves the same items.

use std::fs;

use serde_json::Value;
use tests::{Env, item};

use crate::kvctl::said::assert_failed;

tests::list! {
    EveryEngine =>
        put_creates_or_overwrites_and_prints_the_new_version,
        put_takes_a_value_a_file_or_standard_input,
        create_update_and_if_match_are_conditions,
        kvd_and_kvctl_see_each_others_writes,
        compare_and_set_works_across_kvd_and_kvctl;
    Once =>
        a_bad_key_is_exit_code_2_and_one_line,
        a_bad_value_is_exit_code_2_and_one_line,
        a_value_that_cannot_be_read_is_exit_code_2_and_one_line,
}

async fn put_creates_or_overwrites_and_prints_the_new_version(env: Env) {
    for version in 1..4 {
        let put = env
            .kvctl(["put", "a", &format!("v{version}")])
            .await
            .expect(0);
        assert_eq!(put.text(), format!("{version}\n"));
        assert_eq!(put.stderr, "");
        let got = env.kvctl(["get", "a"]).await.expect(0);
        assert_eq!(got.text(), format!("v{version}"));
    }
    let put = env.kvctl(["put", "a", "v4", "-o", "json"]).await.expect(0);
    let put: Value = serde_json::from_str(put.text()).expect("JSON");
    assert_eq!(put["version"], 4);
    let got = env.kvctl(["get", "a", "-o", "json"]).await.expect(0);
    assert_eq!(
        put,
        serde_json::from_str::<Value>(got.text()).expect("JSON")
    );
}

async fn put_takes_a_value_a_file_or_standard_input(env: Env) {
    let large = "é\n".repeat(87_381);
    fs::write(env.directory().join("file name"), &large).expect("a file");
    fs::write(env.directory().join("empty"), "").expect("a file");
    for (argument, stdin, value) in [
        ("plain", "", "plain"),
        ("", "", ""),
        ("-5", "", "-5"),
        ("--", "", "--"),
        ("a@b", "", "a@b"),
        ("@file name", "ignored", &large),
        ("@empty", "", ""),
        ("-", "from stdin\n", "from stdin\n"),
        ("-", "", ""),
        ("-", "@file name", "@file name"),
        ("-", &large, &large),
    ] {
        let words: &[&str] = match argument {
            "--" => &["put", "a", "--", "--"],
            _ => &["put", "a", argument],
        };
        let kvctl = tests::kvctl::on(&env.database().url()).directory(env.directory());
        let _put = kvctl.args(words).stdin(stdin).await.expect(0);
        let got = env.kvctl(["get", "a"]).await.expect(0);
        assert!(got.text() == value, "{argument}: {:.40}", got.text());
    }
}

/// The tag of a key, as `-o json` shows it.
async fn tag(env: &Env, key: &str) -> String {
    let got = env.kvctl(["get", key, "-o", "json"]).await.expect(0);
    let got: Value = serde_json::from_str(got.text()).expect("JSON");
    got["etag"].as_str().expect("a tag").to_owned()
}

async fn create_update_and_if_match_are_conditions(env: Env) {
    assert_failed(env.kvctl(["put", "--update", "a", "x"]).await, 1, "a");
    assert_failed(
        env.kvctl(["put", "--if-match", "1-1", "a", "x"]).await,
        1,
        "a",
    );
    let created = env.kvctl(["put", "--create", "a", "1"]).await.expect(0);
    assert_eq!(created.text(), "1\n");
    assert_failed(env.kvctl(["put", "--create", "a", "x"]).await, 1, "a");
    let updated = env.kvctl(["put", "a", "2", "--update"]).await.expect(0);
    assert_eq!(updated.text(), "2\n");
    let current = tag(&env, "a").await;
    let updated = env.kvctl(["put", "--if-match", &current, "a", "3"]).await;
    assert_eq!(updated.expect(0).text(), "3\n");
    let now = tag(&env, "a").await;
    let stale = env.kvctl(["put", "--if-match", &current, "a", "x"]).await;
    assert_failed(stale, 1, &now);
    assert_eq!(env.kvctl(["get", "a"]).await.expect(0).text(), "3");
    for words in [["--create", "--update"], ["--create", "--if-match=1-1"]] {
        let both = env.kvctl(["put", words[0], words[1], "a", "x"]).await;
        assert_failed(both, 2, "--create");
    }
    let no_tag = env.kvctl(["put", "--if-match", "nonsense", "a", "x"]).await;
    assert_failed(no_tag, 2, "--if-match");
}

async fn kvd_and_kvctl_see_each_others_writes(env: Env) {
    let kvd = env.start().await;
    let key = "shared/ключ 😀";
    let put = env.kvctl(["put", key, "by kvctl"]).await.expect(0);
    assert_eq!(put.text(), "1\n");
    let read = kvd.get(&item(key)).await.expect(200);
    assert_eq!(read.member("value"), "by kvctl");
    assert_eq!(read.etag(), format!("\"{}\"", tag(&env, key).await));

    let updated = kvd.put(&item(key), "by kvd").await.expect(200);
    assert_eq!(updated.json()["version"], 2);
    assert_eq!(env.kvctl(["get", key]).await.expect(0).text(), "by kvd");
    assert_eq!(updated.member("etag"), tag(&env, key).await);
    let put = env.kvctl(["put", key, "by kvctl"]).await.expect(0);
    assert_eq!(put.text(), "3\n");
    let read = kvd.get(&item(key)).await.expect(200);
    assert_eq!(read.json()["version"], 3);
    assert_eq!(read.member("created_at"), updated.member("created_at"));

    let _gone = kvd.delete(&item(key)).await.expect(204);
    assert_failed(env.kvctl(["get", key]).await, 1, "ключ");
    let _put = env.kvctl(["put", key, "again"]).await.expect(0);
    let again = kvd.get(&item(key)).await.expect(200);
    assert_ne!(again.member("etag"), read.member("etag"));
}

async fn compare_and_set_works_across_kvd_and_kvctl(env: Env) {
    let kvd = env.start().await;
    let first = kvd.create("a", "1").await;
    let put = env
        .kvctl(["put", "--if-match", &first.member("etag"), "a", "2"])
        .await;
    assert_eq!(put.expect(0).text(), "2\n");
    let stale = kvd
        .put("/items/a", "x")
        .header("If-Match", &first.etag())
        .await;
    stale.problem(412, "precondition-failed");
    assert_eq!(stale.etag(), format!("\"{}\"", tag(&env, "a").await));
    let won = kvd
        .put("/items/a", "3")
        .header("If-Match", &stale.etag())
        .await;
    let won = won.expect(200);
    let late = stale.etag();
    let late = env
        .kvctl(["put", "--if-match", late.trim_matches('"'), "a", "x"])
        .await;
    assert_failed(late, 1, &won.member("etag"));
}

async fn a_bad_key_is_exit_code_2_and_one_line(env: Env) {
    let long = "k".repeat(513);
    for key in ["", ".", "..", "a\nb", "a\tb", "\u{7f}", &long] {
        assert_failed(env.kvctl(["put", key, "x"]).await, 2, "key");
    }
    let rows: i64 = env.database().value("SELECT count(*) FROM items").await;
    assert_eq!(rows, 0);
}

async fn a_bad_value_is_exit_code_2_and_one_line(env: Env) {
    let put = |stdin: Vec<u8>| env.kvctl(["put", "a", "-"]).stdin(stdin);
    assert_failed(put(vec![b'v'; 262_145]).await, 2, "262144");
    assert_failed(put(b"a\0b".to_vec()).await, 2, "U+0000");
    assert_failed(put(b"a\xFFb".to_vec()).await, 2, "UTF-8");
    let small = env.kvctl(["put", "a", "12345"]).env("MAX_VALUE_BYTES", "4");
    assert_failed(small.await, 2, "4");
    fs::write(env.directory().join("latin1"), b"caf\xE9").expect("a file");
    assert_failed(env.kvctl(["put", "a", "@latin1"]).await, 2, "UTF-8");
    assert_failed(env.kvctl(["get", "a"]).await, 1, "a");
}

async fn a_value_that_cannot_be_read_is_exit_code_2_and_one_line(env: Env) {
    assert_failed(env.kvctl(["put", "a", "@missing"]).await, 2, "missing");
    assert_failed(env.kvctl(["put", "a", "@."]).await, 2, ".");
    assert_failed(env.kvctl(["put", "a", "@"]).await, 2, "kvctl");
}
