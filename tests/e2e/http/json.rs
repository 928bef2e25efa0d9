//! What is taken for the JSON of an item, and what is not.

use reqwest::Method;
use tests::{Answer, Client, Env};

use crate::http::bodies::assert_empty;

tests::list! {
    Once =>
        a_body_that_is_not_json_is_400,
        a_body_of_another_shape_is_400,
        unknown_and_repeated_members_are_400,
        deep_json_is_400,
        another_media_type_is_415,
        json_with_a_charset_is_json,
        a_byte_order_mark_before_the_body_is_skipped,
        a_body_that_is_not_utf_8_is_told_so,
        escapes_and_white_space_are_json
}

/// Sends a body of this media type to each operation that takes one.
async fn send(kvd: &Client, media_type: &str, body: &[u8]) -> [Answer; 3] {
    let call = |method, path| {
        let call = kvd.request(method, path).header("Content-Type", media_type);
        call.body(body.to_owned())
    };
    [
        call(Method::POST, "/items/").await,
        call(Method::PUT, "/items/a").await,
        call(Method::PUT, "/items/a?upsert=true").await,
    ]
}

async fn assert_invalid(kvd: &Client, body: impl AsRef<[u8]>) {
    let body = body.as_ref();
    for answer in send(kvd, "application/json", body).await {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]);
        assert_eq!(
            answer.status,
            400,
            "{}: {shown}: {}",
            answer.asked,
            answer.text()
        );
        answer.problem(400, "invalid-request");
    }
}

async fn a_body_that_is_not_json_is_400(env: Env) {
    let kvd = env.start().await;
    let bodies: [&[u8]; 14] = [
        b"",
        b" ",
        b"{",
        b"{\"key\":\"a\",\"value\":\"b\"",
        b"{\"key\":\"a\",\"value\":\"b\"} x",
        b"{\"key\":\"a\",\"value\":\"b\"}{}",
        b"{'key':'a','value':'b'}",
        b"{key:\"a\",value:\"b\"}",
        b"{\"value\":\"b\",}",
        b"{\"value\":\"\x01\"}",
        b"{\"value\":\"\\x41\"}",
        b"{\"value\":\"\xff\"}",
        b"{\"value\":\"\xed\xa0\x80\"}",
        b"\xef\xbb\xbf\xff",
    ];
    for body in bodies {
        assert_invalid(&kvd, body).await;
    }
    assert_empty(&kvd).await;
}

async fn a_body_of_another_shape_is_400(env: Env) {
    let kvd = env.start().await;
    let bodies = [
        "null",
        "true",
        "1",
        "\"value\"",
        "[]",
        "[\"a\",\"b\"]",
        "{}",
        "{\"key\":\"a\"}",
        "{\"Value\":\"b\"}",
        "{\"key\":\"a\",\"value\":null}",
        "{\"value\":1}",
        "{\"value\":true}",
        "{\"value\":[\"b\"]}",
        "{\"value\":{}}",
        "{\"key\":1,\"value\":\"b\"}",
        "{\"key\":null,\"value\":\"b\"}",
        "{\"value\":1e999}",
    ];
    for body in bodies {
        assert_invalid(&kvd, body).await;
    }
    kvd.request(Method::POST, "/items/")
        .json(&serde_json::json!({"value": "b"}))
        .await
        .problem(400, "invalid-request");
    assert_empty(&kvd).await;
}

async fn unknown_and_repeated_members_are_400(env: Env) {
    let kvd = env.start().await;
    for body in [
        "{\"key\":\"a\",\"value\":\"b\",\"tll\":1}",
        "{\"key\":\"a\",\"value\":\"b\",\"\":1}",
        "{\"key\":\"a\",\"value\":\"b\",\"version\":1}",
        "{\"value\":\"b\",\"values\":[]}",
        "{\"key\":\"a\",\"value\":\"b\",\"value\":\"c\"}",
        "{\"key\":\"a\",\"value\":\"b\",\"value\":\"b\"}",
        "{\"key\":\"a\",\"key\":\"a\",\"value\":\"b\"}",
        "{\"value\":\"b\",\"val\\u0075e\":\"c\"}",
    ] {
        assert_invalid(&kvd, body).await;
    }
    // The key of a PUT is in its path, and nowhere else.
    let body = serde_json::json!({"key": "a", "value": "b"});
    let put = kvd
        .request(Method::PUT, "/items/a?upsert=true")
        .json(&body)
        .await;
    put.problem(400, "invalid-request");
    assert_empty(&kvd).await;
}

async fn deep_json_is_400(env: Env) {
    let kvd = env.start().await;
    for (open, close) in [("[", "]"), ("{\"value\":", "}")] {
        for depth in [200, 100_000] {
            let (open, close) = (open.repeat(depth), close.repeat(depth));
            assert_invalid(&kvd, format!("{{\"value\":{open}0{close}}}")).await;
            assert_invalid(&kvd, format!("{{\"value\":\"b\",\"x\":{open}0{close}}}")).await;
            assert_invalid(&kvd, &open).await;
        }
    }
    let _alive = kvd.get("/items/").await.expect(200);
}

async fn another_media_type_is_415(env: Env) {
    let kvd = env.start().await;
    let body = b"{\"key\":\"a\",\"value\":\"b\"}";
    for media_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/jsonx",
        "text/json",
        "application/octet-stream",
        "application/xml",
        "json",
        "",
    ] {
        for answer in send(&kvd, media_type, body).await {
            answer.problem(415, "unsupported-media-type");
        }
    }
    assert_empty(&kvd).await;
}

async fn json_with_a_charset_is_json(env: Env) {
    let kvd = env.start().await;
    for media_type in [
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "Application/JSON",
    ] {
        let put = kvd
            .request(Method::PUT, "/items/a?upsert=true")
            .header("Content-Type", media_type);
        let answer = put.body("{\"value\":\"é\"}").await;
        assert!(
            matches!(answer.status, 200 | 201),
            "{media_type}: {}",
            answer.status
        );
        assert_eq!(answer.member("value"), "é");
    }
}

/// Windows editors and shells put it there (RFC 8259, 8.1).
async fn a_byte_order_mark_before_the_body_is_skipped(env: Env) {
    let kvd = env.start().await;
    let post = kvd
        .request(Method::POST, "/items/")
        .header("Content-Type", "application/json");
    let body = "\u{feff} {\"key\":\"a\",\"value\":\"\u{feff}b\"}";
    let created = post.body(body).await.expect(201);
    assert_eq!(
        (created.member("key"), created.member("value")),
        ("a".to_owned(), "\u{feff}b".to_owned())
    );
    let put = kvd
        .request(Method::PUT, "/items/a")
        .header("Content-Type", "application/json");
    let updated = put.body("\u{feff}{\"value\":\"c\"}").await.expect(200);
    assert_eq!(updated.member("value"), "c");
    let _deleted = kvd.delete("/items/a").await.expect(204);
    for body in [
        "\u{feff}",
        "\u{feff}\u{feff}{\"key\":\"a\",\"value\":\"b\"}",
        " \u{feff}{\"value\":\"b\"}",
        "\u{feff}[]",
    ] {
        assert_invalid(&kvd, body).await;
    }
    assert_empty(&kvd).await;
}

async fn a_body_that_is_not_utf_8_is_told_so(env: Env) {
    let kvd = env.start().await;
    let text = "{\"key\":\"a\",\"value\":\"\u{e9}\"}";
    let marked: Vec<u16> = [0xfeff].into_iter().chain(text.encode_utf16()).collect();
    let little: Vec<u8> = marked.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let big: Vec<u8> = marked.iter().flat_map(|unit| unit.to_be_bytes()).collect();
    let latin: Vec<u8> = text
        .chars()
        .map(|c| u8::try_from(c).expect("of Latin-1"))
        .collect();
    for body in [little, big, latin] {
        for answer in send(&kvd, "application/json", &body).await {
            let problem = answer.problem(400, "invalid-request");
            assert_eq!(problem["detail"], "The body is not UTF-8.");
        }
    }
    assert_empty(&kvd).await;
}

async fn escapes_and_white_space_are_json(env: Env) {
    let kvd = env.start().await;
    let body = " \r\n{\t\"v\\u0061lue\" : \"\\u00e9\\ud83d\\ude00\\/\\n\" , \"\\u006bey\":\"\\u0061\" }\n ";
    let post = kvd
        .request(Method::POST, "/items/")
        .header("Content-Type", "application/json");
    let created = post.body(body).await.expect(201);
    assert_eq!(created.member("key"), "a");
    assert_eq!(created.member("value"), "é😀/\n");
}
