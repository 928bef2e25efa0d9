//! `kvctl delete`: all of the keys, or none.

use std::future::IntoFuture;

use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::Value;
use tests::{Engine, Env, item, process::Output};
use tokio::task::JoinSet;

use crate::{
    kvctl::list::{insert, insert_keys},
    kvctl::said::assert_failed,
};

tests::list! {
    EveryEngine =>
        delete_prints_how_many_items_are_gone,
        one_missing_key_and_nothing_is_deleted,
        missing_keys_can_be_ignored,
        a_key_given_twice_counts_once,
        if_match_deletes_only_the_item_with_this_tag,
        keys_are_compared_byte_for_byte,
        keys_that_break_the_rule_can_be_deleted,
        many_keys_are_still_all_or_nothing,
        kvd_and_kvctl_agree_on_what_is_gone,
        of_several_deletes_of_the_same_keys_one_wins,
        overlapping_deletes_delete_each_key_once;
    Only(Engine::Postgres) => a_locked_item_is_waited_for;
    Only(Engine::Mysql) => a_locked_item_is_waited_for;
    Once =>
        delete_refuses_what_it_cannot_do
}

async fn delete(env: &Env, words: &[&str]) -> Output {
    env.kvctl(["delete"]).args(words).await
}

/// The keys that are left.
async fn left(env: &Env) -> Vec<String> {
    let listed = env.kvctl(["list", "--keys"]).await.expect(0);
    listed.text().lines().map(str::to_owned).collect()
}

async fn tag(env: &Env, key: &str) -> String {
    let got = env.kvctl(["get", key, "-o", "json"]).await.expect(0);
    let got: Value = serde_json::from_str(got.text()).expect("JSON");
    got["etag"].as_str().expect("a tag").to_owned()
}

async fn delete_prints_how_many_items_are_gone(env: Env) {
    insert_keys(&env, &["a", "b", "c/d", "é😀", "stays", "-dash"]).await;
    let one = delete(&env, &["a"]).await.expect(0);
    assert_eq!((one.text(), one.stderr.as_str()), ("1\n", ""));
    let several = delete(&env, &["c/d", "é😀", "-o", "json"]).await.expect(0);
    assert_eq!(several.text(), "{\"deleted\":2}\n");
    let lines = delete(&env, &["b", "-o", "ndjson"]).await.expect(0);
    assert_eq!(lines.text(), "{\"deleted\":1}\n");
    let dash = delete(&env, &["--", "-dash"]).await.expect(0);
    assert_eq!(dash.text(), "1\n");
    assert_eq!(left(&env).await, ["stays"]);
}

async fn one_missing_key_and_nothing_is_deleted(env: Env) {
    insert_keys(&env, &["a", "b", "c"]).await;
    for words in [
        &["gone"][..],
        &["a", "b", "gone"],
        &["gone", "a"],
        &["a", "gone", "b", "-o", "json"],
    ] {
        assert_failed(delete(&env, words).await, 1, "\"gone\"");
    }
    let two = delete(&env, &["gone/2", "b", "gone/1"]).await;
    assert!(two.stderr.contains("\"gone/1\""), "{}", two.stderr);
    assert!(!two.stderr.contains("\"b\""), "{}", two.stderr);
    assert_failed(two, 1, "\"gone/2\"");
    // Not even touched.
    assert_eq!(left(&env).await, ["a", "b", "c"]);
    assert!(tag(&env, "a").await.ends_with("-1"));
}

async fn missing_keys_can_be_ignored(env: Env) {
    insert_keys(&env, &["a", "b", "c"]).await;
    for (keys, deleted) in [
        (&["a", "gone", "b"][..], "2\n"),
        (&["gone"], "0\n"),
        (&["a", "b"], "0\n"),
    ] {
        let output = delete(&env, &[&["--ignore-missing"], keys].concat()).await;
        let output = output.expect(0);
        assert_eq!((output.text(), output.stderr.as_str()), (deleted, ""));
    }
    assert_eq!(left(&env).await, ["c"]);
}

async fn a_key_given_twice_counts_once(env: Env) {
    insert_keys(&env, &["a", "b", "c"]).await;
    let twice = delete(&env, &["a", "b", "a"]).await.expect(0);
    assert_eq!(twice.text(), "2\n");
    let missing = delete(&env, &["gone", "c", "gone"]).await.expect(1);
    assert_eq!(missing.stderr.matches("gone").count(), 1);
    let ignored = delete(&env, &["--ignore-missing", "c", "gone", "c", "gone"]).await;
    assert_eq!(ignored.expect(0).text(), "1\n");
}

async fn if_match_deletes_only_the_item_with_this_tag(env: Env) {
    let _put = env.kvctl(["put", "a", "1"]).await.expect(0);
    let old = tag(&env, "a").await;
    let _put = env.kvctl(["put", "a", "2"]).await.expect(0);
    let now = tag(&env, "a").await;
    for words in [
        &["a", "--if-match", &old][..],
        &["a", "--if-match", &old, "--ignore-missing"],
        &["--if-match", "9223372036854775807-1", "a"],
    ] {
        assert_failed(delete(&env, words).await, 1, &now);
    }
    assert_eq!(env.kvctl(["get", "a"]).await.expect(0).text(), "2");
    let matched = delete(&env, &["a", "--if-match", &now]).await.expect(0);
    assert_eq!(matched.text(), "1\n");
    assert_failed(delete(&env, &["a", "--if-match", &now]).await, 1, "\"a\"");
    let ignored = delete(&env, &["a", "--if-match", &now, "--ignore-missing"]).await;
    assert_eq!(ignored.expect(0).text(), "0\n");
    // Its id is not used again, so no tag of an item that is gone ever matches another.
    let _put = env.kvctl(["put", "a", "1"]).await.expect(0);
    let _put = env.kvctl(["put", "a", "2"]).await.expect(0);
    assert_failed(delete(&env, &["a", "--if-match", &now]).await, 1, "\"a\"");
}

async fn keys_are_compared_byte_for_byte(env: Env) {
    let keys = ["A", "a", "a ", "a/", "a%", "á", "a\u{301}"];
    insert_keys(&env, &keys).await;
    for near in ["b", "%", "a_", " a", "À", "a/ "] {
        assert_failed(delete(&env, &[near]).await, 1, near);
    }
    assert_eq!(left(&env).await.len(), keys.len());
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(delete(&env, &[key]).await.expect(0).text(), "1\n", "{key}");
        assert_eq!(left(&env).await.len(), keys.len() - number - 1, "{key}");
    }
}

async fn keys_that_break_the_rule_can_be_deleted(env: Env) {
    let long = "é".repeat(400);
    let odd = ["", "..", "tab\there", "line\nbreak", "\u{7f}", &long];
    insert_keys(&env, &odd).await;
    insert_keys(&env, &["fine", "."]).await;
    for key in &odd[..2] {
        let deleted = delete(&env, &["--", key]).await.expect(0);
        assert_eq!(deleted.text(), "1\n", "{key:?}");
        assert_failed(delete(&env, &["--", key]).await, 1, "no key");
    }
    let rest = delete(&env, &odd[2..]).await.expect(0);
    assert_eq!(rest.text(), "4\n");
    assert_eq!(left(&env).await, [".", "fine"]);
}

async fn many_keys_are_still_all_or_nothing(env: Env) {
    let keys: Vec<_> = (0..2_500).map(|n| format!("k{n:05}")).collect();
    insert(&env, keys.iter().map(|key| (key.clone(), String::new()))).await;
    insert_keys(&env, &["other"]).await;
    let words = || keys.iter().rev().map(String::as_str);
    let more = env.kvctl(["delete", "zzz"]).args(words()).await;
    assert_failed(more, 1, "\"zzz\"");
    let count = env.kvctl(["count"]).await.expect(0);
    assert_eq!(count.text(), "2501\n");
    let all = env.kvctl(["delete"]).args(words()).await.expect(0);
    assert_eq!(all.text(), "2500\n");
    assert_eq!(left(&env).await, ["other"]);
    // Many are missing: the message still is for a person.
    let none = env.kvctl(["delete"]).args(words()).await;
    assert!(none.stderr.len() < 1_000, "{}", none.stderr);
    assert_failed(none, 1, " more");
}

async fn kvd_and_kvctl_agree_on_what_is_gone(env: Env) {
    let kvd = env.start().await;
    let key = "shared/ключ 😀";
    let created = kvd.create(key, "by kvd").await;
    let etag = created.member("etag");
    let deleted = delete(&env, &[key, "--if-match", &etag]).await;
    assert_eq!(deleted.expect(0).text(), "1\n");
    kvd.get(&item(key)).await.problem(404, "item-not-found");
    let late = kvd.put(&item(key), "x").header("If-Match", &created.etag());
    late.await.problem(404, "item-not-found");
    let again = kvd.create(key, "again").await;
    assert_ne!(again.etag(), created.etag());
    let _gone = kvd.delete(&item(key)).await.expect(204);
    assert_failed(delete(&env, &[key]).await, 1, "no key");
}

/// Runs these deletes at once.
async fn at_once(env: &Env, calls: impl IntoIterator<Item = Vec<String>>) -> Vec<Output> {
    let mut running = JoinSet::new();
    for words in calls {
        running.spawn(env.kvctl(["delete"]).args(words).into_future());
    }
    running.join_all().await
}

/// The keys, beginning with the one of this number, forwards or backwards.
fn rotated(keys: &[&str], number: usize) -> Vec<String> {
    let mut keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
    keys.rotate_left(number);
    if number % 2 == 1 {
        keys.reverse();
    }
    keys
}

const CONTESTED: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

async fn of_several_deletes_of_the_same_keys_one_wins(env: Env) {
    for _ in 0..3 {
        insert_keys(&env, &CONTESTED).await;
        let calls = (0..6).map(|number| rotated(&CONTESTED, number));
        let mut outputs = at_once(&env, calls).await;
        outputs.sort_by_key(|output| output.code);
        let won = outputs.remove(0).expect(0);
        assert_eq!(won.text(), "6\n");
        for lost in outputs {
            assert_failed(lost, 1, "nothing was deleted");
        }
        assert_eq!(left(&env).await, [""; 0]);
    }
}

async fn overlapping_deletes_delete_each_key_once(env: Env) {
    for _ in 0..3 {
        insert_keys(&env, &CONTESTED).await;
        let some = |number| {
            let mut words = rotated(&CONTESTED, number);
            words.truncate(4);
            words.push("--ignore-missing".to_owned());
            words
        };
        let outputs = at_once(&env, (0..6).map(some)).await;
        let deleted = outputs.into_iter().map(|output| {
            let output = output.expect(0);
            output.text().trim().parse::<usize>().expect("a number")
        });
        assert_eq!(deleted.sum::<usize>(), CONTESTED.len());
        assert_eq!(left(&env).await, [""; 0]);
    }
}

async fn a_locked_item_is_waited_for(env: Env) {
    insert_keys(&env, &["a", "b"]).await;
    let connection = env.database().connection().await;
    let lock = connection.begin().await.expect("BEGIN");
    // The first row alone: a whole range would be locked against new rows too.
    let row = "UPDATE items SET version = 2 WHERE id = 1";
    lock.execute_unprepared(row).await.expect("a lock");
    let delete = env.kvctl(["delete", "a", "b"]).spawn();
    let put = env.kvctl(["put", "c", "x"]).await.expect(0);
    assert_eq!(put.text(), "1\n", "only who wants the item waits");
    lock.commit().await.expect("COMMIT");
    assert_eq!(delete.end().await.expect(0).text(), "2\n");
    assert_eq!(left(&env).await, ["c"]);
}

async fn delete_refuses_what_it_cannot_do(env: Env) {
    insert_keys(&env, &["a", "b"]).await;
    for (words, named) in [
        (&[][..], "KEY"),
        (&["--ignore-missing"], "KEY"),
        (&["a", "b", "--if-match", "1-1"], "--if-match"),
        (&["a", "--if-match", "nonsense"], "--if-match"),
        (&["a", "--if-match", "*"], "--if-match"),
        (&["a", "--if-match"], "--if-match"),
        (&["a", "--force"], "--force"),
        (&["a", "-o", "table"], "table"),
    ] {
        assert_failed(delete(&env, words).await, 2, named);
    }
    assert_eq!(left(&env).await, ["a", "b"]);
}
