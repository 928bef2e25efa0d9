//! What `kvctl import` and `seed --file` say of a file that is no NDJSON.

use std::fs;

use tests::{Env, process::Output};

use crate::kvctl::{
    import::{ERROR, count, import, lines, said},
    said::assert_failed,
};

tests::list! {
    Once =>
        wide_characters_are_named_with_and_without_a_mark,
        compressed_files_and_those_of_other_programs_are_named,
        json_that_is_no_line_is_named,
        empty_lines_and_a_mark_before_it_change_nothing,
        seed_names_them_too,
        text_of_other_programs_is_named,
        what_the_messages_show_for_json_works
}

/// It names the format and what to do, and has stored nothing.
async fn assert_named(env: &Env, refused: Output, format: &str) {
    assert!(refused.stderr.contains("NDJSON; "), "{}", refused.stderr);
    assert!(refused.stderr.len() < 300, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("nothing was written"),
        "{}",
        refused.stderr
    );
    assert_failed(refused, 2, format);
    assert_eq!(count(env).await, 0);
}

async fn wide_characters_are_named_with_and_without_a_mark(env: Env) {
    for mark in ["\u{feff}", "", "\n", "\r\n"] {
        let text = format!("{mark}{}", lines([("k", "é🙂"), ("l", "漢")]));
        let units: Vec<u16> = text.encode_utf16().collect();
        let points: Vec<u32> = text.chars().map(u32::from).collect();
        for (format, bytes) in [
            (
                "UTF-16",
                units.iter().flat_map(|c| c.to_le_bytes()).collect(),
            ),
            (
                "UTF-16",
                units
                    .iter()
                    .flat_map(|c| c.to_be_bytes())
                    .collect::<Vec<_>>(),
            ),
            (
                "UTF-32",
                points.iter().flat_map(|c| c.to_le_bytes()).collect(),
            ),
            (
                "UTF-32",
                points.iter().flat_map(|c| c.to_be_bytes()).collect(),
            ),
        ] {
            // An empty first line of wide characters is told by its own zeros, which are those of either width.
            let format = if mark.starts_with(['\r', '\n']) {
                "UTF-"
            } else {
                format
            };
            assert_named(&env, import(&env, ERROR, bytes).await, format).await;
        }
    }
}

async fn compressed_files_and_those_of_other_programs_are_named(env: Env) {
    let mut tar = vec![0; 1024];
    tar[..7].copy_from_slice(b"a.jsonl");
    tar[257..262].copy_from_slice(b"ustar");
    for (bytes, format) in [
        (&b"\x1f\x8b\x08\x00\n\n\n\n\x00\x03"[..], "gzip"),
        (b"\x1f\x8b", "gzip"),
        (b"\x28\xb5\x2f\xfd\x24\x0a", "zstd"),
        (b"BZh91AY&SY\n", "bzip2"),
        (b"\xfd7zXZ\0\0\n", "xz"),
        (b"PK\x03\x04\x14\0\n", "ZIP"),
        (b"SQLite format 3\0\x10\0", "SQLite"),
        (b"PGDMP\x01\x0e\0", "PostgreSQL"),
        (&tar, "tar"),
    ] {
        assert_named(&env, import(&env, ERROR, bytes).await, format).await;
        fs::write(env.directory().join("a file"), bytes).expect("a file");
        let refused = env.kvctl(["import", "a file"]).await;
        assert!(refused.stderr.contains("a file: "), "{}", refused.stderr);
        assert_named(&env, refused, format).await;
    }
}

const ARRAYS: [&str; 4] = [
    r#"[{"key":"k","value":"v"}]"#,
    "[\n  {\"key\":\"k\",\"value\":\"v\"}\n]\n",
    "[]",
    "[",
];

async fn json_that_is_no_line_is_named(env: Env) {
    for array in ARRAYS {
        assert_named(&env, import(&env, ERROR, array).await, "JSON array").await;
    }
    let document = "{\n  \"key\": \"k\",\n  \"value\": \"v\"\n}\n";
    assert_named(&env, import(&env, ERROR, document).await, "several lines").await;
}

async fn empty_lines_and_a_mark_before_it_change_nothing(env: Env) {
    for before in ["\u{feff}", "\n", " \r\n\n\t", "\u{feff}\n \n"] {
        let text = format!("{before}{}", ARRAYS[0]);
        assert_named(&env, import(&env, ERROR, text).await, "JSON array").await;
        let text = format!("{before}{}", lines([("k", "v")]));
        let imported = import(&env, &["--dry-run"], text).await.expect(0);
        assert_eq!(imported.text(), said(1, 0, 0), "{before:?}");
    }
}

async fn seed_names_them_too(env: Env) {
    fs::write(env.directory().join("items.json"), ARRAYS[1]).expect("a file");
    let refused = env.kvctl(["seed", "--file", "items.json"]).await;
    assert_named(&env, refused, "JSON array").await;
}

async fn text_of_other_programs_is_named(env: Env) {
    for table in ["key,value\nk,v\n", "\"key\";\"value\"\n", "k\tv\n"] {
        assert_named(&env, import(&env, ERROR, table).await, "CSV").await;
    }
    for (text, format) in [("<html>\n", "XML or HTML"), ("---\n- key: k\n", "YAML")] {
        assert_named(&env, import(&env, ERROR, text).await, format).await;
    }
    for sql in [
        "--\n-- PostgreSQL database dump\n--\n",
        "/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump\n",
        "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n",
        "INSERT INTO items (key, value) VALUES ('k', 'v');\n",
        "insert into items values (1, 'k', 'v');\n",
        "CREATE TABLE items (key text, value text);\n",
        "\n  create table items (\n",
    ] {
        assert_named(&env, import(&env, ERROR, sql).await, "this is SQL").await;
    }
    // Only the first line tells a format: behind an item it is a bad line like any other.
    let late = lines([("k", "v")]) + "key,value\n";
    assert_failed(import(&env, ERROR, late).await, 2, "line 2: ");
}

async fn what_the_messages_show_for_json_works(env: Env) {
    let _seeded = env.kvctl(["seed", "--count", "3"]).await.expect(0);
    let array = env.kvctl(["list", "-o", "json"]).await.expect(0);
    let exported = env.kvctl(["export"]).await.expect(0);
    let _fresh = env.kvctl(["migrate", "fresh", "--yes"]).await.expect(0);
    let refused = import(&env, ERROR, array.text()).await;
    assert!(
        refused.stderr.contains("kvctl export"),
        "{}",
        refused.stderr
    );
    let imported = import(&env, ERROR, exported.text()).await.expect(0);
    assert_eq!(imported.text(), said(3, 0, 0));
}
