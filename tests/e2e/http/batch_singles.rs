//! Each operation of a batch is told what its single call would have been told.

use std::slice;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Answer, Client, Env, item, load::together};

use crate::http::batch::{atomic, batch, expire, results, statuses};

tests::list! {
    EveryEngine => each_operation_is_told_what_the_single_call_would_have_been
}

/// The single call of an operation.
// Long: each member of an operation has its place in a call.
async fn single(kvd: &Client, operation: &Value) -> Answer {
    let key = operation["key"].as_str().expect("a key");
    let (method, mut path) = match operation["op"].as_str() {
        Some("get") => (Method::GET, item(key)),
        Some("create") => (Method::POST, "/items/".to_owned()),
        Some("put") => (Method::PUT, item(key)),
        _ => (Method::DELETE, item(key)),
    };
    let mut body = json!({});
    for member in ["key", "value", "ttl", "expires_at"] {
        let is_in_body = member != "key" || method == Method::POST;
        if is_in_body && !operation[member].is_null() {
            body[member] = operation[member].clone();
        }
    }
    let flags = ["upsert", "keep_ttl"].into_iter();
    let flags = flags.filter(|flag| !operation[flag].is_null());
    let flags: Vec<String> = flags
        .map(|flag| format!("{flag}={}", operation[flag]))
        .collect();
    if !flags.is_empty() {
        path = format!("{path}?{}", flags.join("&"));
    }
    let has_body = matches!(method, Method::POST | Method::PUT);
    let mut call = kvd.request(method, &path);
    for (member, header) in [("if_match", "If-Match"), ("if_none_match", "If-None-Match")] {
        let tags = match &operation[member] {
            Value::Null => continue,
            Value::Array(tags) => tags
                .iter()
                .map(Value::to_string)
                .collect::<Vec<_>>()
                .join(","),
            Value::String(any) if any == "*" => any.clone(),
            tag => tag.to_string(),
        };
        call = call.header(header, &tags);
    }
    match has_body {
        true => call.json(&body).await,
        false => call.await,
    }
}

/// What a batch would say of an operation whose single call was answered like this.
fn as_result(answer: &Answer) -> Value {
    let mut result = json!({"status": answer.status});
    match answer.status {
        204 | 304 => {}
        200 | 201 => result["item"] = answer.json(),
        _ => {
            let problem = answer.json();
            result["code"] = problem["code"].clone();
            result["detail"] = problem["detail"].clone();
            if let Some(tag) = answer.header("etag") {
                result["etag"] = tag.trim_matches('"').into();
            }
        }
    }
    result
}

/// The same for another key: without what no two items have in common.
fn comparable(mut result: Value) -> Value {
    let tag = |result: &Value| result["etag"].as_str().map(str::to_owned);
    let of_version = |tag: &str| format!("-{}", tag.split('-').nth(1).expect("a version"));
    if let Some(tag) = tag(&result) {
        let detail = result["detail"].as_str().expect("a detail");
        result["detail"] = detail.replace(&tag, "TAG").into();
        result["etag"] = of_version(&tag).into();
    }
    if let Some(tag) = tag(&result["item"]) {
        let item = result["item"].as_object_mut().expect("an item");
        item["etag"] = of_version(&tag).into();
        for member in ["key", "created_at", "updated_at"] {
            let there = item.remove(member);
            assert!(there.is_some_and(|there| there.is_string()), "{member}");
        }
        // A time that was given stays; one that the database made is some time.
        if item["expires_at"]
            .as_str()
            .is_some_and(|end| !end.starts_with("2999"))
        {
            item["expires_at"] = "later".into();
        }
    }
    result
}

/// What there is of a key before an operation.
const STATES: [&str; 4] = ["missing", "there", "ending", "expired"];

/// Every operation with every condition, without its key; `TAG` stands for the tag of the item.
fn operations() -> Vec<Value> {
    let mut all = Vec::new();
    let conditions = [
        json!({}),
        json!({"if_match": "*"}),
        json!({"if_match": "TAG"}),
        json!({"if_match": "9-9"}),
        json!({"if_match": ["9-9", "TAG"]}),
        json!({"if_none_match": "*"}),
        json!({"if_none_match": "TAG"}),
        json!({"if_none_match": ["9-9"]}),
        json!({"if_match": "TAG", "if_none_match": ["9-9", "TAG"]}),
    ];
    for of in [
        json!({"op": "get"}),
        json!({"op": "put", "value": "new"}),
        json!({"op": "put", "value": "new", "upsert": true}),
        json!({"op": "delete"}),
    ] {
        all.extend(conditions.iter().map(|condition| with(&of, condition)));
    }
    let ends = [
        json!({}),
        json!({"ttl": 7200}),
        json!({"expires_at": "2999-01-31T10:30:00.1234567+01:00"}),
    ];
    for of in [
        json!({"op": "create", "value": "é\u{1}\"\u{feff}🦀"}),
        json!({"op": "put", "value": "", "upsert": false}),
        json!({"op": "put", "value": "new", "upsert": true, "if_none_match": "*"}),
    ] {
        all.extend(ends.iter().map(|end| with(&of, end)));
    }
    all.push(json!({"op": "put", "value": "new", "keep_ttl": true}));
    all.push(json!({"op": "put", "value": "new", "keep_ttl": true, "upsert": true}));
    all
}

fn with(of: &Value, more: &Value) -> Value {
    let mut all = of.clone();
    let members = all.as_object_mut().expect("an object");
    members.extend(more.as_object().expect("an object").clone());
    all
}

/// Prepares a key and addresses the operation to it.
async fn prepared(kvd: Client, operation: Value, state: &str, key: String) -> Value {
    let mut tag = "7-7".to_owned();
    if state != "missing" {
        let mut body = json!({"key": key, "value": state});
        if state == "ending" {
            body["expires_at"] = "2999-12-31T00:00:00Z".into();
        }
        let created = kvd.request(Method::POST, "/items/").json(&body);
        tag = created.await.expect(201).member("etag");
    }
    let text = operation.to_string().replace("TAG", &tag);
    let mut operation: Value = serde_json::from_str(&text).expect("JSON");
    operation["key"] = key.into();
    operation
}

// Long: the same three ways.
async fn each_operation_is_told_what_the_single_call_would_have_been(env: Env) {
    let kvd = env.kvd().arg("--request-timeout", "50s").start().await;
    let operations = operations();
    let cases = operations.len() * STATES.len();
    let prepared = together(3 * cases, |n| {
        let (way, of) = (n / cases, n % cases);
        let operation = operations[of / STATES.len()].clone();
        let (state, key) = (STATES[of % STATES.len()], format!("k {of:03}/{way}"));
        let kvd = Client::clone(&kvd);
        async move { ((way, of), prepared(kvd, operation, state, key).await) }
    });
    let mut prepared = prepared.await;
    prepared.sort_by_key(|(place, _)| *place);
    expire(&env, "expired").await;
    let operations: Vec<Value> = prepared
        .into_iter()
        .map(|(_, operation)| operation)
        .collect();
    let mut expected = Vec::new();
    for operation in &operations[..cases] {
        expected.push(comparable(as_result(&single(&kvd, operation).await)));
    }
    let mut seen: Vec<u64> = Vec::new();
    for (chunk, expected) in operations[cases..2 * cases]
        .chunks(100)
        .zip(expected.chunks(100))
    {
        let answer = batch(&kvd, chunk).await.expect(207);
        for ((operation, result), expected) in chunk.iter().zip(results(&answer)).zip(expected) {
            assert_eq!(&comparable(result), expected, "{operation}");
        }
        seen.extend(statuses(&answer));
    }
    for (operation, expected) in operations[2 * cases..].iter().zip(&expected) {
        let answer = atomic(&kvd, slice::from_ref(operation)).await;
        match expected["code"].as_str() {
            None => assert_eq!(answer.status, 200, "{operation}: {}", answer.text()),
            Some(_) => drop(answer.problem(409, "batch-failed")),
        }
        let result = results(&answer).remove(0);
        assert_eq!(&comparable(result), expected, "atomic {operation}");
    }
    for status in [200, 201, 204, 304, 404, 409, 412] {
        assert!(seen.contains(&status), "{status} was never met");
    }
    for (of, operation) in operations[..cases].iter().enumerate() {
        let mut left = Vec::new();
        for way in 0..3 {
            let read = kvd.get(&item(&format!("k {of:03}/{way}"))).await;
            left.push(comparable(as_result(&read)));
        }
        assert_eq!(left[0], left[1], "{operation}");
        assert_eq!(left[0], left[2], "atomic {operation}");
    }
}
