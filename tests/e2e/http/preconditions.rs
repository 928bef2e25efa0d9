//! `If-Match` and `If-None-Match` on every method that obeys them.

use reqwest::Method;
use serde_json::json;
use tests::{Answer, Client, Env};

tests::list! {
    EveryEngine =>
        put_and_delete_obey_if_match,
        put_and_delete_obey_if_none_match,
        get_and_head_obey_if_match,
        get_and_head_obey_if_none_match,
        one_tag_of_a_list_is_enough,
        several_header_lines_are_one_list,
        weak_tags_never_match_if_match,
        weak_tags_match_if_none_match,
        if_match_is_judged_before_if_none_match,
        a_missing_key_is_404_whatever_the_precondition,
        upsert_of_a_missing_key_with_if_match_is_412,
        upsert_of_an_existing_key_obeys_if_match,
        create_only_and_upsert_go_together,
        a_malformed_precondition_is_400,
        preconditions_are_judged_after_400_and_413,
        a_tag_of_a_deleted_item_matches_no_later_one,
        a_412_names_the_current_tag_and_writes_nothing;
    Once =>
        preconditions_are_judged_after_429
}

/// A request with these header lines; `PUT` with a value that says it was written.
async fn ask(kvd: &Client, method: Method, headers: &[(&str, &str)]) -> Answer {
    let mut call = match method {
        Method::PUT => kvd.put("/items/a", "written"),
        _ => kvd.request(method, "/items/a"),
    };
    for (name, value) in headers {
        call = call.header(name, value);
    }
    call.await
}

/// Creates the item `a` and gives its tag.
async fn create(kvd: &Client) -> String {
    kvd.create("a", "created").await.etag()
}

#[track_caller]
fn assert_failed(answer: &Answer, current: &str) {
    match answer.asked.starts_with("HEAD") {
        true => assert_eq!(answer.status, 412, "{}", answer.asked),
        false => drop(answer.problem(412, "precondition-failed")),
    }
    assert_eq!(answer.etag(), current, "{}", answer.asked);
}

async fn put_and_delete_obey_if_match(env: Env) {
    let kvd = env.start().await;
    let first = create(&kvd).await;
    let second = ask(&kvd, Method::PUT, &[("If-Match", &first)])
        .await
        .expect(200)
        .etag();
    assert_failed(
        &ask(&kvd, Method::PUT, &[("If-Match", &first)]).await,
        &second,
    );
    assert_failed(
        &ask(&kvd, Method::DELETE, &[("If-Match", &first)]).await,
        &second,
    );
    assert_failed(
        &ask(&kvd, Method::DELETE, &[("If-Match", "\"other\"")]).await,
        &second,
    );
    let third = ask(&kvd, Method::PUT, &[("If-Match", "*")])
        .await
        .expect(200);
    assert_eq!(third.json()["version"], 3);
    let deleted = ask(&kvd, Method::DELETE, &[("If-Match", &third.etag())]).await;
    let _deleted = deleted.expect(204);

    let _again = create(&kvd).await;
    let _deleted = ask(&kvd, Method::DELETE, &[("If-Match", "*")])
        .await
        .expect(204);
}

async fn put_and_delete_obey_if_none_match(env: Env) {
    let kvd = env.start().await;
    let first = create(&kvd).await;
    for condition in [first.as_str(), "*", &format!("\"other\", {first}")] {
        assert_failed(
            &ask(&kvd, Method::PUT, &[("If-None-Match", condition)]).await,
            &first,
        );
        assert_failed(
            &ask(&kvd, Method::DELETE, &[("If-None-Match", condition)]).await,
            &first,
        );
    }
    let second = ask(&kvd, Method::PUT, &[("If-None-Match", "\"other\"")])
        .await
        .expect(200);
    assert_eq!(second.json()["version"], 2);
    let deleted = ask(&kvd, Method::DELETE, &[("If-None-Match", &first)]).await;
    let _deleted = deleted.expect(204);
}

async fn get_and_head_obey_if_match(env: Env) {
    let kvd = env.start().await;
    let tag = create(&kvd).await;
    for method in [Method::GET, Method::HEAD] {
        for condition in [tag.as_str(), "*"] {
            let read = ask(&kvd, method.clone(), &[("If-Match", condition)]).await;
            assert_eq!(read.expect(200).etag(), tag);
        }
        assert_failed(&ask(&kvd, method, &[("If-Match", "\"other\"")]).await, &tag);
    }
}

async fn get_and_head_obey_if_none_match(env: Env) {
    let kvd = env.start().await;
    let tag = create(&kvd).await;
    for method in [Method::GET, Method::HEAD] {
        for condition in [tag.as_str(), "*", &format!("\"x\",{tag}")] {
            let read = ask(&kvd, method.clone(), &[("If-None-Match", condition)]).await;
            assert_eq!(read.expect(304).etag(), tag, "a 304 carries the tag");
        }
        let read = ask(&kvd, method, &[("If-None-Match", "\"other\"")]).await;
        assert_eq!(read.expect(200).etag(), tag);
    }
    let _updated = kvd.put("/items/a", "x").await.expect(200);
    let _changed = ask(&kvd, Method::GET, &[("If-None-Match", &tag)])
        .await
        .expect(200);
}

async fn one_tag_of_a_list_is_enough(env: Env) {
    let kvd = env.start().await;
    // Commas and odd characters inside a tag, spaces around it, empty elements: RFC 9110, 5.6.1 and 8.8.3.
    for list in [
        "\"x\", TAG",
        "TAG,\"x\"",
        "\"a,b\"\t,\tTAG",
        "\"\", TAG",
        ", ,TAG, ",
        "\"!#~\",TAG",
    ] {
        let tag = create(&kvd).await;
        let list = list.replace("TAG", &tag);
        let _not_modified = ask(&kvd, Method::GET, &[("If-None-Match", &list)])
            .await
            .expect(304);
        let _updated = ask(&kvd, Method::PUT, &[("If-Match", &list)])
            .await
            .expect(200);
        let _deleted = kvd.delete("/items/a").await.expect(204);
    }
    let tag = create(&kvd).await;
    // The tag inside another tag is not that tag.
    let inside = format!("\"x,{}\"", tag.trim_matches('"'));
    assert_failed(
        &ask(&kvd, Method::PUT, &[("If-Match", &inside)]).await,
        &tag,
    );
    assert_failed(
        &ask(&kvd, Method::PUT, &[("If-Match", "\"x\", \"y\"")]).await,
        &tag,
    );
}

async fn several_header_lines_are_one_list(env: Env) {
    let kvd = env.start().await;
    let tag = create(&kvd).await;
    let lines = [("If-None-Match", "\"x\""), ("If-None-Match", tag.as_str())];
    let _not_modified = ask(&kvd, Method::GET, &lines).await.expect(304);
    assert_failed(&ask(&kvd, Method::PUT, &lines).await, &tag);
    let lines = [("If-Match", "\"x\", \"y\""), ("If-Match", tag.as_str())];
    let _updated = ask(&kvd, Method::PUT, &lines).await.expect(200);
    let lines = [("If-Match", "*"), ("If-Match", "\"x\"")];
    let mixed = ask(&kvd, Method::PUT, &lines).await;
    mixed.problem(400, "invalid-request");
}

async fn weak_tags_never_match_if_match(env: Env) {
    let kvd = env.start().await;
    let tag = create(&kvd).await;
    let weak = format!("W/{tag}");
    for other in [&weak].into_iter().chain(&renamed(&tag)) {
        for method in [Method::PUT, Method::DELETE, Method::GET] {
            assert_failed(&ask(&kvd, method, &[("If-Match", other)]).await, &tag);
        }
    }
    let both = format!("{weak}, {tag}");
    let _updated = ask(&kvd, Method::PUT, &[("If-Match", &both)])
        .await
        .expect(200);
}

/// RFC 9110, 13.1.2: a proxy that compresses weakens or renames the tags, and its clients send them back.
async fn weak_tags_match_if_none_match(env: Env) {
    let kvd = env.start().await;
    let tag = create(&kvd).await;
    for same in [format!("W/{tag}")].iter().chain(&renamed(&tag)) {
        let condition = [("If-None-Match", same.as_str())];
        let _not_modified = ask(&kvd, Method::GET, &condition).await.expect(304);
        for method in [Method::PUT, Method::DELETE] {
            assert_failed(&ask(&kvd, method, &condition).await, &tag);
        }
    }
}

/// As Apache names the tag of an answer that it compresses: strong, and not kvd's.
fn renamed(tag: &str) -> [String; 2] {
    ["-gzip\"", "-br\""].map(|end| tag.trim_end_matches('"').to_owned() + end)
}

async fn if_match_is_judged_before_if_none_match(env: Env) {
    let kvd = env.start().await;
    let tag = create(&kvd).await;
    // Were the second one first, this would be 304.
    let both = [("If-None-Match", tag.as_str()), ("If-Match", "\"other\"")];
    assert_failed(&ask(&kvd, Method::GET, &both).await, &tag);
    let both = [("If-Match", tag.as_str()), ("If-None-Match", tag.as_str())];
    let _not_modified = ask(&kvd, Method::GET, &both).await.expect(304);
    assert_failed(&ask(&kvd, Method::PUT, &both).await, &tag);
    let both = [("If-Match", tag.as_str()), ("If-None-Match", "\"other\"")];
    let _updated = ask(&kvd, Method::PUT, &both).await.expect(200);
}

async fn a_missing_key_is_404_whatever_the_precondition(env: Env) {
    let kvd = env.start().await;
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        for condition in [
            ("If-Match", "\"1-1\""),
            ("If-Match", "*"),
            ("If-None-Match", "\"1-1\""),
        ] {
            let answer = ask(&kvd, method.clone(), &[condition]).await;
            answer.problem(404, "item-not-found");
            assert!(answer.header("etag").is_none());
        }
    }
    for method in [Method::GET, Method::DELETE] {
        let answer = ask(&kvd, method, &[("If-None-Match", "*")]).await;
        answer.problem(404, "item-not-found");
    }
}

async fn upsert_of_a_missing_key_with_if_match_is_412(env: Env) {
    let kvd = env.start().await;
    for condition in ["\"1-1\"", "*"] {
        let call = kvd
            .put("/items/a?upsert=true", "x")
            .header("If-Match", condition);
        let answer = call.await;
        answer.problem(412, "precondition-failed");
        assert!(answer.header("etag").is_none(), "there is no current tag");
    }
    kvd.get("/items/a").await.problem(404, "item-not-found");
}

async fn upsert_of_an_existing_key_obeys_if_match(env: Env) {
    let kvd = env.start().await;
    let first = create(&kvd).await;
    let upsert = |tag: &str| kvd.put("/items/a?upsert=true", "x").header("If-Match", tag);
    let second = upsert(&first).await.expect(200).etag();
    assert_failed(&upsert(&first).await, &second);
    let _third = upsert("*").await.expect(200);
}

async fn create_only_and_upsert_go_together(env: Env) {
    let kvd = env.start().await;
    let create_only = || {
        kvd.put("/items/a?upsert=true", "x")
            .header("If-None-Match", "*")
    };
    let tag = create_only().await.expect(201).etag();
    assert_failed(&create_only().await, &tag);
}

async fn a_malformed_precondition_is_400(env: Env) {
    let kvd = env.start().await;
    let tag = create(&kvd).await;
    let bare = tag.trim_matches('"');
    let cases = [
        bare,
        "\"",
        "\"open",
        "open\"",
        "\"a\" \"b\"",
        "\"a\"b",
        "*, \"a\"",
        "\"a\", *",
        "**",
        "w/\"a\"",
        "W/",
        "W/a",
        "\"a b\"",
        "'a'",
    ];
    for bad in cases {
        for name in ["If-Match", "If-None-Match"] {
            for method in [Method::GET, Method::PUT, Method::DELETE] {
                let answer = ask(&kvd, method, &[(name, bad)]).await;
                assert_eq!(answer.status, 400, "{name}: {bad}: {}", answer.asked);
                answer.problem(400, "invalid-request");
            }
        }
    }
    let read = kvd.get("/items/a").await.expect(200);
    assert_eq!(read.etag(), tag, "nothing was written");
    // A malformed one is a mistake of the request, whatever there is.
    let missing = kvd.put("/items/missing", "x").header("If-Match", "open\"");
    missing.await.problem(400, "invalid-request");
}

async fn preconditions_are_judged_after_400_and_413(env: Env) {
    let kvd = env.kvd().arg("--max-value-bytes", "10").start().await;
    let _tag = create(&kvd).await;
    let never = ("If-Match", "\"never\"");
    let put = |body: serde_json::Value| {
        kvd.request(Method::PUT, "/items/a")
            .header(never.0, never.1)
            .json(&body)
    };
    put(json!({"valu": "x"}))
        .await
        .problem(400, "invalid-request");
    put(json!({"value": "\0"}))
        .await
        .problem(400, "invalid-value");
    put(json!({"value": "12345678901"}))
        .await
        .problem(413, "value-too-large");
    put(json!({"value": "1234567890"}))
        .await
        .problem(412, "precondition-failed");
    let unknown = kvd.get("/items/a?nonsense=1").header(never.0, never.1);
    unknown.await.problem(400, "invalid-request");
}

async fn preconditions_are_judged_after_429(env: Env) {
    let kvd = env.kvd().env("RATE_LIMIT", "2").start().await;
    let tag = create(&kvd).await;
    assert_failed(
        &ask(&kvd, Method::PUT, &[("If-Match", "\"never\"")]).await,
        &tag,
    );
    let refused = ask(&kvd, Method::PUT, &[("If-Match", "\"never\"")]).await;
    refused.problem(429, "rate-limited");
}

async fn a_tag_of_a_deleted_item_matches_no_later_one(env: Env) {
    let kvd = env.start().await;
    let old = create(&kvd).await;
    let _deleted = kvd.delete("/items/a").await.expect(204);
    let new = create(&kvd).await;
    assert_ne!(old, new);
    assert_failed(&ask(&kvd, Method::PUT, &[("If-Match", &old)]).await, &new);
    assert_failed(
        &ask(&kvd, Method::DELETE, &[("If-Match", &old)]).await,
        &new,
    );
    let _changed = ask(&kvd, Method::GET, &[("If-None-Match", &old)])
        .await
        .expect(200);
}

async fn a_412_names_the_current_tag_and_writes_nothing(env: Env) {
    let kvd = env.start().await;
    let _first = create(&kvd).await;
    let current = kvd.put("/items/a", "current").await.expect(200);
    for method in [Method::PUT, Method::DELETE] {
        let refused = ask(&kvd, method, &[("If-Match", "\"0-0\"")]).await;
        assert_failed(&refused, &current.etag());
    }
    let read = kvd.get("/items/a").await.expect(200);
    assert_eq!(read.json(), current.json());
}
