//! Many operations in one request: what it looks like, and what is told of them in the order asked.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Answer, Client, Engine, Env, item, load::until};

tests::list! {
    EveryEngine =>
        results_come_in_the_order_asked,
        an_end_in_a_batch_is_that_of_the_single_call;
    Once =>
        a_batch_is_200_if_all_succeeded_and_else_207,
        a_batch_has_one_path_and_one_method,
        a_byte_order_mark_and_null_members_are_as_if_left_out,
        only_json_is_a_batch
}

/// Sends the operations, each to be done by itself.
pub(crate) async fn batch(kvd: &Client, operations: &[Value]) -> Answer {
    post(kvd, &json!({ "operations": operations })).await
}

/// Sends the operations, to be done all or not at all.
pub(crate) async fn atomic(kvd: &Client, operations: &[Value]) -> Answer {
    post(kvd, &json!({"atomic": true, "operations": operations})).await
}

pub(crate) async fn post(kvd: &Client, body: &Value) -> Answer {
    kvd.request(Method::POST, "/batch").json(body).await
}

/// A `put` that also creates.
pub(crate) fn put(key: &str, value: &str) -> Value {
    json!({"op": "put", "key": key, "value": value, "upsert": true})
}

pub(crate) fn get(key: &str) -> Value {
    json!({"op": "get", "key": key})
}

#[track_caller]
pub(crate) fn results(answer: &Answer) -> Vec<Value> {
    let results = answer.json()["results"].take();
    let Value::Array(results) = results else {
        panic!("{}: no results: {}", answer.asked, answer.text());
    };
    results
}

#[track_caller]
pub(crate) fn statuses(answer: &Answer) -> Vec<u64> {
    let results = results(answer);
    let status = |result: &Value| result["status"].as_u64().expect("a status");
    results.iter().map(status).collect()
}

/// Lets the items of this value expire; too long ago for kvd to remove them.
pub(crate) async fn expire(env: &Env, value: &str) {
    let end = match env.engine() {
        Engine::Postgres => "clock_timestamp() - interval '1 hour'",
        Engine::Mysql => "UTC_TIMESTAMP(6) - INTERVAL 1 HOUR",
        Engine::Sqlite => "strftime('%Y-%m-%d %H:%M:%f000', 'now', '-1 hour')",
    };
    let sql = format!("UPDATE items SET expires_at = {end} WHERE value = '{value}'");
    env.database().execute(&sql).await;
}

async fn results_come_in_the_order_asked(env: Env) {
    let kvd = env.start().await;
    let mut random = env.random();
    for way in [false, true] {
        let mut keys: Vec<String> = (0..100).map(|n| format!("{way}-{n}-é")).collect();
        random.shuffle(&mut keys);
        let puts: Vec<Value> = keys.iter().map(|key| put(key, key)).collect();
        random.shuffle(&mut keys);
        let gets: Vec<Value> = keys.iter().map(|key| get(key)).collect();
        for operations in [&puts, &gets, &puts] {
            let body = json!({"atomic": way, "operations": operations});
            let answer = post(&kvd, &body).await.expect(200);
            for (operation, result) in operations.iter().zip(results(&answer)) {
                assert_eq!(result["item"]["key"], operation["key"]);
                assert_eq!(result["item"]["value"], operation["key"]);
                let read = kvd.get(&item(operation["key"].as_str().expect("a key")));
                assert_eq!(result["item"], read.await.expect(200).json());
            }
        }
    }
    let one = put("one", "alone");
    for way in [false, true] {
        let body = json!({"atomic": way, "operations": [one]});
        let told = results(&post(&kvd, &body).await.expect(200));
        assert_eq!(told.len(), 1);
    }
}

// Long: each way of giving an end.
async fn an_end_in_a_batch_is_that_of_the_single_call(env: Env) {
    let kvd = env.start().await;
    for way in [false, true] {
        let keys = ["ttl", "time", "put", "kept", "never"].map(|key| format!("{key}-{way}"));
        let [ttl, time, upserted, kept, never] = &keys;
        for key in [kept, never] {
            let body = json!({"key": key, "value": "v", "expires_at": "2999-12-31T00:00:00Z"});
            let created = kvd.request(Method::POST, "/items/").json(&body);
            let _created = created.await.expect(201);
        }
        let operations = json!([
            {"op": "create", "key": ttl, "value": "v", "ttl": 1},
            {"op": "create", "key": time, "value": "v", "expires_at": "9999-12-31T23:59:59.9999999Z"},
            {"op": "put", "key": upserted, "value": "v", "upsert": true, "ttl": 3_153_600_000_u64},
            {"op": "put", "key": kept, "value": "w", "keep_ttl": true},
            {"op": "put", "key": never, "value": "w"},
        ]);
        let body = json!({"atomic": way, "operations": operations});
        let told = results(&post(&kvd, &body).await.expect(200));
        let end = |place: usize| told[place]["item"]["expires_at"].as_str();
        assert!(end(0) > told[0]["item"]["created_at"].as_str());
        assert_eq!(end(1), Some("9999-12-31T23:59:59.999999Z"));
        assert!(end(2).is_some_and(|end| end.starts_with("21")), "{told:?}");
        assert_eq!(end(3), Some("2999-12-31T00:00:00.000000Z"));
        assert_eq!(end(4), None);
        for (key, result) in keys.iter().zip(&told).skip(1) {
            let read = kvd.get(&item(key)).await.expect(200);
            assert_eq!(result["item"], read.json(), "{key}");
        }
        until("it has expired", async || {
            let answer = batch(&kvd, &[get(ttl)]).await;
            statuses(&answer) == [404]
        })
        .await;
        let again = json!({"op": "create", "key": ttl, "value": "again"});
        let body = json!({"atomic": way, "operations": [again]});
        let again = results(&post(&kvd, &body).await.expect(200)).remove(0);
        assert_eq!(again["item"]["version"], 1);
        assert_ne!(again["item"]["etag"], told[0]["item"]["etag"]);
    }
}

async fn a_batch_is_200_if_all_succeeded_and_else_207(env: Env) {
    let kvd = env.start().await;
    let created = kvd.create("there", "v").await;
    let tag = created.member("etag");
    let unchanged = json!({"op": "get", "key": "there", "if_none_match": tag});
    for (operations, status) in [
        (vec![get("there")], 200),
        (vec![unchanged.clone()], 200),
        (vec![put("new", "v"), unchanged.clone()], 200),
        (vec![json!({"op": "delete", "key": "new"})], 200),
        (vec![get("missing")], 207),
        (vec![get("missing"), unchanged], 207),
        (
            vec![json!({"op": "create", "key": "there", "value": ""})],
            207,
        ),
    ] {
        let answer = batch(&kvd, &operations).await.expect(status);
        let all = statuses(&answer).iter().all(|status| *status < 400);
        assert_eq!(all, status == 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("etag"), None);
        for result in results(&answer) {
            if [204, 304].map(Value::from).contains(&result["status"]) {
                assert_eq!(
                    result.as_object().map(serde_json::Map::len),
                    Some(1),
                    "{result}"
                );
            }
        }
        let members = answer.json().as_object().map(serde_json::Map::len);
        assert_eq!(members, Some(1), "only results");
    }
}

async fn a_batch_has_one_path_and_one_method(env: Env) {
    let kvd = env.start().await;
    let body = json!({"operations": [put("a", "b")]});
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let answer = kvd.request(method, "/batch").json(&body).await;
        answer.problem(405, "method-not-allowed");
        assert_eq!(answer.header("allow"), Some("POST"));
    }
    let head = kvd.head("/batch").await.expect(405);
    assert_eq!(head.header("allow"), Some("POST"));
    for path in ["/batch/", "/batch/x", "/Batch", "/items/batch/x"] {
        let answer = kvd.request(Method::POST, path).json(&body).await;
        answer.problem(404, "route-not-found");
    }
    for query in ["?x=1", "?atomic=true", "?upsert=true", "?=", "?%zz"] {
        let path = format!("/batch{query}");
        let answer = kvd.request(Method::POST, &path).json(&body).await;
        answer.problem(400, "invalid-request");
    }
    for condition in ["If-Match", "If-None-Match"] {
        let call = kvd
            .request(Method::POST, "/batch")
            .header(condition, "\"9-9\"");
        let _done = call.json(&body).await.expect(200);
    }
}

async fn a_byte_order_mark_and_null_members_are_as_if_left_out(env: Env) {
    let kvd = env.start().await;
    let text = "\u{feff} \n{\"atomic\":null,\"operations\":[\n {\"op\":\"put\",\"key\":\"a\",\"value\":\"b\",\"upsert\":true,\
                \"if_match\":null,\"if_none_match\":null,\"ttl\":null,\"expires_at\":null,\"keep_ttl\":null},\
                {\"op\":\"get\",\"key\":\"b\",\"value\":null,\"upsert\":null,\"ttl\":null,\"keep_ttl\":null},\
                {\"op\":\"delete\",\"key\":\"c\",\"value\":null,\"expires_at\":null},\
                {\"\\u006fp\":\"cre\\u0061te\",\"key\":\"\\u0064\",\"value\":\"\\ud83e\\udd80\",\"if_match\":null} ] }\n";
    let call = kvd.request(Method::POST, "/batch");
    let call = call.header("Content-Type", "application/json; charset=utf-8");
    let answer = call.body(text).await.expect(207);
    assert_eq!(statuses(&answer), [201, 404, 404, 201]);
    let read = kvd.get("/items/d").await.expect(200);
    assert_eq!(read.member("value"), "🦀");
}

async fn only_json_is_a_batch(env: Env) {
    let kvd = env.start().await;
    let body = json!({"operations": [put("a", "b")]}).to_string();
    for media_type in ["text/plain", "application/x-ndjson", ""] {
        let call = kvd
            .request(Method::POST, "/batch")
            .header("Content-Type", media_type);
        let answer = call.body(body.clone()).await;
        answer.problem(415, "unsupported-media-type");
    }
    let call = kvd
        .request(Method::POST, "/batch")
        .header("Content-Encoding", "gzip");
    let answer = call
        .header("Content-Type", "application/json")
        .body(body)
        .await;
    answer.problem(415, "unsupported-media-type");
    kvd.get("/items/a").await.problem(404, "item-not-found");
}
