//! Mistakes in a batch: told with their place, and nothing is done.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Answer, Client, Env, Kvd};

use crate::http::{
    batch::{batch, get, post, put, results, statuses},
    bodies::assert_empty,
};

tests::list! {
    EveryEngine =>
        a_batch_of_8_mib_is_done_and_a_byte_more_is_413;
    Once =>
        a_mistake_in_the_middle_is_told_with_its_place_and_nothing_is_done,
        the_first_of_several_mistakes_is_told,
        a_batch_of_another_shape_is_400,
        a_batch_has_1_to_100_operations,
        a_value_beyond_the_limit_is_413_with_its_place,
        a_batch_that_does_not_come_is_408
}

async fn send(kvd: &Client, text: impl Into<String>) -> Answer {
    let call = kvd.request(Method::POST, "/batch");
    let call = call.header("Content-Type", "application/json");
    call.body(text.into()).await
}

/// Operations of which the second, as it is here, is wrong.
const WRONG: [&str; 52] = [
    "null",
    "1",
    "\"get\"",
    "[]",
    "[\"get\",\"m\"]",
    "{}",
    r#"{"op":"get"}"#,
    r#"{"key":"m"}"#,
    r#"{"op":null,"key":"m"}"#,
    r#"{"op":"get","key":null}"#,
    r#"{"op":"GET","key":"m"}"#,
    r#"{"op":"update","key":"m","value":"v"}"#,
    r#"{"op":"put","key":"m"}"#,
    r#"{"op":"create","key":"m","value":null}"#,
    r#"{"op":"put","key":"m","value":1}"#,
    r#"{"op":"get","key":"m","op":"get"}"#,
    r#"{"op":"get","key":"m","key":"m"}"#,
    r#"{"op":"put","key":"m","value":"v","value":"v"}"#,
    r#"{"op":"put","key":"m","value":"v","val\u0075e":"v"}"#,
    r#"{"op":"put","key":"m","value":"v","ttl":null,"ttl":1}"#,
    r#"{"op":"get","key":"m","x":1}"#,
    r#"{"op":"get","key":"m","x":null}"#,
    r#"{"op":"put","key":"m","value":"v","Upsert":true}"#,
    r#"{"op":"get","key":"m","value":"v"}"#,
    r#"{"op":"get","key":"m","ttl":1}"#,
    r#"{"op":"get","key":"m","upsert":false}"#,
    r#"{"op":"get","key":"m","keep_ttl":false}"#,
    r#"{"op":"delete","key":"m","value":""}"#,
    r#"{"op":"delete","key":"m","expires_at":"2999-01-01T00:00:00Z"}"#,
    r#"{"op":"create","key":"m","value":"v","upsert":true}"#,
    r#"{"op":"create","key":"m","value":"v","if_match":"*"}"#,
    r#"{"op":"create","key":"m","value":"v","if_none_match":"*"}"#,
    r#"{"op":"create","key":"m","value":"v","keep_ttl":true}"#,
    r#"{"op":"put","key":"m","value":"v","upsert":"true"}"#,
    r#"{"op":"put","key":"m","value":"v","upsert":1}"#,
    r#"{"op":"put","key":"m","value":"v","ttl":0}"#,
    r#"{"op":"put","key":"m","value":"v","ttl":-1}"#,
    r#"{"op":"put","key":"m","value":"v","ttl":1.5}"#,
    r#"{"op":"put","key":"m","value":"v","ttl":3153600001}"#,
    r#"{"op":"put","key":"m","value":"v","ttl":"1h"}"#,
    r#"{"op":"put","key":"m","value":"v","expires_at":"tomorrow"}"#,
    r#"{"op":"put","key":"m","value":"v","expires_at":"1999-01-01T00:00:00Z"}"#,
    r#"{"op":"put","key":"m","value":"v","ttl":1,"expires_at":"2999-01-01T00:00:00Z"}"#,
    r#"{"op":"put","key":"m","value":"v","ttl":1,"keep_ttl":true}"#,
    r#"{"op":"get","key":"m","if_match":""}"#,
    r#"{"op":"get","key":"m","if_match":"\"1-1\""}"#,
    r#"{"op":"get","key":"m","if_match":[]}"#,
    r#"{"op":"get","key":"m","if_match":["*"]}"#,
    r#"{"op":"get","key":"m","if_match":["1-1",1]}"#,
    r#"{"op":"get","key":"m","if_none_match":"1-1,1-2"}"#,
    r#"{"op":"delete","key":"m","if_match":true}"#,
    r#"{"op":"get","key":"first"}"#,
];

/// Keys and values that are none.
const INVALID: [(&str, &str); 7] = [
    (r#"{"op":"get","key":""}"#, "invalid-key"),
    (r#"{"op":"get","key":".."}"#, "invalid-key"),
    (r#"{"op":"delete","key":"."}"#, "invalid-key"),
    (r#"{"op":"put","key":"a\u0000","value":"v"}"#, "invalid-key"),
    (
        r#"{"op":"create","key":"a\u007f","value":"v"}"#,
        "invalid-key",
    ),
    (
        r#"{"op":"put","key":"m","value":"a\u0000"}"#,
        "invalid-value",
    ),
    (
        r#"{"op":"create","key":"m","value":"\u0000"}"#,
        "invalid-value",
    ),
];

#[track_caller]
fn assert_place(answer: &Answer, status: u16, code: &str, index: usize) {
    let problem = answer.problem(status, code);
    assert_eq!(problem["index"], index, "{problem}");
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains(&format!("operations[{index}]")), "{detail}");
}

async fn a_mistake_in_the_middle_is_told_with_its_place_and_nothing_is_done(env: Env) {
    let kvd = env.start().await;
    let long = format!(r#"{{"op":"get","key":"{}"}}"#, "k".repeat(513));
    let surrogate = r#"{"op":"get","key":"\ud800"}"#;
    let wrong = WRONG.iter().map(|wrong| (*wrong, "invalid-request"));
    let wrong = wrong.chain(INVALID).chain([(long.as_str(), "invalid-key")]);
    let (first, last) = (put("first", "v"), put("last", "v"));
    for atomic in ["false", "true"] {
        for (wrong, code) in wrong.clone().chain([(surrogate, "invalid-request")]) {
            let text = format!("{{\"atomic\":{atomic},\"operations\":[{first}, {wrong} ,{last}]}}");
            let answer = send(&kvd, text).await;
            assert_eq!(answer.status, 400, "{wrong}: {}", answer.text());
            assert_place(&answer, 400, code, 1);
        }
    }
    assert_empty(&kvd).await;
}

async fn the_first_of_several_mistakes_is_told(env: Env) {
    let kvd = env.start().await;
    let (bad_key, twice) = (get(""), get("a"));
    let operations = [get("a"), get("b"), twice.clone(), bad_key.clone()];
    assert_place(&batch(&kvd, &operations).await, 400, "invalid-request", 2);
    let operations = [get("a"), bad_key, twice, json!({"op": "none"})];
    assert_place(&batch(&kvd, &operations).await, 400, "invalid-key", 1);
    // Byte for byte, as keys are.
    let different = ["a", "A", "a ", "á", "a\u{301}"].map(|key| put(key, "v"));
    let _done = batch(&kvd, &different).await.expect(200);
}

// Long: one table of shapes.
async fn a_batch_of_another_shape_is_400(env: Env) {
    let kvd = env.start().await;
    let operations = format!("\"operations\":[{}]", put("a", "b"));
    for text in [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        format!("[{}]", put("a", "b")),
        "{\"atomic\":true}".to_owned(),
        "{\"operations\":null}".to_owned(),
        format!("{{\"operations\":{}}}", put("a", "b")),
        "{\"operations\":{\"0\":1}}".to_owned(),
        format!("{{\"operations\":[{},]}}", put("a", "b")),
        format!("{{{operations}"),
        format!("{{{operations}}}x"),
        format!("{{{operations},{operations}}}"),
        format!("{{{operations},\"x\":1}}"),
        format!("{{{operations},\"x\":null}}"),
        format!("{{{operations},\"atomic\":1}}"),
        format!("{{{operations},\"atomic\":\"true\"}}"),
        format!("{{{operations},\"atomic\":true,\"atomic\":true}}"),
        format!("{{\"Atomic\":true,{operations}}}"),
        format!("{{\"operations\":[{}]}}", "[".repeat(100_000)),
        format!(
            "{{\"operations\":[{0}0{1}]}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        ),
        format!(
            "{{\"operations\":[{{\"op\":{0}0{1}}}]}}",
            "[".repeat(300),
            "]".repeat(300)
        ),
    ] {
        let answer = send(&kvd, text.clone()).await;
        let shown: String = text.chars().take(80).collect();
        assert_eq!(answer.status, 400, "{shown}: {}", answer.text());
        answer.problem(400, "invalid-request");
    }
    for text in [
        &b"{\"operations\":[{\"op\":\"get\",\"key\":\"\xff\"}]}"[..],
        b"\xff",
    ] {
        let call = kvd.request(Method::POST, "/batch");
        let call = call.header("Content-Type", "application/json");
        let answer = call.body(text.to_vec()).await;
        answer.problem(400, "invalid-request");
    }
    assert_empty(&kvd).await;
}

async fn a_batch_has_1_to_100_operations(env: Env) {
    let kvd = env.start().await;
    let puts =
        |count: usize| -> Vec<Value> { (0..count).map(|n| put(&format!("k-{n}"), "v")).collect() };
    for atomic in [false, true] {
        for count in [0, 101, 1_000] {
            let body = json!({"atomic": atomic, "operations": puts(count)});
            let answer = post(&kvd, &body).await;
            let problem = answer.problem(400, "invalid-request");
            let index = (count > 0).then_some(100);
            assert_eq!(problem["index"], json!(index), "{problem}");
        }
    }
    assert_empty(&kvd).await;
    for atomic in [true, false] {
        let body = json!({"atomic": atomic, "operations": puts(100)});
        let answer = post(&kvd, &body).await.expect(200);
        let status = if atomic { 201 } else { 200 };
        assert_eq!(statuses(&answer), vec![status; 100]);
    }
    // What is too much is not kept, however small each is.
    let text = format!("{{\"operations\":[{}0]}}", "0,".repeat(4_000_000));
    assert_place(&send(&kvd, text).await, 400, "invalid-request", 0);
}

async fn a_value_beyond_the_limit_is_413_with_its_place(env: Env) {
    let kvd = env.kvd().arg("--max-value-bytes", "1000").start().await;
    for atomic in [false, true] {
        for (op, value) in [
            ("put", "v".repeat(1001)),
            ("create", "é".repeat(501)),
            ("put", "v".repeat(1_000_000)),
        ] {
            let large = json!({"op": op, "key": "large", "value": value});
            let operations = [put("a", "b"), get("c"), large, put("d", "e")];
            let body = json!({"atomic": atomic, "operations": operations});
            assert_place(&post(&kvd, &body).await, 413, "value-too-large", 2);
        }
    }
    assert_empty(&kvd).await;
    let fits = [put("a", &"é".repeat(500)), put("b", &"\u{1}".repeat(1000))];
    let _done = batch(&kvd, &fits).await.expect(200);
}

const MOST: usize = 8 << 20;

/// A batch of exactly so many bytes.
fn of_bytes(bytes: usize) -> String {
    let puts: Vec<Value> = (0..31)
        .map(|n| put(&format!("k-{n}"), &"v".repeat(262_144)))
        .collect();
    let text = json!({ "operations": puts }).to_string();
    format!("{text}{}", " ".repeat(bytes - text.len()))
}

async fn post_bytes(kvd: &Kvd, text: &str, framing: &str) -> Answer {
    let mut wire = kvd.wire().await;
    wire.send(format!(
        "POST /batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
    ))
    .await;
    let chunked = framing.starts_with("Transfer");
    for part in text.as_bytes().chunks(65_536) {
        // What is refused is refused before all of it was sent.
        let sent = match chunked {
            true => {
                let part = [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
                wire.try_send(part).await
            }
            false => wire.try_send(part).await,
        };
        if sent.is_err() {
            break;
        }
    }
    if chunked {
        let _sent = wire.try_send("0\r\n\r\n").await;
    }
    wire.answer().await
}

async fn a_batch_of_8_mib_is_done_and_a_byte_more_is_413(env: Env) {
    let kvd = env.kvd().arg("--request-timeout", "50s").start().await;
    let large = of_bytes(MOST + 1);
    for framing in [
        format!("Content-Length: {}", large.len()),
        "Transfer-Encoding: chunked".into(),
    ] {
        let answer = post_bytes(&kvd, &large, &framing).await;
        let problem = answer.problem(413, "value-too-large");
        assert_eq!(problem["index"], Value::Null);
    }
    assert_empty(&kvd).await;
    let fits = of_bytes(MOST);
    for (status, framing) in [
        (201, format!("Content-Length: {MOST}")),
        (200, "Transfer-Encoding: chunked".to_owned()),
    ] {
        let answer = post_bytes(&kvd, &fits, &framing).await.expect(200);
        for result in results(&answer) {
            assert_eq!(result["status"], status);
            assert_eq!(
                result["item"]["value"].as_str().map(str::len),
                Some(262_144)
            );
        }
    }
    let atomic = fits.trim_end().replacen('{', "{\"atomic\":true,", 1);
    let framing = format!("Content-Length: {}", atomic.len());
    let answer = post_bytes(&kvd, &atomic, &framing).await.expect(200);
    assert_eq!(statuses(&answer), vec![200; 31]);
}

async fn a_batch_that_does_not_come_is_408(env: Env) {
    let kvd = env.kvd().arg("--request-timeout", "1s").start().await;
    let mut wire = kvd.wire().await;
    wire.send(
        "POST /batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n\
         {\"operations\":[{\"op\":\"put\",\"key\":\"a\",\"value\":\"b\",\"upsert\":true}",
    )
    .await;
    wire.answer().await.problem(408, "request-timeout");
    assert_empty(&kvd).await;
}
