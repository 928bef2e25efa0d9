//! Items that expire: from their end on, by the database's clock, they are gone for every read.

use std::time::Duration;

use reqwest::Method;
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::{Value, json};
use tests::{Engine, Env, item, load::until};
use tokio::time::sleep;

tests::list! {
    EveryEngine =>
        what_has_expired_is_gone_for_every_read,
        an_item_tells_its_end_and_goes_when_it_comes,
        an_expired_key_is_free_for_another_item,
        an_item_with_an_end_is_written_like_any_other,
        an_end_is_given_by_seconds_or_by_a_time,
        an_end_is_kept_only_if_that_is_asked,
        what_has_expired_is_removed_and_what_is_locked_later;
    Once => an_end_that_is_none_is_400;
    Only(Engine::Postgres) => the_end_is_judged_after_the_lock;
    Only(Engine::Mysql) => the_end_is_judged_after_the_lock
}

/// Lets an item expire so many seconds from now; in the past if it is less than none.
pub(crate) async fn expire(env: &Env, key: &str, seconds: i32) {
    let end = match env.engine() {
        Engine::Postgres => format!("clock_timestamp() + interval '{seconds} seconds'"),
        Engine::Mysql => format!("UTC_TIMESTAMP(6) + INTERVAL {seconds} SECOND"),
        Engine::Sqlite => format!("strftime('%Y-%m-%d %H:%M:%f000', 'now', '{seconds} seconds')"),
    };
    let column = match env.engine() {
        Engine::Mysql => "`key`",
        _ => "key",
    };
    let sql = format!("UPDATE items SET expires_at = {end} WHERE {column} = '{key}'");
    env.database().execute(&sql).await;
}

// Long: every way to read, on the same items.
async fn what_has_expired_is_gone_for_every_read(env: Env) {
    let kvd = env.start().await;
    kvd.create_all(["a", "b/1", "b/2", "b/3", "c"]).await;
    for (key, seconds) in [("a", -1), ("b/2", -3600), ("c", 3600)] {
        expire(&env, key, seconds).await;
    }
    for (key, status) in [
        ("a", 404),
        ("b/1", 200),
        ("b/2", 404),
        ("b/3", 200),
        ("c", 200),
    ] {
        let read = kvd.get(&item(key)).await;
        assert_eq!(read.status, status, "{key}");
        assert_eq!(kvd.head(&item(key)).await.status, status, "{key}");
        let code = if status == 200 { 0 } else { 1 };
        let _read = env.kvctl(["get", key]).await.expect(code);
    }
    for (query, keys) in [
        ("", &["b/1", "b/3", "c"][..]),
        ("prefix=b/", &["b/1", "b/3"]),
        ("keys_only=true", &["b/1", "b/3", "c"]),
        ("prefix=a", &[]),
    ] {
        let page = kvd
            .get(&format!("/items/?{query}"))
            .await
            .expect(200)
            .json();
        assert_eq!(listed(&page), keys, "{query}");
        assert_eq!(page["total"], keys.len(), "{query}");
        let walk = format!("/items/?cursor=&count=exact&{query}");
        let walk = kvd.get(&walk).await.expect(200).json();
        assert_eq!(listed(&walk), keys, "{query}");
        assert_eq!(walk["total"], keys.len(), "{query}");
    }
    let second = kvd
        .get("/items/?page_size=1&page=2")
        .await
        .expect(200)
        .json();
    assert_eq!(
        (listed(&second), &second["total_pages"]),
        (vec!["b/3"], &3.into())
    );
    let counted = env.kvctl(["count"]).await.expect(0);
    assert_eq!(counted.text(), "3\n");
    let exported = env.kvctl(["export"]).await.expect(0);
    assert_eq!(exported.text().lines().count(), 3);
    let listed = env.kvctl(["list", "--keys"]).await.expect(0);
    assert_eq!(listed.text(), "b/1\nb/3\nc\n");
}

fn listed(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().expect("items").iter();
    items
        .map(|item| item["key"].as_str().expect("a key"))
        .collect()
}

async fn an_item_tells_its_end_and_goes_when_it_comes(env: Env) {
    let kvd = env.start().await;
    let created = kvd.create("a", "b").await;
    assert_eq!(created.json()["expires_at"], Value::Null);
    expire(&env, "a", 2).await;
    let read = kvd.get("/items/a").await;
    if read.status == 200 {
        assert!(read.member("expires_at") > read.member("created_at"));
    }
    until("it has expired", async || {
        kvd.get("/items/a").await.status == 404
    })
    .await;
    assert_eq!(kvd.get("/items/").await.expect(200).json()["total"], 0);
}

// Long: every way to write, on the same items.
async fn an_expired_key_is_free_for_another_item(env: Env) {
    let kvd = env.start().await;
    for key in ["create", "upsert", "absent", "update", "delete", "matched"] {
        let before = kvd.create(key, "old").await;
        let _updated = kvd.put(&item(key), "older").await.expect(200);
        expire(&env, key, -1).await;
        let path = item(key);
        let upsert = format!("{path}?upsert=true");
        let created = match key {
            "create" => kvd.post(key, "new").await.expect(201),
            "upsert" => kvd.put(&upsert, "new").await.expect(201),
            "absent" => {
                let put = kvd.put(&path, "new").header("If-None-Match", "*");
                put.await.expect(201)
            }
            "update" => {
                kvd.put(&path, "new").await.problem(404, "item-not-found");
                continue;
            }
            "delete" => {
                kvd.delete(&path).await.problem(404, "item-not-found");
                continue;
            }
            _ => {
                let put = kvd.put(&upsert, "new").header("If-Match", "*");
                put.await.problem(412, "precondition-failed");
                continue;
            }
        };
        let (created, before) = (created.json(), before.json());
        assert_eq!(
            (&created["version"], &created["expires_at"]),
            (&1.into(), &Value::Null),
            "{key}"
        );
        assert!(
            created["created_at"].as_str() > before["created_at"].as_str(),
            "{key}"
        );
        let id = |item: &Value| {
            item["etag"]
                .as_str()
                .map(|tag| tag.split('-').next().map(str::to_owned))
        };
        assert_ne!(id(&created), id(&before), "{key}");
        let old = format!("\"{}\"", before["etag"].as_str().expect("a tag"));
        let put = kvd.put(&path, "newer").header("If-Match", &old);
        put.await.problem(412, "precondition-failed");
        assert_eq!(
            kvd.get(&path).await.expect(200).member("value"),
            "new",
            "{key}"
        );
    }
    // An id is never used again.
    let ids: Vec<i64> = env
        .database()
        .column("SELECT id FROM items ORDER BY id")
        .await;
    let next = kvd.create("next", "").await.member("etag");
    let next: i64 = next
        .split('-')
        .next()
        .and_then(|id| id.parse().ok())
        .expect("an id");
    assert!(ids.iter().all(|id| *id < next), "{next} after {ids:?}");
}

// Long: every way to write, on the same items.
async fn an_item_with_an_end_is_written_like_any_other(env: Env) {
    let kvd = env.start().await;
    for key in ["update", "upsert", "matched", "create", "delete"] {
        let before = kvd.create(key, "old").await;
        expire(&env, key, 3600).await;
        let path = item(key);
        let written = match key {
            "update" => kvd.put(&path, "new").await.expect(200),
            "upsert" => kvd
                .put(&format!("{path}?upsert=true"), "new")
                .await
                .expect(200),
            "matched" => {
                let put = kvd.put(&path, "new").header("If-Match", "\"0-0\"");
                put.await.problem(412, "precondition-failed");
                let put = kvd.put(&path, "new").header("If-Match", &before.etag());
                put.await.expect(200)
            }
            "create" => {
                kvd.post(key, "new").await.problem(409, "key-exists");
                continue;
            }
            _ => {
                let _deleted = kvd.delete(&path).await.expect(204);
                kvd.get(&path).await.problem(404, "item-not-found");
                continue;
            }
        };
        let written = written.json();
        assert_eq!(
            (&written["version"], &written["expires_at"]),
            (&2.into(), &Value::Null),
            "{key}"
        );
        let ends: Option<i64> = env
            .database()
            .column("SELECT count(*) FROM items WHERE expires_at IS NOT NULL")
            .await
            .pop();
        assert_eq!(ends, Some(0), "{key}: it lasts for ever now");
    }
}

/// Another session holds the row while its end comes, and changes nothing of it.
async fn the_end_is_judged_after_the_lock(env: Env) {
    let kvd = env.kvd().arg("--request-timeout", "30s").start().await;
    let _item = kvd.create("a", "old").await;
    expire(&env, "a", 2).await;
    let begun = env.database().connection().await.begin().await;
    let lock = begun.expect("a transaction");
    let held = lock
        .execute_unprepared("SELECT * FROM items FOR UPDATE")
        .await;
    held.expect("the lock");
    let release = async {
        sleep(Duration::from_secs(3)).await;
        lock.rollback().await.expect("released");
    };
    let (put, ()) = tokio::join!(async { kvd.put("/items/a", "new").await }, release);
    put.problem(404, "item-not-found");
}

// Long: every way to say it, on the same items.
async fn an_end_is_given_by_seconds_or_by_a_time(env: Env) {
    let kvd = env.start().await;
    let item_path = |key: &str| format!("{}?upsert=true", item(key));
    for (name, body, end) in [
        ("ttl", json!({"ttl": 3600}), None),
        (
            "both null",
            json!({"ttl": null, "expires_at": null}),
            Some(Value::Null),
        ),
        (
            "time",
            json!({"expires_at": "2999-01-31T10:30:00.1234567+01:00"}),
            Some("2999-01-31T09:30:00.123456Z".into()),
        ),
    ] {
        for (method, path) in [
            (Method::POST, "/items/".to_owned()),
            (Method::PUT, item_path(name)),
        ] {
            let mut body = body.clone();
            body["value"] = "v".into();
            if method == Method::POST {
                body["key"] = format!("posted {name}").into();
            }
            let written = kvd
                .request(method, &path)
                .json(&body)
                .await
                .expect(201)
                .json();
            let key = written["key"].as_str().expect("a key").to_owned();
            let read = kvd.get(&item(&key)).await.expect(200).json();
            assert_eq!(written["expires_at"], read["expires_at"], "{key}");
            match &end {
                Some(end) => assert_eq!(&read["expires_at"], end, "{key}"),
                None => assert!(
                    read["expires_at"].as_str() > read["created_at"].as_str(),
                    "{key}"
                ),
            }
        }
    }
    let page = kvd.get("/items/?prefix=posted").await.expect(200).json();
    let ends = page["items"].as_array().expect("items").iter();
    assert_eq!(
        ends.filter(|item| item["expires_at"].is_string()).count(),
        2
    );
    let short = json!({"value": "v", "ttl": 1});
    let _put = kvd
        .request(Method::PUT, &item_path("short"))
        .json(&short)
        .await
        .expect(201);
    until("it has expired", async || {
        kvd.get("/items/short").await.status == 404
    })
    .await;
}

async fn an_end_is_kept_only_if_that_is_asked(env: Env) {
    let kvd = env.start().await;
    let ending = json!({"key": "a", "value": "v", "ttl": 3600});
    let created = kvd
        .request(Method::POST, "/items/")
        .json(&ending)
        .await
        .expect(201);
    let end = created.member("expires_at");
    let kept = kvd.put("/items/a?keep_ttl=true", "w").await.expect(200);
    assert_eq!(kept.member("expires_at"), end);
    let later = json!({"value": "x", "ttl": 7200});
    let later = kvd
        .request(Method::PUT, "/items/a")
        .json(&later)
        .await
        .expect(200);
    assert!(later.member("expires_at") > end);
    let for_ever = kvd.put("/items/a", "y").await.expect(200).json();
    assert_eq!(
        (&for_ever["expires_at"], &for_ever["version"]),
        (&Value::Null, &4.into())
    );
    let kept = kvd
        .put("/items/a?keep_ttl=true", "z")
        .await
        .expect(200)
        .json();
    assert_eq!(kept["expires_at"], Value::Null);
    let new = kvd
        .put("/items/b?upsert=true&keep_ttl=true", "z")
        .await
        .expect(201)
        .json();
    assert_eq!(new["expires_at"], Value::Null);
}

async fn an_end_that_is_none_is_400(env: Env) {
    let kvd = env.start().await;
    for (query, body) in [
        ("", json!({"ttl": 0})),
        ("", json!({"ttl": -1})),
        ("", json!({"ttl": 1.5})),
        ("", json!({"ttl": "1h"})),
        ("", json!({"ttl": 3_153_600_001_u64})),
        ("", json!({"expires_at": "tomorrow"})),
        ("", json!({"expires_at": "1999-01-31T09:30:00Z"})),
        ("", json!({"expires_at": 1_893_456_000})),
        ("", json!({"ttl": 1, "expires_at": "2999-01-31T09:30:00Z"})),
        ("&keep_ttl=true", json!({"ttl": 1})),
        ("&keep_ttl=1", json!({})),
    ] {
        let mut body = body;
        body["value"] = "v".into();
        let path = format!("/items/a?upsert=true{query}");
        let put = kvd.request(Method::PUT, &path).json(&body).await;
        put.problem(400, "invalid-request");
    }
    kvd.get("/items/a").await.problem(404, "item-not-found");
}

async fn what_has_expired_is_removed_and_what_is_locked_later(env: Env) {
    const MANY: usize = 1_200;
    let _seeded = env.kvctl(["seed", "--count", "1200"]).await.expect(0);
    let _kept = env.kvctl(["put", "kept", "x"]).await.expect(0);
    let ending = match env.engine() {
        Engine::Postgres => {
            "UPDATE items SET expires_at = clock_timestamp(), updated_at = updated_at - interval '1 day' WHERE value <> 'x'"
        }
        Engine::Mysql => {
            "UPDATE items SET expires_at = UTC_TIMESTAMP(6), updated_at = updated_at - INTERVAL 1 DAY WHERE value <> 'x'"
        }
        Engine::Sqlite => {
            "UPDATE items SET expires_at = strftime('%Y-%m-%d %H:%M:%f000', 'now'), updated_at = '2020-01-01 00:00:00.000000' WHERE value <> 'x'"
        }
    };
    env.database().execute(ending).await;
    let rows = async || {
        env.database()
            .value::<i64>("SELECT count(*) FROM items")
            .await
    };
    assert_eq!(rows().await, MANY as i64 + 1);
    let kvds = [env.start().await, env.start().await];
    until("all are removed", async || rows().await == 1).await;
    for kvd in kvds {
        assert_eq!(kvd.get("/items/").await.expect(200).json()["total"], 1);
    }
}
