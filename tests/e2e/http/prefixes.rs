//! `prefix` on lists: which keys it finds, by page and by cursor.

use tests::{Client, Env, item};

use crate::http::pages::{keys, page};

tests::list! {
    EveryEngine =>
        prefix_matches_the_beginning_byte_for_byte,
        prefix_has_no_wildcards,
        prefix_ends_where_its_successor_begins
}

/// The keys that a prefix finds, by page and by cursor.
async fn found(kvd: &Client, prefix: &str) -> Vec<String> {
    let encoded = item(prefix).split_off("/items/".len());
    let by_page = page(kvd, &format!("?page_size=100&prefix={encoded}")).await;
    let by_cursor = page(
        kvd,
        &format!("?page_size=100&cursor=&count=exact&prefix={encoded}"),
    )
    .await;
    assert_eq!(by_page["items"], by_cursor["items"], "prefix {prefix:?}");
    let found = keys(&by_page);
    assert_eq!(by_page["total"], found.len(), "prefix {prefix:?}");
    assert_eq!(by_cursor["total"], found.len(), "prefix {prefix:?}");
    found
}

async fn assert_prefixes(kvd: &Client, all: &[&str], prefixes: &[&str]) {
    kvd.create_all(all).await;
    for prefix in prefixes {
        let mut expected: Vec<&str> = all
            .iter()
            .copied()
            .filter(|key| key.starts_with(prefix))
            .collect();
        expected.sort_unstable();
        assert_eq!(found(kvd, prefix).await, expected, "prefix {prefix:?}");
    }
}

async fn prefix_matches_the_beginning_byte_for_byte(env: Env) {
    let kvd = env.start().await;
    let all = [
        "a", "A", "ab", "aB", "a b", "b", "ba", "á", "áb", "a\u{301}", "é/1", "é/2", "É/1", "/",
        "//x", " x", "😀", "😀😀",
    ];
    let prefixes = [
        "", "a", "A", "ab", "abc", "a ", "á", "a\u{301}", "é/", "/", "//", " ", "😀", "x",
    ];
    assert_prefixes(&kvd, &all, &prefixes).await;
}

async fn prefix_has_no_wildcards(env: Env) {
    let kvd = env.start().await;
    let all = [
        "%", "%%", "%a", "_", "_a", "a%b", "a_b", "axb", "a\\b", "a\\%", "\\", "\\%", "[a]", "*",
        "*a", "?", "'", "'a", "\"",
    ];
    let prefixes = [
        "%", "_", "a%", "a_", "a\\", "\\", "\\%", "[", "[a", "*", "?", "'", "''", "\"", "%25",
    ];
    assert_prefixes(&kvd, &all, &prefixes).await;
}

// Long: it is one table of cases.
async fn prefix_ends_where_its_successor_begins(env: Env) {
    let kvd = env.start().await;
    // The last code points of each length in UTF-8, the gap of the surrogates, and the last of all.
    let ends = [
        "\u{7e}",
        "\u{80}",
        "\u{7ff}",
        "\u{800}",
        "\u{d7ff}",
        "\u{e000}",
        "\u{ffff}",
        "\u{10000}",
        "\u{10ffff}",
    ];
    let last = "\u{10ffff}";
    let mut all: Vec<String> = vec![
        "a".into(),
        "b".into(),
        "c".into(),
        last.repeat(2),
        last.repeat(128),
    ];
    for end in ends {
        all.extend([
            end.to_owned(),
            format!("{end}z"),
            format!("a{end}"),
            format!("a{end}z"),
            format!("a{end}{last}"),
        ]);
    }
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let mut prefixes: Vec<String> = vec![
        "a".into(),
        last.repeat(2),
        format!("a{last}{last}"),
        last.repeat(128),
    ];
    prefixes.extend(
        ends.iter()
            .flat_map(|end| [(*end).to_owned(), format!("a{end}")]),
    );
    let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    assert_prefixes(&kvd, &all, &prefixes).await;
}
