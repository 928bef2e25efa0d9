//! The `Link` header of pages by number.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::{Answer, Client, Env};

use crate::http::pages::{keys, numbered, page};

tests::list! {
    EveryEngine =>
        count_none_leaves_the_totals_null,
        links_lead_to_first_prev_next_and_last,
        links_keep_the_other_parameters
}

#[track_caller]
fn follow(
    kvd: &Client,
    links: &BTreeMap<String, String>,
    relation: &str,
) -> impl Future<Output = Answer> {
    let path = links
        .get(relation)
        .unwrap_or_else(|| panic!("no {relation} in {links:?}"));
    let call = kvd.get(path);
    async move { call.await.expect(200) }
}

async fn links_lead_to_first_prev_next_and_last(env: Env) {
    let kvd = env.start().await;
    let all = numbered(12);
    kvd.create_all(&all).await;
    let first = kvd.get("/items/?page_size=5").await.expect(200);
    assert!(!first.links().contains_key("prev"), "{:?}", first.links());
    let second = follow(&kvd, &first.links(), "next").await;
    assert_eq!(keys(&second.json()), all[5..10]);
    let last = follow(&kvd, &second.links(), "last").await;
    assert_eq!(keys(&last.json()), all[10..]);
    assert!(!last.links().contains_key("next"), "{:?}", last.links());
    assert_eq!(
        follow(&kvd, &last.links(), "prev").await.json(),
        second.json()
    );
    assert_eq!(
        follow(&kvd, &last.links(), "first").await.json(),
        first.json()
    );

    // Without the slash the same references must lead to the same place.
    let bare = kvd.get("/items?page_size=5").await.expect(200);
    assert_eq!(
        follow(&kvd, &bare.links(), "next").await.json(),
        second.json()
    );
}

async fn links_keep_the_other_parameters(env: Env) {
    let kvd = env.start().await;
    let all: Vec<String> = numbered(5)
        .iter()
        .map(|key| format!("é &%/{key}"))
        .collect();
    kvd.create_all(&all).await;
    kvd.create_all(["a", "z"]).await;
    let first = kvd
        .get("/items/?prefix=%C3%A9%20%26%25%2F&page_size=2&keys_only=true")
        .await
        .expect(200);
    let second = follow(&kvd, &first.links(), "next").await;
    assert_eq!(keys(&second.json()), all[2..4]);
    assert!(
        second.json()["items"][0].get("value").is_none(),
        "keys_only is kept"
    );
    assert_eq!(second.json()["total"], 5, "prefix is kept");
    let last = follow(&kvd, &second.links(), "last").await;
    assert_eq!(keys(&last.json()), all[4..]);
    assert_eq!(
        follow(&kvd, &last.links(), "first").await.json(),
        first.json()
    );
}

async fn count_none_leaves_the_totals_null(env: Env) {
    let kvd = env.start().await;
    let all = numbered(12);
    kvd.create_all(&all).await;
    let answer = kvd
        .get("/items/?count=none&page_size=5&page=2")
        .await
        .expect(200);
    let second = answer.json();
    assert_eq!(keys(&second), all[5..10]);
    assert_eq!(
        (&second["total"], &second["total_pages"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(second["page"], 2);
    let links = answer.links();
    assert!(!links.contains_key("last"), "nobody has counted: {links:?}");
    assert_eq!(keys(&follow(&kvd, &links, "next").await.json()), all[10..]);
    assert_eq!(keys(&follow(&kvd, &links, "prev").await.json()), all[..5]);
    let counted = page(&kvd, "?count=exact&page_size=5&page=2").await;
    assert_eq!(
        (&counted["total"], &counted["total_pages"]),
        (&json!(12), &json!(3))
    );
}
