//! The grammar of keys at its borders, in bodies and in paths.

use tests::{Client, Env, item};

tests::list! {
    EveryEngine =>
        a_key_has_1_to_512_bytes,
        multi_byte_keys_are_measured_in_bytes,
        a_key_has_no_control_characters,
        dot_and_dot_dot_are_no_keys,
        everything_else_is_a_key,
        keys_are_compared_byte_for_byte,
        a_path_is_decoded_once,
        a_path_that_is_not_utf_8_is_400;
    Once =>
        the_key_of_a_path_is_judged_after_the_method_and_before_all_else
}

/// Creates and reads a key whose value is itself.
async fn assert_key(kvd: &Client, key: &str) {
    let created = kvd.create(key, key).await;
    assert_eq!(created.member("key"), key);
    let read = kvd.get(&item(key)).await.expect(200);
    assert_eq!(read.member("key"), key);
    assert_eq!(read.member("value"), key);
}

/// No operation takes it for a key.
async fn assert_no_key(kvd: &Client, key: &str) {
    kvd.post(key, "x").await.problem(400, "invalid-key");
    let path = item(key);
    for upsert in ["", "?upsert=true"] {
        let put = kvd.put(&format!("{path}{upsert}"), "x").await;
        put.problem(400, "invalid-key");
    }
    kvd.get(&path).await.problem(400, "invalid-key");
    kvd.delete(&path).await.problem(400, "invalid-key");
}

async fn a_key_has_1_to_512_bytes(env: Env) {
    let kvd = env.start().await;
    assert_key(&kvd, "k").await;
    assert_key(&kvd, &"k".repeat(511)).await;
    assert_key(&kvd, &"k".repeat(512)).await;
    // Different in the last byte only: nothing is cut off on the way to the index.
    assert_key(&kvd, &("k".repeat(511) + "l")).await;
    assert_no_key(&kvd, &"k".repeat(513)).await;
    assert_no_key(&kvd, &"k".repeat(5000)).await;
    kvd.post("", "x").await.problem(400, "invalid-key");
}

async fn multi_byte_keys_are_measured_in_bytes(env: Env) {
    let kvd = env.start().await;
    for (character, count) in [("é", 256), ("€", 170), ("😀", 128)] {
        let fits = character.repeat(count);
        assert_key(&kvd, &fits).await;
        assert_no_key(&kvd, &(fits + character)).await;
    }
    assert_key(&kvd, &("€".repeat(170) + "é")).await;
    assert_no_key(&kvd, &("€".repeat(170) + "éa")).await;
}

async fn a_key_has_no_control_characters(env: Env) {
    let kvd = env.start().await;
    for code in (0..0x20).chain([0x7f]) {
        let control = char::from(code);
        assert_no_key(&kvd, &format!("a{control}b")).await;
    }
    for key in ["\n", "a\n", "\ta", "\0"] {
        assert_no_key(&kvd, key).await;
    }
    // Those of U+0080 to U+009F are not among them.
    assert_key(&kvd, "a\u{80}\u{85}\u{9f}").await;
}

async fn dot_and_dot_dot_are_no_keys(env: Env) {
    let kvd = env.start().await;
    for key in [".", ".."] {
        kvd.post(key, "x").await.problem(400, "invalid-key");
    }
    let mut wire = kvd.wire().await;
    for path in [
        "/items/.",
        "/items/..",
        "/items/%2E",
        "/items/%2e%2E",
        "/items/.%2e",
    ] {
        for method in ["GET", "DELETE"] {
            let answer = wire.ask(method, path, "").await;
            answer.problem(400, "invalid-key");
        }
    }
    for key in ["...", ".a", "..a", "a..", ". ", ". .", "/..", "../"] {
        assert_key(&kvd, key).await;
    }
}

// Long: it is one table of cases.
async fn everything_else_is_a_key(env: Env) {
    let kvd = env.start().await;
    let keys = [
        " ",
        "  ",
        "a b",
        " a",
        "a ",
        "/",
        "//",
        "a/b",
        "a/",
        "/a",
        "\\",
        "\\\\",
        "'",
        "\"",
        "`",
        "''",
        "--",
        ";",
        "'; DROP TABLE items; --",
        "%",
        "%%",
        "%2F",
        "%252F",
        "%00",
        "%FF",
        "%zz",
        "_",
        "?",
        "#",
        "&",
        "=",
        "+",
        "*",
        "<script>",
        "{}",
        "{key}",
        "[]",
        "$1",
        "?1",
        ":key",
        "null",
        "true",
        "0",
        "-1",
        "😀",
        "👩‍👩‍👧",
        "日本語",
        "مرحبا",
        "ÄÖÜ",
        "\u{200b}",
        "\u{feff}",
        "\u{fffd}",
        "\u{ffff}",
        "\u{e000}",
        "\u{10ffff}",
        "\u{a0}",
        "\u{2028}",
        "items",
    ];
    for key in keys {
        assert_key(&kvd, key).await;
    }
    let total = kvd.get("/items/").await.json()["total"].as_u64();
    assert_eq!(
        total,
        u64::try_from(keys.len()).ok(),
        "no two of them are one"
    );
}

// Long: it is one table of cases.
async fn keys_are_compared_byte_for_byte(env: Env) {
    let kvd = env.start().await;
    let keys = [
        "a",
        "A",
        "a ",
        "á",
        "a\u{301}",
        " a",
        "ａ",
        "a\u{200b}",
        "ss",
        "ß",
        "ẞ",
        "i",
        "I",
        "ı",
        "İ",
        "\u{212b}",
        "Å",
        "A\u{30a}",
        "-a",
        "a-",
        "🍣",
        "🍺",
    ];
    for key in keys {
        let _created = kvd.create(key, key).await;
    }
    for key in keys {
        let read = kvd.get(&item(key)).await.expect(200);
        assert_eq!(
            (read.member("key"), read.member("value")),
            (key.to_owned(), key.to_owned())
        );
        kvd.post(key, "again").await.problem(409, "key-exists");
        let updated = kvd.put(&item(key), "new").await.expect(200);
        assert_eq!(
            updated.json()["version"],
            2,
            "{key:?} was updated through another key"
        );
    }
    let _deleted = kvd.delete(&item("a")).await.expect(204);
    for key in &keys[1..] {
        let _still_there = kvd.get(&item(key)).await.expect(200);
    }
}

async fn a_path_is_decoded_once(env: Env) {
    let kvd = env.start().await;
    let paths = [
        ("/items/a%2Fb", "a/b"),
        ("/items/a%2fc", "a/c"),
        ("/items/%252F", "%2F"),
        ("/items/a%20b", "a b"),
        ("/items/a+b", "a+b"),
        ("/items/%61", "a"),
        ("/items/%C3%A9", "é"),
        ("/items/%F0%9F%98%80", "😀"),
        ("/items/a:b@c!$&'()*,;=", "a:b@c!$&'()*,;="),
        ("/items/%3Fq%23f", "?q#f"),
        ("/items/..a", "..a"),
        ("/items/..%2F..%2Fetc", "../../etc"),
    ];
    let mut wire = kvd.wire().await;
    for (path, key) in paths {
        let _created = kvd.create(key, "x").await;
        let read = wire.ask("GET", path, "").await.expect(200);
        assert_eq!(read.member("key"), key, "{path}");
    }
}

async fn a_path_that_is_not_utf_8_is_400(env: Env) {
    let kvd = env.start().await;
    let mut wire = kvd.wire().await;
    // Bytes that never occur, a cut-off character, an overlong slash, a surrogate.
    for path in ["%FF", "a%C3", "%C0%AF", "%ED%A0%80", "%80", "%F5%80%80%80"] {
        for method in ["GET", "DELETE"] {
            let answer = wire.ask(method, &format!("/items/{path}"), "").await;
            let problem = answer.problem(400, "invalid-key");
            let detail = problem["detail"].as_str().unwrap_or_default();
            assert!(detail.contains("UTF-8"), "{detail}");
        }
    }
    for path in ["%00", "a%00b", "%0A", "%7F"] {
        let answer = wire.ask("GET", &format!("/items/{path}"), "").await;
        answer.problem(400, "invalid-key");
    }
}

async fn the_key_of_a_path_is_judged_after_the_method_and_before_all_else(env: Env) {
    let kvd = env.start().await;
    let mut wire = kvd.wire().await;
    for (key, code) in [
        ("%FF", "invalid-key"),
        ("a%00", "invalid-key"),
        ("a", "invalid-request"),
    ] {
        for rest in [
            "?unknown=1",
            "?upsert=perhaps",
            "?upsert=true&upsert=true",
            "?%zz=1",
        ] {
            for headers in ["", "If-Match: nonsense\r\n", "Content-Type: text/plain\r\n"] {
                for method in ["GET", "PUT", "DELETE"] {
                    let answer = wire
                        .ask(method, &format!("/items/{key}{rest}"), headers)
                        .await;
                    answer.problem(400, code);
                }
            }
        }
        let answer = wire
            .ask("PATCH", &format!("/items/{key}?unknown=1"), "")
            .await;
        answer.problem(405, "method-not-allowed");
    }
}
