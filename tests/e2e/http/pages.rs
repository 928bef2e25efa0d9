//! Pages by number: order, totals, and the numbers that are refused.

use serde_json::{Value, json};
use tests::{Client, Env};

tests::list! {
    EveryEngine =>
        a_page_has_six_members,
        page_is_1_and_page_size_10_by_default,
        an_empty_result_has_no_pages_and_no_last,
        pages_cover_everything_once_in_byte_order,
        keys_are_ordered_by_their_bytes,
        a_page_past_the_end_is_empty_with_the_true_total,
        numbers_out_of_range_are_400_never_clamped,
        absurd_numbers_are_no_server_error,
        keys_only_leaves_out_the_values,
        unknown_and_repeated_parameters_are_400
}

/// The keys of a page.
#[track_caller]
pub(crate) fn keys(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().expect("items");
    let key = |item: &Value| item["key"].as_str().expect("a key").to_owned();
    items.iter().map(key).collect()
}

/// The page at this query.
pub(crate) async fn page(kvd: &Client, query: &str) -> Value {
    kvd.get(&format!("/items/{query}")).await.expect(200).json()
}

/// `k-000`, `k-001`, …
pub(crate) fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("k-{n:03}")).collect()
}

async fn a_page_has_six_members(env: Env) {
    let kvd = env.start().await;
    let created = kvd.create("a", "b").await.json();
    for query in ["", "?cursor=", "?count=none"] {
        let page = page(&kvd, query).await;
        let mut members: Vec<&String> = page.as_object().expect("an object").keys().collect();
        members.sort();
        let expected = [
            "items",
            "next_cursor",
            "page",
            "page_size",
            "total",
            "total_pages",
        ];
        assert_eq!(members, expected, "{query}");
        assert_eq!(page["items"], json!([created]), "{query}");
    }
}

async fn page_is_1_and_page_size_10_by_default(env: Env) {
    let kvd = env.start().await;
    let all = numbered(12);
    kvd.create_all(&all).await;
    let first = page(&kvd, "").await;
    assert_eq!(keys(&first), all[..10]);
    assert_eq!(
        (&first["page"], &first["page_size"]),
        (&json!(1), &json!(10))
    );
    assert_eq!(
        (&first["total"], &first["total_pages"]),
        (&json!(12), &json!(2))
    );
    assert_eq!(first, page(&kvd, "?page=1&page_size=10").await);
}

async fn an_empty_result_has_no_pages_and_no_last(env: Env) {
    let kvd = env.start().await;
    let _other = kvd.create("other", "").await;
    for query in ["?prefix=none", "?prefix=none&page=3"] {
        let answer = kvd.get(&format!("/items/{query}")).await.expect(200);
        let page = answer.json();
        assert_eq!(page["items"], json!([]));
        assert_eq!(
            (&page["total"], &page["total_pages"]),
            (&json!(0), &json!(0))
        );
        let links = answer.links();
        assert!(links.contains_key("first"), "{links:?}");
        assert!(
            !links.contains_key("last") && !links.contains_key("next"),
            "{links:?}"
        );
    }
}

async fn pages_cover_everything_once_in_byte_order(env: Env) {
    let kvd = env.start().await;
    let all = numbered(45);
    kvd.create_all(all.iter().rev()).await;
    for size in [1, 7, 10, 45, 100] {
        let total_pages = all.len().div_ceil(size);
        let mut seen = Vec::new();
        for number in 1..=total_pages {
            let page = page(&kvd, &format!("?page={number}&page_size={size}")).await;
            assert_eq!(page["page"], number);
            assert_eq!(page["page_size"], size);
            assert_eq!(page["total"], all.len());
            assert_eq!(page["total_pages"], total_pages);
            seen.extend(keys(&page));
        }
        assert_eq!(seen, all, "page_size {size}");
    }
}

async fn keys_are_ordered_by_their_bytes(env: Env) {
    let kvd = env.start().await;
    // U+FFFF before U+10000 is where UTF-16 has it the other way round.
    let mut all = [
        "b",
        "a",
        "B",
        "A",
        "a ",
        "a-",
        "a/",
        "aa",
        "_",
        "Z",
        "á",
        "z",
        "ä",
        "\u{ffff}",
        "\u{10000}",
        "1",
        "10",
        "2",
    ];
    kvd.create_all(all).await;
    all.sort_by_key(|key| key.as_bytes());
    assert_eq!(keys(&page(&kvd, "?page_size=100").await), all);
    assert_eq!(keys(&page(&kvd, "?page_size=100&cursor=").await), all);
}

async fn a_page_past_the_end_is_empty_with_the_true_total(env: Env) {
    let kvd = env.start().await;
    kvd.create_all(numbered(12)).await;
    for number in [3, 4, 1_000_000] {
        let answer = kvd.get(&format!("/items/?page={number}")).await.expect(200);
        let page = answer.json();
        assert_eq!(page["items"], json!([]));
        assert_eq!(page["page"], number);
        assert_eq!(
            (&page["total"], &page["total_pages"]),
            (&json!(12), &json!(2))
        );
        assert!(!answer.links().contains_key("next"));
    }
}

async fn numbers_out_of_range_are_400_never_clamped(env: Env) {
    let kvd = env.start().await;
    let _item = kvd.create("a", "").await;
    let bad = [
        "0",
        "-1",
        "",
        "abc",
        "1.5",
        "1e1",
        "0x1",
        "%201",
        "1%20",
        "-0",
        "१",
        "99999999999999999999999",
    ];
    for number in bad {
        for name in ["page", "page_size"] {
            let answer = kvd.get(&format!("/items/?{name}={number}")).await;
            answer.problem(400, "invalid-request");
        }
    }
    for size in ["101", "1000", "18446744073709551617"] {
        let answer = kvd.get(&format!("/items/?page_size={size}")).await;
        answer.problem(400, "invalid-request");
    }
    for query in [
        "keys_only=maybe",
        "keys_only=",
        "count=some",
        "count=",
        "page",
        "page_size",
    ] {
        let answer = kvd.get(&format!("/items/?{query}")).await;
        answer.problem(400, "invalid-request");
    }
}

async fn absurd_numbers_are_no_server_error(env: Env) {
    let kvd = env.start().await;
    let _item = kvd.create("a", "").await;
    for number in [
        u64::from(u32::MAX),
        (1 << 53) + 1,
        i64::MAX as u64 / 100,
        i64::MAX as u64,
        u64::MAX,
    ] {
        for query in ["", "&count=none", "&prefix=a", "&keys_only=true"] {
            let answer = kvd
                .get(&format!("/items/?page_size=100&page={number}{query}"))
                .await;
            match answer.status {
                200 => assert_eq!(answer.json()["items"], json!([])),
                _ => drop(answer.problem(400, "invalid-request")),
            }
        }
    }
}

async fn keys_only_leaves_out_the_values(env: Env) {
    let kvd = env.start().await;
    let created = kvd.create("a", "secret").await.json();
    let mut expected = created.clone();
    expected.as_object_mut().expect("an object").remove("value");
    for query in [
        "?keys_only=true",
        "?keys_only=true&cursor=",
        "?keys_only=true&count=none&prefix=a",
    ] {
        assert_eq!(
            page(&kvd, query).await["items"],
            json!([expected]),
            "{query}"
        );
    }
    assert_eq!(
        page(&kvd, "?keys_only=false").await["items"],
        json!([created])
    );
}

// Long: it is one table of cases.
async fn unknown_and_repeated_parameters_are_400(env: Env) {
    let kvd = env.start().await;
    let _item = kvd.create("a", "").await;
    let lists = [
        "x=1",
        "Page=1",
        "page_size=1&pagesize=1",
        "limit=5",
        "page=1&page=1",
        "page=1&page=2",
        "prefix=a&prefix=a",
        "keys_only=true&keys_only=true",
        "count=none&count=exact",
        "cursor=&cursor=",
        "upsert=true",
        "=",
        "p%61ge=1&page=1",
    ];
    for query in lists {
        let answer = kvd.get(&format!("/items/?{query}")).await;
        answer.problem(400, "invalid-request");
    }
    for query in ["x=1", "upsert=true", "page=1"] {
        kvd.get(&format!("/items/a?{query}"))
            .await
            .problem(400, "invalid-request");
        kvd.delete(&format!("/items/a?{query}"))
            .await
            .problem(400, "invalid-request");
    }
    for query in [
        "x=1",
        "upsert=true&x=1",
        "upsert=true&upsert=true",
        "upsert=maybe",
        "upsert=",
        "Upsert=true",
    ] {
        let put = kvd.put(&format!("/items/a?{query}"), "changed").await;
        put.problem(400, "invalid-request");
    }
    let post = kvd.request(reqwest::Method::POST, "/items/?upsert=true");
    let post = post.json(&json!({"key": "b", "value": ""})).await;
    post.problem(400, "invalid-request");
    let read = kvd.get("/items/a").await.expect(200);
    assert_eq!(read.json()["version"], 1, "nothing was written");
}
