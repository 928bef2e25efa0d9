//! Percent-encoding in paths and queries: what is malformed is refused, so that an item has one key.

use tests::{Client, Env, Wire};

tests::list! {
    Once =>
        a_malformed_path_names_no_item,
        a_malformed_query_is_400,
        a_query_is_decoded_as_a_form_is
}

const MALFORMED: [&str; 14] = [
    "%", "%4", "a%", "a%4", "%zz", "%4z", "%z4", "%%", "%%41", "%+1", "%u0041", "%G0", "%2", "%2x",
];

/// A request whose path and query reach kvd as they are.
async fn ask(kvd: &Client, method: &str, target: &str, body: &str) -> tests::Answer {
    let mut wire = Wire::connect(kvd.address()).await;
    let length = body.len();
    wire.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    ))
    .await;
    wire.answer().await
}

async fn a_malformed_path_names_no_item(env: Env) {
    let kvd = env.start().await;
    for malformed in MALFORMED {
        // The item whose key it would be, were it taken literally.
        let _created = kvd.create(malformed, "x").await;
        let path = format!("/items/{malformed}");
        let upsert = format!("{path}?upsert=true");
        for (method, target, body) in [
            ("GET", &path, ""),
            ("PUT", &path, "{\"value\":\"y\"}"),
            ("PUT", &upsert, "{\"value\":\"y\"}"),
            ("DELETE", &path, ""),
        ] {
            let answer = ask(&kvd, method, target, body).await;
            answer.problem(400, "invalid-key");
        }
        let untouched = kvd.get(&tests::item(malformed)).await.expect(200);
        assert_eq!(untouched.member("value"), "x", "{malformed}");
    }
}

async fn a_malformed_query_is_400(env: Env) {
    let kvd = env.start().await;
    let _created = kvd.create("a", "b").await;
    for malformed in MALFORMED
        .into_iter()
        .chain(["%FF", "%C0%AF", "%ED%A0%80", "%C3"])
    {
        for query in [
            format!("prefix={malformed}"),
            format!("{malformed}=a"),
            malformed.to_owned(),
            format!("page=1&prefix={malformed}"),
            format!("cursor={malformed}"),
        ] {
            for path in ["/items", "/items/"] {
                let answer = ask(&kvd, "GET", &format!("{path}?{query}"), "").await;
                answer.problem(400, "invalid-request");
            }
            let answer = ask(&kvd, "DELETE", &format!("/items/a?{query}"), "").await;
            answer.problem(400, "invalid-request");
        }
    }
    let _untouched = kvd.get("/items/a").await.expect(200);
}

async fn a_query_is_decoded_as_a_form_is(env: Env) {
    let kvd = env.start().await;
    kvd.create_all(["a b", "a+b", "a%b"]).await;
    for (query, key) in [
        ("prefix=a+b", "a b"),
        ("prefix=a%20b", "a b"),
        ("prefix=a%2Bb", "a+b"),
        ("prefix=a%2bb", "a+b"),
        ("prefix=a%25b", "a%b"),
        ("pref%69x=%61%25", "a%b"),
    ] {
        let page = ask(&kvd, "GET", &format!("/items/?{query}"), "").await;
        let page = page.expect(200).json();
        assert_eq!(page["total"], 1, "{query}");
        assert_eq!(page["items"][0]["key"], key, "{query}");
    }
}
