//! The grammar of values at its borders, and that every text comes back as it went in.

use std::collections::BTreeMap;

use fastrand::Rng;
use reqwest::Method;
use serde_json::json;
use tests::{Answer, Client, Env, item};

tests::list! {
    EveryEngine =>
        the_empty_value_is_a_value,
        a_value_has_up_to_max_value_bytes,
        multi_byte_values_are_measured_in_bytes,
        the_largest_value_fits_however_it_is_escaped,
        a_value_has_no_nul,
        lone_surrogates_are_400,
        any_key_and_value_come_back_as_they_went_in;
    Once =>
        with_no_bytes_allowed_only_empty_values_are_stored,
        max_value_bytes_is_a_setting
}

/// The default of `MAX_VALUE_BYTES`.
const MAX_VALUE_BYTES: usize = 262_144;

async fn the_empty_value_is_a_value(env: Env) {
    let kvd = env.start().await;
    let created = kvd.create("a", "").await;
    assert_eq!(created.member("value"), "");
    let _updated = kvd.put("/items/a", "x").await.expect(200);
    let emptied = kvd.put("/items/a", "").await.expect(200);
    assert_eq!(emptied.member("value"), "");
    assert_eq!(kvd.get("/items/a").await.member("value"), "");
    let upserted = kvd.put("/items/b?upsert=true", "").await.expect(201);
    assert_eq!(upserted.member("value"), "");
}

/// The value goes in and comes back, by each way of writing.
async fn assert_value(kvd: &Client, value: &str) {
    let same = |answer: Answer| {
        assert!(
            answer.member("value") == value,
            "{} changed it",
            answer.asked
        );
    };
    same(kvd.create("a", value).await);
    same(kvd.get("/items/a").await.expect(200));
    same(kvd.put("/items/a", value).await.expect(200));
    same(kvd.put("/items/a?upsert=true", value).await.expect(200));
    same(kvd.get("/items/a").await.expect(200));
    let page = kvd.get("/items/").await.expect(200).json();
    assert!(page["items"][0]["value"] == value, "the list changed it");
    let _deleted = kvd.delete("/items/a").await.expect(204);
}

async fn assert_too_large(kvd: &Client, value: &str) {
    kvd.post("a", value).await.problem(413, "value-too-large");
    kvd.put("/items/a", value)
        .await
        .problem(413, "value-too-large");
    let upsert = kvd.put("/items/a?upsert=true", value).await;
    upsert.problem(413, "value-too-large");
    kvd.get("/items/a").await.problem(404, "item-not-found");
}

async fn a_value_has_up_to_max_value_bytes(env: Env) {
    let kvd = env.start().await;
    assert_value(&kvd, &"v".repeat(MAX_VALUE_BYTES - 1)).await;
    assert_value(&kvd, &"v".repeat(MAX_VALUE_BYTES)).await;
    assert_too_large(&kvd, &"v".repeat(MAX_VALUE_BYTES + 1)).await;
}

async fn multi_byte_values_are_measured_in_bytes(env: Env) {
    let kvd = env.start().await;
    let fits = "😀".repeat(MAX_VALUE_BYTES / 4);
    assert_value(&kvd, &fits).await;
    assert_too_large(&kvd, &(fits + "a")).await;
}

async fn the_largest_value_fits_however_it_is_escaped(env: Env) {
    let kvd = env.start().await;
    // Six bytes of JSON for one of the value, and twelve for four.
    let escaped = [
        ("\\u0001", "\u{1}", 1),
        ("\\u0061", "a", 1),
        ("\\ud83d\\ude00", "😀", 4),
        ("\\\"", "\"", 1),
    ];
    for (written, character, bytes) in escaped {
        let count = MAX_VALUE_BYTES / bytes;
        let put = |count: usize| {
            let body = format!("{{\"value\":\"{}\"}}", written.repeat(count));
            let call = kvd.request(Method::PUT, "/items/a?upsert=true");
            call.header("Content-Type", "application/json").body(body)
        };
        put(count + 1).await.problem(413, "value-too-large");
        let written = put(count).await.expect(201);
        assert!(written.member("value") == character.repeat(count));
        let _deleted = kvd.delete("/items/a").await.expect(204);
    }
}

async fn max_value_bytes_is_a_setting(env: Env) {
    let kvd = env.kvd().arg("--max-value-bytes", "3").start().await;
    assert_value(&kvd, "abc").await;
    assert_value(&kvd, "é").await;
    assert_too_large(&kvd, "abcd").await;
    assert_too_large(&kvd, "éé").await;
}

async fn a_value_has_no_nul(env: Env) {
    let kvd = env.start().await;
    for value in ["\0", "a\0", "\0b", "a\0b"] {
        kvd.post("a", value).await.problem(400, "invalid-value");
        kvd.put("/items/a", value)
            .await
            .problem(400, "invalid-value");
        let upsert = kvd.put("/items/a?upsert=true", value).await;
        upsert.problem(400, "invalid-value");
    }
    let controls: String = (1..0x20).chain([0x7f]).map(char::from).collect();
    assert_value(&kvd, &controls).await;
    for value in [
        "\r\n",
        " ",
        "\u{feff}bom",
        "\u{ffff}",
        "\u{10ffff}",
        "\\",
        "'",
        "\"",
        "%",
        "null",
        "{\"a\":1}",
    ] {
        assert_value(&kvd, value).await;
    }
}

async fn lone_surrogates_are_400(env: Env) {
    let kvd = env.start().await;
    for lone in [
        "\\ud800",
        "\\udfff",
        "\\ud800\\ud800",
        "\\ud800a",
        "\\ude00\\ud83d",
    ] {
        for (key, value) in [(lone, "x"), ("x", lone)] {
            let body = format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}");
            let call = kvd.request(Method::POST, "/items/");
            let answer = call
                .header("Content-Type", "application/json")
                .body(body)
                .await;
            answer.problem(400, "invalid-request");
        }
    }
}

/// Characters of one to four bytes, with those that databases, JSON or URLs treat specially more often than by chance.
fn text(random: &mut Rng, most: usize, allowed: fn(char) -> bool) -> String {
    const SPECIAL: &[char] = &[
        '%',
        '_',
        '\\',
        '\'',
        '"',
        '/',
        '.',
        ' ',
        '\u{1}',
        '\n',
        '\u{7f}',
        '\u{d7ff}',
        '\u{e000}',
        '\u{ffff}',
        '\u{10000}',
        '\u{10ffff}',
        'e',
        'E',
        '\u{301}',
        'é',
        'ß',
        'ſ',
    ];
    let length = random.usize(1..=most);
    let characters = std::iter::repeat_with(|| match random.u8(..4) {
        0 => random.char(..),
        1 => random.alphanumeric(),
        _ => SPECIAL[random.usize(..SPECIAL.len())],
    });
    characters.filter(|c| allowed(*c)).take(length).collect()
}

async fn any_key_and_value_come_back_as_they_went_in(env: Env) {
    let kvd = env.start().await;
    let mut random = env.random();
    let mut model = BTreeMap::new();
    for _ in 0..100 {
        let key = text(&mut random, 12, |c| !c.is_ascii_control());
        if key == "." || key == ".." {
            continue;
        }
        let value = text(&mut random, 60, |c| c != '\0');
        let expected = if model.contains_key(&key) { 200 } else { 201 };
        let path = format!("{}?upsert=true", item(&key));
        let written = kvd.put(&path, &value).await.expect(expected);
        assert_eq!(written.json()["value"], json!(value), "{key:?}");
        model.insert(key, value);
    }
    let mut wire = kvd.wire().await;
    for (key, value) in &model {
        let read = wire.ask("GET", &item(key), "").await.expect(200);
        assert_eq!(
            (read.member("key"), read.member("value")),
            (key.clone(), value.clone())
        );
    }
    let listed = kvd.get("/items/?page_size=100").await.expect(200).json();
    let listed: Vec<(&str, &str)> = listed["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|item| Some((item["key"].as_str()?, item["value"].as_str()?)))
        .collect();
    let expected: Vec<(&str, &str)> = model
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(listed, expected, "all of them, in byte order");
}

async fn with_no_bytes_allowed_only_empty_values_are_stored(env: Env) {
    let kvd = env.kvd().arg("--max-value-bytes", "0").start().await;
    let _created = kvd.create("a", "").await;
    let read = kvd.get("/items/a").await.expect(200);
    assert_eq!(read.member("value"), "");
    kvd.post("b", "x").await.problem(413, "value-too-large");
    let _page = kvd.get("/items/").await.expect(200);
}
