//! Walking by cursor: once through everything, whatever happens meanwhile.

use std::collections::BTreeSet;

use serde_json::Value;
use tests::{Client, Env};

use crate::http::pages::{keys, numbered, page};

tests::list! {
    EveryEngine =>
        a_walk_sees_every_key_once_in_order,
        a_walk_of_a_prefix_stays_within_it,
        a_walk_has_no_page_and_no_totals_unless_counted,
        the_next_link_walks_too,
        a_walk_sees_no_key_twice_and_skips_none_that_stays,
        a_walk_goes_on_after_the_key_it_stopped_at_is_gone,
        a_cursor_holds_any_key,
        page_size_and_keys_only_may_change_on_the_way,
        a_cursor_works_on_every_server_of_a_database,
        cursor_with_page_is_400,
        cursor_with_another_prefix_is_400,
        a_broken_cursor_is_400
}

/// The page after this one, if there is one.
async fn next(kvd: &Client, page_before: &Value, query: &str) -> Option<Value> {
    let cursor = page_before["next_cursor"].as_str()?;
    Some(page(kvd, &format!("?cursor={cursor}{query}")).await)
}

/// All keys of a walk.
async fn walk(kvd: &Client, query: &str) -> Vec<String> {
    let mut current = page(kvd, &format!("?cursor={query}")).await;
    let mut seen = keys(&current);
    while let Some(following) = next(kvd, &current, query).await {
        let more = keys(&following);
        assert!(more.first() > seen.last(), "no step forward: {more:?}");
        current = following;
        seen.extend(more);
    }
    seen
}

async fn a_walk_sees_every_key_once_in_order(env: Env) {
    let kvd = env.start().await;
    assert!(walk(&kvd, "").await.is_empty());
    let all = numbered(45);
    kvd.create_all(all.iter().rev()).await;
    // 9 and 45: the last page is full, so only a look beyond it tells that it is the last.
    for size in [1, 7, 9, 10, 44, 45, 46, 100] {
        assert_eq!(
            walk(&kvd, &format!("&page_size={size}")).await,
            all,
            "page_size {size}"
        );
    }
    assert_eq!(walk(&kvd, "").await, all, "10 by default");
    let last = page(&kvd, "?cursor=&page_size=45").await;
    assert_eq!(
        last["next_cursor"],
        Value::Null,
        "nothing follows a full last page"
    );
}

async fn a_walk_of_a_prefix_stays_within_it(env: Env) {
    let kvd = env.start().await;
    let inside: Vec<String> = numbered(7).iter().map(|key| format!("ü/%{key}")).collect();
    kvd.create_all(&inside).await;
    kvd.create_all(["ü", "ü/", "ü/$", "ü/&", "ü0", "a", "ý"])
        .await;
    assert_eq!(walk(&kvd, "&prefix=%C3%BC%2F%25&page_size=2").await, inside);
    assert!(walk(&kvd, "&prefix=nothing").await.is_empty());
}

async fn a_walk_has_no_page_and_no_totals_unless_counted(env: Env) {
    let kvd = env.start().await;
    kvd.create_all(numbered(5)).await;
    let mut plain = page(&kvd, "?cursor=&page_size=2").await;
    let mut counted = page(&kvd, "?cursor=&page_size=2&count=exact").await;
    for _ in 0..2 {
        for page in [&plain, &counted] {
            assert_eq!(page["page"], Value::Null);
            assert_eq!(page["page_size"], 2);
        }
        assert_eq!(
            (&plain["total"], &plain["total_pages"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(counted["total"], 5, "all of them, wherever the walk is");
        assert_eq!(counted["total_pages"], 3);
        plain = next(&kvd, &plain, "&page_size=2").await.expect("more");
        counted = next(&kvd, &counted, "&page_size=2&count=exact")
            .await
            .expect("more");
    }
    let uncounted = page(&kvd, "?cursor=&count=none").await;
    assert_eq!(uncounted["total"], Value::Null);
}

async fn the_next_link_walks_too(env: Env) {
    let kvd = env.start().await;
    let all = numbered(7);
    kvd.create_all(&all).await;
    kvd.create_all(["a", "z"]).await;
    let start = "/items/?cursor=&page_size=3&prefix=k-&keys_only=true";
    let mut answer = kvd.get(start).await.expect(200);
    let first = answer.json();
    let mut seen = keys(&first);
    for _ in 0..2 {
        let links = answer.links();
        assert!(
            !links.contains_key("prev") && !links.contains_key("last"),
            "{links:?}"
        );
        let back = kvd.get(&links["first"]).await.expect(200);
        assert_eq!(back.json(), first);
        answer = kvd.get(&links["next"]).await.expect(200);
        assert!(
            answer.json()["items"][0].get("value").is_none(),
            "keys_only is kept"
        );
        seen.extend(keys(&answer.json()));
    }
    assert_eq!(seen, all);
    assert!(!answer.links().contains_key("next"));
}

async fn a_walk_sees_no_key_twice_and_skips_none_that_stays(env: Env) {
    let kvd = env.start().await;
    let mut random = env.random();
    let staying: BTreeSet<String> = numbered(60).into_iter().collect();
    kvd.create_all(&staying).await;
    let fleeting: Vec<String> = staying.iter().map(|key| format!("{key}x")).collect();
    kvd.create_all(fleeting.iter().step_by(2)).await;

    let mut current = page(&kvd, "?cursor=&page_size=7").await;
    let mut seen = keys(&current);
    loop {
        // Rows come and go, and stay with another value, before and after where the walk is.
        for _ in 0..6 {
            let path = format!("/items/{}", fleeting[random.usize(..fleeting.len())]);
            let gone = kvd.delete(&path).await.status == 204;
            if !gone {
                let _came = kvd
                    .put(&format!("{path}?upsert=true"), "")
                    .await
                    .expect(201);
            }
            let stays = format!("/items/k-{:03}", random.usize(..staying.len()));
            let _changed = kvd.put(&stays, "changed").await.expect(200);
        }
        let Some(following) = next(&kvd, &current, "&page_size=7").await else {
            break;
        };
        current = following;
        seen.extend(keys(&current));
    }
    assert!(
        seen.is_sorted_by(|a, b| a < b),
        "twice or out of order: {seen:?}"
    );
    let seen: BTreeSet<String> = seen.into_iter().collect();
    let skipped: Vec<&String> = staying.difference(&seen).collect();
    assert!(skipped.is_empty(), "{skipped:?}");
}

async fn a_walk_goes_on_after_the_key_it_stopped_at_is_gone(env: Env) {
    let kvd = env.start().await;
    let all = numbered(6);
    kvd.create_all(&all).await;
    let first = page(&kvd, "?cursor=&page_size=3").await;
    for key in [&all[2], &all[3]] {
        let _deleted = kvd.delete(&format!("/items/{key}")).await.expect(204);
    }
    let _came = kvd.create("k-001a", "").await;
    let second = next(&kvd, &first, "&page_size=3").await.expect("more");
    assert_eq!(keys(&second), all[4..]);
    assert_eq!(second["next_cursor"], Value::Null);
}

async fn a_cursor_holds_any_key(env: Env) {
    let kvd = env.start().await;
    let mut all = vec![
        "k".repeat(512),
        "😀".repeat(128),
        "\u{10ffff}".into(),
        "\"".into(),
        "&=".into(),
        "%".into(),
        "\\".into(),
        " ".into(),
        "a\u{301}".into(),
        "á".into(),
        "日本".into(),
    ];
    kvd.create_all(&all).await;
    all.sort_unstable();
    assert_eq!(walk(&kvd, "&page_size=1").await, all);
}

async fn page_size_and_keys_only_may_change_on_the_way(env: Env) {
    let kvd = env.start().await;
    let all = numbered(9);
    kvd.create_all(&all).await;
    let first = page(&kvd, "?cursor=&page_size=2").await;
    let second = next(&kvd, &first, "&page_size=4&keys_only=true")
        .await
        .expect("more");
    assert_eq!(keys(&second), all[2..6]);
    let third = next(&kvd, &second, "").await.expect("more");
    assert_eq!(keys(&third), all[6..]);
}

async fn a_cursor_works_on_every_server_of_a_database(env: Env) {
    let (one, two) = (env.start().await, env.start().await);
    let all = numbered(6);
    one.create_all(&all).await;
    let first = page(&one, "?cursor=&page_size=4").await;
    let second = next(&two, &first, "&page_size=4").await.expect("more");
    assert_eq!(keys(&second), all[4..]);
}

async fn cursor_with_page_is_400(env: Env) {
    let kvd = env.start().await;
    kvd.create_all(numbered(3)).await;
    let first = page(&kvd, "?cursor=&page_size=1").await;
    let cursor = first["next_cursor"].as_str().expect("more");
    for query in [
        format!("cursor={cursor}&page=1"),
        "page=1&cursor=".into(),
        "cursor=&page=2".into(),
    ] {
        let answer = kvd.get(&format!("/items/?{query}")).await;
        answer.problem(400, "invalid-request");
    }
}

async fn cursor_with_another_prefix_is_400(env: Env) {
    let kvd = env.start().await;
    kvd.create_all(numbered(5)).await;
    for (began, others) in [("k", ["", "k-", "K", "a"]), ("", ["k", "k-", "a", "%25"])] {
        let first = page(&kvd, &format!("?cursor=&page_size=1&prefix={began}")).await;
        let cursor = first["next_cursor"].as_str().expect("more");
        for other in others {
            let answer = kvd
                .get(&format!("/items/?cursor={cursor}&prefix={other}"))
                .await;
            answer.problem(400, "invalid-request");
        }
        let same = page(&kvd, &format!("?cursor={cursor}&prefix={began}")).await;
        assert_eq!(keys(&same), numbered(5)[1..]);
    }
    // No prefix and an empty one are the same.
    let first = page(&kvd, "?cursor=&page_size=1").await;
    let _second = next(&kvd, &first, "&prefix=").await.expect("more");
}

// Long: it is one table of cases.
async fn a_broken_cursor_is_400(env: Env) {
    let kvd = env.start().await;
    kvd.create_all(numbered(3)).await;
    let first = page(&kvd, "?cursor=&page_size=1").await;
    let cursor = first["next_cursor"].as_str().expect("more").to_owned();
    assert!(
        cursor
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)),
        "{cursor} needs no encoding in a URL"
    );
    let mut broken: Vec<String> = (1..cursor.len())
        .map(|end| cursor[..end].to_owned())
        .collect();
    for position in 0..cursor.len() {
        let mut flipped = cursor.clone().into_bytes();
        flipped[position] = if flipped[position] == b'A' {
            b'B'
        } else {
            b'A'
        };
        broken.extend(String::from_utf8(flipped));
    }
    broken.extend([
        format!("{cursor}A"),
        format!("{cursor}{cursor}"),
        format!("A{cursor}"),
        cursor.to_uppercase(),
    ]);
    broken.extend(
        [
            "x", "k-000", "null", "0", "%00", "%FF", "%20", "=", "AAAA", "😀",
        ]
        .map(str::to_owned),
    );
    let mut random = env.random();
    for _ in 0..20 {
        let length = random.usize(1..80);
        broken.push(
            std::iter::repeat_with(|| random.alphanumeric())
                .take(length)
                .collect(),
        );
    }
    broken.push("A".repeat(5000));
    for cursor in broken {
        let answer = kvd.get(&format!("/items/?cursor={cursor}")).await;
        assert_eq!(answer.status, 400, "cursor {cursor}");
        answer.problem(400, "invalid-request");
    }
}
