//! Items that expire, as `kvctl` makes, shows, carries and deletes them.

use chrono::DateTime;
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::{Value, json};
use tests::{Engine, Env, kvctl::Kvctl, load::until, process::Output};

use crate::{
    http::expiry::expire,
    kvctl::{
        list::{insert, insert_keys},
        said::assert_failed,
    },
};

tests::list! {
    EveryEngine =>
        put_gives_an_item_an_end_or_none,
        what_expires_tells_when,
        an_expired_key_is_put_anew,
        an_expired_key_is_missing_to_delete,
        inspect_counts_what_has_expired,
        inspect_says_in_which_order_to_upgrade;
    Only(Engine::Postgres) => delete_judges_the_end_after_the_lock;
    Only(Engine::Mysql) => delete_judges_the_end_after_the_lock;
    Once => an_end_that_put_does_not_take_is_a_usage_error
}

/// The item as `-o json` shows it.
pub(crate) async fn shown(env: &Env, key: &str) -> Value {
    let got = env.kvctl(["get", key, "-o", "json"]).await.expect(0);
    serde_json::from_str(got.text()).expect("JSON")
}

/// Seconds from the last change of an item to its end.
fn lifetime(item: &Value) -> i64 {
    let time = |name: &str| {
        let text = item[name].as_str().expect("a time");
        DateTime::parse_from_rfc3339(text).expect("a time")
    };
    let lifetime = time("expires_at") - time("updated_at");
    // The database may look at its clock twice.
    (lifetime.num_milliseconds() + 500) / 1_000
}

async fn put_gives_an_item_an_end_or_none(env: Env) {
    let kvd = env.start().await;
    for (words, seconds) in [
        (&["--create", "--ttl", "1h"][..], Some(3_600)),
        (&["--ttl=90d"], Some(90 * 86_400)),
        (&["--update", "--ttl", "1h 30m 1s"], Some(5_401)),
        (&["--ttl", "3153600000s"], Some(3_153_600_000)),
        (&[], None),
        (&["--ttl", "10m"], Some(600)),
        (&["--no-ttl"], None),
    ] {
        let put = env.kvctl(["put", "a", "x", "-o", "json"]).args(words);
        let put: Value = serde_json::from_str(put.await.expect(0).text()).expect("JSON");
        match seconds {
            Some(seconds) => assert_eq!(lifetime(&put), seconds, "{words:?}"),
            None => assert_eq!(put["expires_at"], Value::Null, "{words:?}"),
        }
        assert_eq!(shown(&env, "a").await, put, "{words:?}");
        assert_eq!(kvd.get("/items/a").await.expect(200).json(), put);
    }
    let tag = shown(&env, "a").await["etag"].clone();
    let tag = tag.as_str().expect("a tag");
    let put = env.kvctl(["put", "a", "x", "--if-match", tag, "--ttl", "1s"]);
    assert_eq!(put.await.expect(0).text(), "8\n");
    until("it has expired", async || {
        env.kvctl(["get", "a"]).await.code == 1
    })
    .await;
    kvd.get("/items/a").await.problem(404, "item-not-found");
}

async fn what_expires_tells_when(env: Env) {
    let _put = env
        .kvctl(["put", "ends", "x", "--ttl", "1h"])
        .await
        .expect(0);
    let _put = env.kvctl(["put", "stays", "x"]).await.expect(0);
    let (ends, stays) = (shown(&env, "ends").await, shown(&env, "stays").await);
    assert_eq!(stays["expires_at"], Value::Null);
    let end = ends["expires_at"].as_str().expect("an end").to_owned();
    let listed = env.kvctl(["list", "-o", "json"]).await.expect(0);
    let listed: Value = serde_json::from_str(listed.text()).expect("JSON");
    assert_eq!(listed, json!([ends, stays]));
    let lines = env.kvctl(["list", "-o", "ndjson"]).await.expect(0);
    for (line, item) in lines.text().lines().zip([&ends, &stays]) {
        assert_eq!(&serde_json::from_str::<Value>(line).expect("JSON"), item);
    }
    let table = env.kvctl(["list", "-o", "table"]).await.expect(0);
    let lines: Vec<_> = table.text().lines().collect();
    assert!(lines[0].ends_with("  ENDS"), "{}", lines[0]);
    let to_the_second = format!("  {}Z", end[..19].replace('T', " "));
    assert!(lines[1].ends_with(&to_the_second), "{}", lines[1]);
    assert!(lines[2].ends_with("  never"), "{}", lines[2]);
    for (key, told) in [("ends", &*end), ("stays", "-")] {
        let inspected = env.kvctl(["inspect", key]).await.expect(0);
        let line = inspected
            .text()
            .lines()
            .find(|l| l.starts_with("expires_at "));
        assert_eq!(
            line.and_then(|line| line.split_whitespace().nth(1)),
            Some(told)
        );
        let inspected = env.kvctl(["inspect", key, "-o", "json"]).await.expect(0);
        let inspected: Value = serde_json::from_str(inspected.text()).expect("JSON");
        assert_eq!(
            inspected["expires_at"],
            shown(&env, key).await["expires_at"]
        );
    }
}

async fn an_expired_key_is_put_anew(env: Env) {
    for words in [&[][..], &["--create"], &["--ttl", "1h"]] {
        let _old = env.kvctl(["put", "a", "old"]).await.expect(0);
        let _old = env.kvctl(["put", "a", "older"]).await.expect(0);
        let before = shown(&env, "a").await;
        expire(&env, "a", -1).await;
        let tag = before["etag"].as_str().expect("a tag");
        for refused in [&["--update"][..], &["--if-match", tag]] {
            let put = env.kvctl(["put", "a", "x"]).args(refused).await;
            assert_failed(put, 1, "does not exist");
        }
        let put = env.kvctl(["put", "a", "new"]).args(words).await.expect(0);
        assert_eq!(put.text(), "1\n", "{words:?}");
        let now = shown(&env, "a").await;
        assert!(id(&now) > id(&before), "{now} after {before}");
        assert!(now["created_at"].as_str() > before["updated_at"].as_str());
        assert_eq!(now["expires_at"].is_string(), words == ["--ttl", "1h"]);
    }
}

/// What of its tag tells an item from another one.
pub(crate) fn id(item: &Value) -> i64 {
    let tag = item["etag"].as_str().expect("a tag");
    let (id, _) = tag.split_once('-').expect("a tag");
    id.parse().expect("a number")
}

async fn an_expired_key_is_missing_to_delete(env: Env) {
    insert_keys(&env, &["a", "b", "c", "d"]).await;
    let tag = shown(&env, "b").await["etag"].clone();
    let tag = tag.as_str().expect("a tag");
    expire(&env, "b", -1).await;
    expire(&env, "c", 3_600).await;
    let delete = |words: &[&str]| env.kvctl(["delete"]).args(words);
    assert_failed(delete(&["b"]).await, 1, "no key \"b\"");
    assert_failed(delete(&["a", "b", "c"]).await, 1, "no key \"b\"");
    assert_failed(delete(&["b", "--if-match", tag]).await, 1, "no key \"b\"");
    assert_eq!(env.kvctl(["count"]).await.expect(0).text(), "3\n");
    let ignored = delete(&["b", "--if-match", tag, "--ignore-missing"]).await;
    assert_eq!(ignored.expect(0).text(), "0\n");
    let others = delete(&["a", "b", "c", "--ignore-missing"]).await;
    assert_eq!(others.expect(0).text(), "2\n");
    let left = env.kvctl(["list", "--keys"]).await.expect(0);
    assert_eq!(left.text(), "d\n");
}

/// What kvctl does while another session holds the row `a`, changes nothing of it, and lets it go when its end has come.
pub(crate) async fn until_its_end(env: &Env, kvctl: Kvctl) -> Output {
    insert_keys(env, &["a"]).await;
    expire(env, "a", 2).await;
    let lock = env.database().connection().await.begin().await;
    let lock = lock.expect("a transaction");
    let row = "SELECT * FROM items FOR UPDATE";
    lock.execute_unprepared(row).await.expect("the lock");
    let running = kvctl.spawn();
    until("its end has come", async || {
        env.kvctl(["get", "a"]).await.code == 1
    })
    .await;
    lock.rollback().await.expect("released");
    running.end().await
}

async fn delete_judges_the_end_after_the_lock(env: Env) {
    let delete = until_its_end(&env, env.kvctl(["delete", "a"])).await;
    assert_failed(delete, 1, "no key \"a\"");
}

async fn inspect_counts_what_has_expired(env: Env) {
    insert_keys(&env, &["a", "b", "c", "tab\there", "tab\ttoo"]).await;
    for (key, seconds) in [("a", -1), ("b", 3_600), ("tab\there", -3_600)] {
        expire(&env, key, seconds).await;
    }
    let inspected = env.kvctl(["inspect", "-o", "json"]).await.expect(0);
    let inspected: Value = serde_json::from_str(inspected.text()).expect("JSON");
    assert_eq!(
        (&inspected["items"], &inspected["expired"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(inspected["odd_keys"], json!(["tab\ttoo"]));
    let shown = env.kvctl(["inspect"]).await.expect(0);
    let line = shown.text().lines().find(|l| l.starts_with("expired "));
    assert!(
        line.is_some_and(|line| line.ends_with(" 2")),
        "{}",
        shown.text()
    );
}

async fn inspect_says_in_which_order_to_upgrade(env: Env) {
    const ADVICE: &str = "restart every kvd and replace every kvctl";
    insert(&env, [("a".to_owned(), "x".to_owned())]).await;
    let said = async |words: &[&str]| env.kvctl(["inspect"]).args(words).await.expect(0).stderr;
    assert_eq!(said(&[]).await, "");
    let down = env.kvctl(["migrate", "down", "--steps", "2"]).await;
    let reverted = down.expect(0);
    assert!(reverted.text().contains("_expiry\n"), "{}", reverted.text());
    assert!(said(&[]).await.contains(ADVICE));
    assert_eq!(said(&["-o", "json"]).await, "");
    let empty = env.empty_database().await;
    let new = env.kvctl_on(&empty, ["inspect"]).await.expect(0);
    assert_eq!(new.stderr, "", "nobody uses it yet");
}

async fn an_end_that_put_does_not_take_is_a_usage_error(env: Env) {
    for (words, named) in [
        (&["--ttl", "0s"][..], "--ttl"),
        (&["--ttl", "-1h"], "in the past"),
        (&["--ttl", "1500ms"], "whole seconds"),
        (&["--ttl", "36500d 1s"], "hundred years"),
        (&["--ttl", "3600"], "30m"),
        (&["--ttl", "tomorrow"], "30m"),
        (&["--ttl", ""], "--ttl"),
        (&["--ttl"], "--ttl"),
        (&["--ttl", "1h", "--no-ttl"], "--no-ttl"),
        (&["--no-ttl", "--ttl", "1h"], "--no-ttl"),
        (&["--no-ttl=1h"], "--no-ttl"),
    ] {
        let put = env.kvctl(["put", "a", "x"]).args(words).await;
        assert_failed(put, 2, named);
    }
    assert_failed(env.kvctl(["get", "a"]).await, 1, "a");
}
