//! Create, read, update and delete: section 2's table, and the item itself.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Answer, Client, Engine, Env, item};

tests::list! {
    EveryEngine =>
        post_creates_an_item_and_says_where,
        post_of_a_key_that_exists_is_409_and_changes_nothing,
        an_item_has_seven_members,
        the_tag_is_id_and_version,
        times_are_rfc_3339_in_utc_with_microseconds,
        location_is_percent_encoded_and_leads_to_the_item,
        get_of_a_missing_key_is_404,
        head_is_get_without_a_body,
        put_updates_and_raises_the_version_by_one,
        put_of_the_same_value_is_an_update_too,
        put_of_a_missing_key_is_404_and_creates_nothing,
        put_with_upsert_creates_or_updates,
        put_with_if_none_match_star_creates_only,
        put_answers_carry_etag_and_content_location,
        delete_is_204_and_permanent,
        an_id_is_never_reused,
        created_at_never_changes,
        items_with_and_without_a_slash_are_the_same_resource,
        a_plain_insert_by_other_software_works,
        an_update_by_other_software_that_raises_the_version_is_seen
}

#[track_caller]
fn assert_item(answer: &Answer, key: &str, value: &str, version: u64) {
    let item = answer.json();
    assert_eq!(item["key"], key, "{}: {item}", answer.asked);
    assert_eq!(item["value"], value, "{}: {item}", answer.asked);
    assert_eq!(item["version"], version, "{}: {item}", answer.asked);
    assert_eq!(answer.etag(), format!("\"{}\"", answer.member("etag")));
}

async fn post_creates_an_item_and_says_where(env: Env) {
    let kvd = env.start().await;
    let created = kvd.post("greeting", "hello").await.expect(201);
    assert_eq!(created.header("location"), Some("/items/greeting"));
    assert_eq!(created.header("content-type"), Some("application/json"));
    assert_item(&created, "greeting", "hello", 1);

    let read = kvd.get("/items/greeting").await.expect(200);
    assert_eq!(read.json(), created.json());
    assert_eq!(read.etag(), created.etag());
}

async fn post_of_a_key_that_exists_is_409_and_changes_nothing(env: Env) {
    let kvd = env.start().await;
    let created = kvd.create("a", "first").await;
    kvd.post("a", "second").await.problem(409, "key-exists");
    let read = kvd.get("/items/a").await.expect(200);
    assert_eq!(read.json(), created.json());
}

async fn an_item_has_seven_members(env: Env) {
    let kvd = env.start().await;
    let created = kvd.create("a", "b").await.json();
    let mut members: Vec<&String> = created.as_object().expect("an object").keys().collect();
    members.sort();
    let expected = [
        "created_at",
        "etag",
        "expires_at",
        "key",
        "updated_at",
        "value",
        "version",
    ];
    assert_eq!(members, expected);
}

async fn the_tag_is_id_and_version(env: Env) {
    let kvd = env.start().await;
    let _first = kvd.create("first", "").await;
    let created = kvd.create("a", "b").await;
    let id: i64 = env
        .database()
        .value("SELECT id FROM items WHERE value = 'b'")
        .await;
    assert_eq!(created.member("etag"), format!("{id}-1"));
    let updated = kvd.put("/items/a", "c").await.expect(200);
    assert_eq!(updated.member("etag"), format!("{id}-2"));
    assert_eq!(updated.etag(), format!("\"{id}-2\""));
}

/// Whether this is `2026-01-31T09:30:00.123456Z` to the letter.
fn is_timestamp(text: &str) -> bool {
    let pattern = "dddd-dd-ddTdd:dd:dd.ddddddZ";
    text.len() == pattern.len()
        && text.chars().zip(pattern.chars()).all(|(c, p)| match p {
            'd' => c.is_ascii_digit(),
            _ => c == p,
        })
}

/// Generous to a slow machine and a server's clock, yet less than any time zone is away from UTC.
#[track_caller]
fn assert_now(text: &str) {
    assert!(is_timestamp(text), "{text}");
    let time: chrono::DateTime<chrono::Utc> = text.parse().expect("RFC 3339");
    let away = (chrono::Utc::now() - time).num_minutes().abs();
    assert!(away < 20, "{text} is {away} minutes away");
}

async fn times_are_rfc_3339_in_utc_with_microseconds(env: Env) {
    let kvd = env.start().await;
    let created = kvd.create("a", "b").await;
    assert_now(&created.member("created_at"));
    assert_eq!(created.member("created_at"), created.member("updated_at"));

    let updated = kvd.put("/items/a", "c").await.expect(200);
    assert_now(&updated.member("updated_at"));
    assert!(updated.member("updated_at") >= created.member("updated_at"));

    let page = kvd.get("/items/").await.expect(200).json();
    assert_eq!(page["items"][0], updated.json());
}

async fn location_is_percent_encoded_and_leads_to_the_item(env: Env) {
    let kvd = env.start().await;
    for key in [
        "a/b", "a b", "100%", "?x#y", "é", "😀", "\"q\"", "%2F", "a+b", "[]",
    ] {
        let created = kvd.create(key, key).await;
        let location = created.header("location").expect("Location").to_owned();
        let segment = location.strip_prefix("/items/").expect("below /items/");
        assert!(
            segment
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"/?#\"<>\\^`{|}".contains(&b)),
            "{location} is no single path segment"
        );
        let read = kvd.get(&location).await.expect(200);
        assert_item(&read, key, key, 1);
        let updated = kvd.put(&location, "").await.expect(200);
        let place = updated.header("content-location").map(str::to_owned);
        assert_eq!(place, Some(location));
    }
}

async fn get_of_a_missing_key_is_404(env: Env) {
    let kvd = env.start().await;
    kvd.get("/items/nothing")
        .await
        .problem(404, "item-not-found");
    let head = kvd.head("/items/nothing").await.expect(404);
    assert!(head.header("etag").is_none());
}

async fn head_is_get_without_a_body(env: Env) {
    let kvd = env.start().await;
    let _created = kvd.create("a", "some text").await;
    for path in [
        "/items/a",
        "/items/",
        "/items",
        "/items/missing",
        "/items/?page=0",
    ] {
        let get = kvd.get(path).await;
        let head = kvd.head(path).await.expect(get.status);
        for name in [
            "content-type",
            "content-length",
            "etag",
            "cache-control",
            "link",
        ] {
            assert_eq!(head.header(name), get.header(name), "{name} of HEAD {path}");
        }
    }
    // A body would be taken for the next answer.
    let mut wire = kvd.wire().await;
    assert_eq!(wire.ask("HEAD", "/items/a", "").await.status, 200);
    assert_eq!(wire.ask("HEAD", "/items/", "").await.status, 200);
    let get = wire.ask("GET", "/items/a", "").await.expect(200);
    assert_item(&get, "a", "some text", 1);
}

async fn put_updates_and_raises_the_version_by_one(env: Env) {
    let kvd = env.start().await;
    let mut tags = vec![kvd.create("a", "0").await.etag()];
    for version in 2..=5 {
        let value = version.to_string();
        let updated = kvd.put("/items/a", &value).await.expect(200);
        assert_item(&updated, "a", &value, version);
        let read = kvd.get("/items/a").await.expect(200);
        assert_eq!(read.json(), updated.json());
        tags.push(updated.etag());
    }
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 5, "each version has a tag of its own");
}

async fn put_of_the_same_value_is_an_update_too(env: Env) {
    let kvd = env.start().await;
    let _created = kvd.create("a", "same").await;
    let updated = kvd.put("/items/a", "same").await.expect(200);
    assert_item(&updated, "a", "same", 2);
    let upserted = kvd.put("/items/a?upsert=true", "same").await.expect(200);
    assert_item(&upserted, "a", "same", 3);
}

async fn put_of_a_missing_key_is_404_and_creates_nothing(env: Env) {
    let kvd = env.start().await;
    kvd.put("/items/a", "b")
        .await
        .problem(404, "item-not-found");
    let explicit = kvd.put("/items/a?upsert=false", "b").await;
    explicit.problem(404, "item-not-found");
    assert_eq!(kvd.get("/items/").await.expect(200).json()["total"], 0);
}

async fn put_with_upsert_creates_or_updates(env: Env) {
    let kvd = env.start().await;
    let created = kvd.put("/items/a?upsert=true", "1").await.expect(201);
    assert_item(&created, "a", "1", 1);
    let updated = kvd.put("/items/a?upsert=true", "2").await.expect(200);
    assert_item(&updated, "a", "2", 2);
    assert_eq!(id(&updated), id(&created));
    // An upsert that updates must not spend what the next creation needs, nor hand out a tag twice.
    let next = kvd.put("/items/b?upsert=true", "1").await.expect(201);
    assert_item(&next, "b", "1", 1);
    assert_ne!(id(&next), id(&created));
}

async fn put_with_if_none_match_star_creates_only(env: Env) {
    let kvd = env.start().await;
    let create_only = || kvd.put("/items/a", "1").header("If-None-Match", "*");
    let created = create_only().await.expect(201);
    assert_item(&created, "a", "1", 1);
    let refused = create_only().await;
    refused.problem(412, "precondition-failed");
    assert_eq!(refused.etag(), created.etag());
    assert_eq!(kvd.get("/items/a").await.json(), created.json());
}

async fn put_answers_carry_etag_and_content_location(env: Env) {
    let kvd = env.start().await;
    let path = item("a/ö");
    for status in [201, 200, 200] {
        let answer = kvd
            .put(&format!("{path}?upsert=true"), "x")
            .await
            .expect(status);
        assert_eq!(answer.header("content-location"), Some(path.as_str()));
        assert_eq!(answer.etag(), format!("\"{}\"", answer.member("etag")));
    }
}

async fn delete_is_204_and_permanent(env: Env) {
    let kvd = env.start().await;
    let _created = kvd.create("a", "b").await;
    let deleted = kvd.delete("/items/a").await.expect(204);
    assert!(deleted.header("etag").is_none());
    kvd.delete("/items/a").await.problem(404, "item-not-found");
    kvd.get("/items/a").await.problem(404, "item-not-found");
    kvd.put("/items/a", "c")
        .await
        .problem(404, "item-not-found");
    let left: i64 = env.database().value("SELECT count(*) FROM items").await;
    assert_eq!(left, 0);
}

/// The part of the tag before the dash.
#[track_caller]
fn id(answer: &Answer) -> i64 {
    let tag = answer.member("etag");
    let (id, _) = tag.split_once('-').expect("id-version");
    id.parse().expect("a number")
}

async fn an_id_is_never_reused(env: Env) {
    let kvd = env.start().await;
    let mut seen = 0;
    for round in 0..4 {
        let created = kvd.create("a", "b").await;
        let id = id(&created);
        assert!(id > seen, "round {round}: {id} after {seen}");
        seen = id;
        let _deleted = kvd.delete("/items/a").await.expect(204);
    }
    // Nor by another process, for which the table has always been empty.
    let _stopped = kvd.stop().await.expect(0);
    let kvd = env.start().await;
    let id = id(&kvd.put("/items/a?upsert=true", "b").await.expect(201));
    assert!(id > seen, "after a restart: {id} after {seen}");
}

async fn created_at_never_changes(env: Env) {
    let kvd = env.start().await;
    let created = kvd.create("a", "b").await.member("created_at");
    for path in ["/items/a", "/items/a?upsert=true"] {
        let updated = kvd.put(path, "c").await.expect(200);
        assert_eq!(updated.member("created_at"), created);
    }
    let read = kvd.get("/items/a").await.expect(200);
    assert_eq!(read.member("created_at"), created);
}

async fn items_with_and_without_a_slash_are_the_same_resource(env: Env) {
    let kvd = env.start().await;
    for (path, key) in [("/items", "a"), ("/items/", "b")] {
        let body = json!({"key": key, "value": ""});
        let created = kvd
            .request(Method::POST, path)
            .json(&body)
            .await
            .expect(201);
        assert_eq!(
            created.header("location"),
            Some(format!("/items/{key}").as_str())
        );
    }
    assert_eq!(page(&kvd, "/items").await, page(&kvd, "/items/").await);
    assert_eq!(
        page(&kvd, "/items?keys_only=true&page_size=1").await,
        page(&kvd, "/items/?keys_only=true&page_size=1").await
    );
}

async fn page(kvd: &Client, path: &str) -> Value {
    kvd.get(path).await.expect(200).json()
}

async fn a_plain_insert_by_other_software_works(env: Env) {
    let kvd = env.start().await;
    let sql = match env.engine() {
        Engine::Mysql => "INSERT INTO items (`key`, value) VALUES ('a', 'b')",
        Engine::Postgres | Engine::Sqlite => "INSERT INTO items (key, value) VALUES ('a', 'b')",
    };
    assert_eq!(env.database().execute(sql).await, 1);
    let read = kvd.get("/items/a").await.expect(200);
    assert_item(&read, "a", "b", 1);
    assert_now(&read.member("created_at"));
    assert_now(&read.member("updated_at"));
}

async fn an_update_by_other_software_that_raises_the_version_is_seen(env: Env) {
    let kvd = env.start().await;
    let created = kvd.create("a", "b").await;
    let sql = "UPDATE items SET value = 'c', version = version + 1";
    assert_eq!(env.database().execute(sql).await, 1);
    let read = kvd.get("/items/a").await.expect(200);
    assert_item(&read, "a", "c", 2);
    let stale = kvd.put("/items/a", "d").header("If-Match", &created.etag());
    stale.await.problem(412, "precondition-failed");
}
