//! What the headers of a request say about its body: a part, an encoding, a media type.

use reqwest::Method;
use tests::{Answer, Client, Env};

use crate::http::bodies::assert_empty;

tests::list! {
    Once =>
        a_part_of_a_body_is_never_stored_as_the_whole,
        an_encoded_body_is_415,
        identity_is_no_encoding,
        a_media_type_that_comes_twice_is_415
}

const BODY: &str = "{\"key\":\"a\",\"value\":\"b\"}";
const VALUE: &str = "{\"value\":\"b\"}";

/// Sends a whole and valid body with these headers to each operation that takes one.
async fn send(kvd: &Client, headers: &[(&str, &str)]) -> [Answer; 3] {
    let call = |method, path, body: &'static str| {
        let call = kvd.request(method, path).body(body);
        headers
            .iter()
            .fold(call, |call, (name, value)| call.header(name, value))
    };
    [
        call(Method::POST, "/items/", BODY).await,
        call(Method::PUT, "/items/a", VALUE).await,
        call(Method::PUT, "/items/a?upsert=true", VALUE).await,
    ]
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

async fn a_part_of_a_body_is_never_stored_as_the_whole(env: Env) {
    let kvd = env.start().await;
    for range in [
        "bytes 0-12/13",
        "bytes 5-17/100",
        "bytes */100",
        "items 1-2/3",
        "x",
        "",
    ] {
        for answer in send(&kvd, &[JSON, ("Content-Range", range)]).await {
            let problem = answer.problem(400, "invalid-request");
            let detail = problem["detail"].as_str().expect("a detail");
            assert!(detail.contains("Content-Range"), "{detail}");
        }
    }
    assert_empty(&kvd).await;
}

async fn an_encoded_body_is_415(env: Env) {
    let kvd = env.start().await;
    for lines in [
        &["gzip"][..],
        &["x-gzip"],
        &["br"],
        &["GZIP"],
        &["unheard-of"],
        &["gzip, identity"],
        &["identity, deflate"],
        &["identity", "zstd"],
        &["gzip;q=0"],
        &["aws-chunked"],
    ] {
        let lines = lines.iter().map(|line| ("Content-Encoding", *line));
        let headers: Vec<_> = std::iter::once(JSON).chain(lines).collect();
        for answer in send(&kvd, &headers).await {
            answer.problem(415, "unsupported-media-type");
            assert_eq!(answer.header("accept-encoding"), Some("identity"));
        }
    }
    assert_empty(&kvd).await;
    // By this the two kinds of 415 are told apart (RFC 9110, 15.5.16).
    for answer in send(&kvd, &[("Content-Type", "text/plain")]).await {
        answer.problem(415, "unsupported-media-type");
        assert_eq!(answer.header("accept-encoding"), None);
    }
}

async fn identity_is_no_encoding(env: Env) {
    let kvd = env.start().await;
    for coding in ["identity", "Identity", "identity, identity", ""] {
        let [created, updated, _updated] = send(&kvd, &[JSON, ("Content-Encoding", coding)]).await;
        let _created = created.expect(201);
        let _updated = updated.expect(200);
        let _deleted = kvd.delete("/items/a").await.expect(204);
    }
    // Without a body that is read there is nothing to decode.
    let _created = kvd.create("a", "b").await;
    for (method, status) in [(Method::GET, 200), (Method::DELETE, 204)] {
        let call = kvd.request(method, "/items/a");
        let call = call.header("Content-Encoding", "gzip");
        let _answered = call.await.expect(status);
    }
}

async fn a_media_type_that_comes_twice_is_415(env: Env) {
    let kvd = env.start().await;
    for second in ["application/json", "text/plain"] {
        for answer in send(&kvd, &[JSON, ("Content-Type", second)]).await {
            answer.problem(415, "unsupported-media-type");
        }
    }
    for charset in ["latin1", "utf-16", "\"utf-16\"", " utf-16"] {
        let kind = format!("application/json; charset={charset}");
        for answer in send(&kvd, &[("Content-Type", &kind)]).await {
            answer.problem(415, "unsupported-media-type");
        }
    }
    assert_empty(&kvd).await;
}
