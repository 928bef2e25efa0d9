//! `kvctl list` and `kvctl count`: which items, in which order, in which form.

use std::{fmt::Write, process::Stdio};

use serde_json::Value;
use tests::{
    Engine, Env,
    binaries::binary,
    pace::{PATIENCE, timeout},
    process,
};
use tokio::{io::AsyncReadExt, process::Command};

use crate::kvctl::said::assert_failed;

tests::list! {
    EveryEngine =>
        items_are_listed_in_the_byte_order_of_their_keys,
        a_prefix_is_meant_to_the_letter,
        after_and_limit_walk_through_all_items_once,
        the_items_of_json_are_those_of_get,
        lines_show_control_characters_and_nothing_else_escaped,
        nothing_to_list_is_nothing_on_stdout,
        many_items_are_listed_to_the_last,
        who_stops_reading_is_no_failure,
        keys_that_break_the_rule_are_listed_and_counted;
    Once =>
        a_table_in_a_pipe_is_as_wide_as_columns_says,
        a_table_heads_its_columns_and_aligns_them,
        list_and_count_refuse_what_they_cannot_do
}

/// Keys whose order differs under every collation but that of the bytes.
const KEYS: [&str; 16] = [
    " ", "%", "A", "B", "Z", "_", "a", "a ", "a%", "a%b", "a_", "ab", "a😀", "á", "漢字", "😀",
];

/// Puts rows into the table past kvd and kvctl; no quotes or backslashes in them.
pub(crate) async fn insert(env: &Env, rows: impl IntoIterator<Item = (String, String)>) {
    let key = match env.engine() {
        Engine::Mysql => "`key`",
        Engine::Postgres | Engine::Sqlite => "key",
    };
    let mut sql = format!("INSERT INTO items ({key}, value) VALUES");
    let mut separator = ' ';
    for (key, value) in rows {
        write!(sql, "{separator}('{key}', '{value}')").expect("a string takes it");
        separator = ',';
    }
    let _inserted = env.database().execute(&sql).await;
}

/// Each of these keys with the same value.
pub(crate) async fn insert_keys(env: &Env, keys: &[&str]) {
    let row = |key: &&str| ((*key).to_owned(), "x".to_owned());
    insert(env, keys.iter().map(row)).await;
}

/// What kvctl writes with these words.
async fn said(env: &Env, words: &[&str]) -> String {
    let output = env.kvctl([]).args(words).await.expect(0);
    assert_eq!(output.stderr, "", "{words:?}");
    output.text().to_owned()
}

/// The keys listed with these words.
async fn keys(env: &Env, words: &[&str]) -> Vec<String> {
    let listed = said(env, &[&["list", "--keys"], words].concat()).await;
    listed.lines().map(str::to_owned).collect()
}

async fn items_are_listed_in_the_byte_order_of_their_keys(env: Env) {
    let mut shuffled = KEYS;
    env.random().shuffle(&mut shuffled);
    insert_keys(&env, &shuffled).await;
    assert!(KEYS.is_sorted());
    assert_eq!(keys(&env, &[]).await, KEYS);
    let lines: String = KEYS.iter().map(|key| format!("{key}\tx\n")).collect();
    assert_eq!(said(&env, &["list"]).await, lines);
    assert_eq!(said(&env, &["count"]).await, format!("{}\n", KEYS.len()));
}

async fn a_prefix_is_meant_to_the_letter(env: Env) {
    insert_keys(&env, &KEYS).await;
    for prefix in [
        "", " ", "%", "_", "a", "A", "a%", "a_", "á", "漢", "😀", "a😀", "b", "%%",
    ] {
        let meant: Vec<_> = KEYS
            .into_iter()
            .filter(|key| key.starts_with(prefix))
            .collect();
        assert_eq!(keys(&env, &[prefix]).await, meant, "{prefix}");
        let counted = said(&env, &["count", prefix]).await;
        assert_eq!(counted, format!("{}\n", meant.len()), "{prefix}");
        let json = said(&env, &["count", prefix, "-o", "json"]).await;
        assert_eq!(json, format!("{{\"count\":{}}}\n", meant.len()));
    }
}

async fn after_and_limit_walk_through_all_items_once(env: Env) {
    insert_keys(&env, &KEYS).await;
    for limit in [1, 5, KEYS.len(), KEYS.len() + 1] {
        let (mut walked, mut after): (Vec<String>, _) = (Vec::new(), String::new());
        loop {
            let words = ["--after", &after, "--limit", &limit.to_string()];
            let page = keys(&env, &words).await;
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after.clone_from(last);
            walked.extend(page);
        }
        assert_eq!(walked, KEYS, "{limit}");
    }
    let missing = keys(&env, &["--after", "aa"]).await;
    assert_eq!(missing, &KEYS[11..], "a key that does not exist");
    let both = keys(&env, &["a", "--after", "a%", "--limit", "2"]).await;
    assert_eq!(both, ["a%b", "a_"]);
    assert_eq!(keys(&env, &["a", "--after", "😀"]).await, [""; 0]);
    assert_eq!(keys(&env, &["b", "--after", "a"]).await, [""; 0]);
    let more_than_any = ["--limit", "18446744073709551615"];
    assert_eq!(keys(&env, &more_than_any).await, KEYS);
}

async fn the_items_of_json_are_those_of_get(env: Env) {
    let values = ["", "line\nline\t", "\"quoted\" \\ é😀", "\u{1b}[31m\u{7f}"];
    let mut got = Vec::new();
    for (number, value) in values.iter().enumerate() {
        let key = format!("k{number}");
        let _put = env.kvctl(["put", &key, value]).await.expect(0);
        let item = said(&env, &["get", &key, "-o", "json"]).await;
        got.push(serde_json::from_str::<Value>(&item).expect("JSON"));
    }
    let without_value = |mut item: Value| {
        let members = item.as_object_mut().expect("an item");
        assert!(members.remove("value").is_some());
        item
    };
    for flags in [&[][..], &["--keys"]] {
        let expected: Vec<_> = match flags {
            [] => got.clone(),
            _ => got.iter().cloned().map(without_value).collect(),
        };
        let array = said(&env, &[&["list", "-o", "json"], flags].concat()).await;
        assert!(array.ends_with('\n'));
        let array: Value = serde_json::from_str(&array).expect("JSON");
        assert_eq!(array, Value::Array(expected.clone()));
        let lines = said(&env, &[&["list", "-o", "ndjson"], flags].concat()).await;
        let lines = lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        assert_eq!(lines.collect::<Vec<Value>>(), expected);
    }
}

async fn lines_show_control_characters_and_nothing_else_escaped(env: Env) {
    for (value, shown) in [
        ("a\nb\r\n", "a\\nb\\r\\n"),
        ("tab\there", "tab\\there"),
        ("\u{1}\u{1b}[31mred\u{7f}", "\\u{1}\\u{1b}[31mred\\u{7f}"),
        ("\u{80}\u{9b}31m\u{9f}", "\\u{80}\\u{9b}31m\\u{9f}"),
        (
            "back\\slash 'quotes\" é\u{a0}漢😀",
            "back\\slash 'quotes\" é\u{a0}漢😀",
        ),
        ("", ""),
    ] {
        let _put = env.kvctl(["put", "a", value]).await.expect(0);
        assert_eq!(said(&env, &["list"]).await, format!("a\t{shown}\n"));
    }
    // Allowed in a key, and a command to some terminals.
    let _put = env.kvctl(["put", "b\u{9b}", "x"]).await.expect(0);
    assert_eq!(keys(&env, &["b"]).await, ["b\\u{9b}"]);
}

async fn nothing_to_list_is_nothing_on_stdout(env: Env) {
    let listings = async |expected: &[(&str, &str)], more: &[&str]| {
        for (form, nothing) in expected {
            let words = [&["list", "-o", form], more].concat();
            let output = env.kvctl([]).args(&words).await.expect(0);
            assert_eq!(output.text(), *nothing, "{words:?}");
        }
    };
    let nothing = [
        ("text", ""),
        ("ndjson", ""),
        ("json", "[]\n"),
        ("table", ""),
    ];
    listings(&nothing, &[]).await;
    insert_keys(&env, &["a"]).await;
    listings(&nothing, &["b"]).await;
    listings(&nothing, &["--after", "a"]).await;
    assert_eq!(said(&env, &["list", "b"]).await, "");
    assert_eq!(said(&env, &["count", "b"]).await, "0\n");
}

/// More than one batch of whatever a driver fetches, and more bytes than a pipe holds.
async fn insert_many(env: &Env, rows: usize) {
    let value = "v".repeat(100);
    let row = |n| (format!("k{n:05}"), format!("{n}{value}"));
    insert(env, (0..rows).map(row)).await;
}

async fn many_items_are_listed_to_the_last(env: Env) {
    insert_many(&env, 2_500).await;
    let all: Vec<_> = (0..2_500).map(|n| format!("k{n:05}")).collect();
    assert!(keys(&env, &[]).await == all, "other keys");
    let last = keys(&env, &["--limit", "1500", "--after", "k00999"]).await;
    assert!(last == all[1_000..], "other keys");
    let lines = said(&env, &["list"]).await;
    assert!(
        lines
            .lines()
            .zip(&all)
            .all(|(line, key)| line.starts_with(key))
    );
    assert_eq!(lines.lines().count(), 2_500);
    assert_eq!(
        said(&env, &["list", "-o", "ndjson"]).await.lines().count(),
        2_500
    );
    let array: Value =
        serde_json::from_str(&said(&env, &["list", "-o", "json"]).await).expect("JSON");
    assert_eq!(array.as_array().map(Vec::len), Some(2_500));
    let table = said(&env, &["list", "-o", "table"]).await;
    assert_eq!(table.lines().count(), 2_501);
    assert_eq!(said(&env, &["count"]).await, "2500\n");
}

async fn who_stops_reading_is_no_failure(env: Env) {
    insert_many(&env, 2_500).await;
    let kvctl = binary("kvctl").unwrap_or_else(|e| panic!("{e}"));
    for form in ["text", "table", "json", "ndjson"] {
        let mut child = Command::new(&kvctl)
            .args(["list", "-o", form])
            .env("DATABASE_URL", env.database().url())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("kvctl starts");
        let mut pipe = child.stdout.take().expect("stdout is piped");
        pipe.read_exact(&mut [0]).await.expect("the first byte");
        drop(pipe);
        let ended = timeout(PATIENCE, child.wait_with_output()).await;
        let ended = ended.expect("it ends").expect("it is waited for");
        assert_eq!(process::code(ended.status), 0, "{form}");
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{form}");
    }
}

async fn keys_that_break_the_rule_are_listed_and_counted(env: Env) {
    let odd = ["", "\u{1}", "\tb", ".", "..", "line\nbreak", "\u{7f}"];
    insert_keys(&env, &odd).await;
    let shown = ["", "\\u{1}", "\\tb", ".", "..", "line\\nbreak", "\\u{7f}"];
    assert_eq!(keys(&env, &[]).await, shown);
    assert_eq!(said(&env, &["count"]).await, "7\n");
    assert_eq!(keys(&env, &["line\n"]).await, ["line\\nbreak"]);
    assert_eq!(said(&env, &["count", "\t"]).await, "1\n");
    assert_eq!(keys(&env, &["--after", "line\nb"]).await, shown[5..]);
    let table = said(&env, &["list", "-o", "table"]).await;
    assert_eq!(table.lines().count(), 8, "{table}");
    let array = said(&env, &["list", "-o", "json"]).await;
    let array: Vec<Value> = serde_json::from_str(&array).expect("JSON");
    let exact: Vec<_> = array.iter().map(|item| item["key"].clone()).collect();
    assert_eq!(exact, odd);
}

async fn a_table_in_a_pipe_is_as_wide_as_columns_says(env: Env) {
    insert(&env, [("k".repeat(300), "v".repeat(300))]).await;
    for (columns, width) in [
        ("40", 40),
        ("60", 60),
        ("200", 200),
        ("", 80),
        ("0", 80),
        ("-1", 80),
        ("wide", 80),
    ] {
        let table = env.kvctl(["list", "-o", "table"]).env("COLUMNS", columns);
        let table = table.await.expect(0);
        let row = table.text().lines().nth(1).expect("a row");
        assert!(row.contains("k…") && row.contains("v…"), "{row}");
        let widest = table.text().lines().map(|line| line.chars().count()).max();
        // Where the times have no room the others may use it, so what is left over is little.
        let widest = widest.unwrap_or_default();
        assert!((width - 4..=width).contains(&widest), "{widest}: {row}");
        assert!(!table.text().contains('\u{1b}'));
    }
    let unset = env.kvctl(["list", "-o", "table"]).await.expect(0);
    let line = unset.text().lines().nth(1).expect("a row");
    assert!((76..=80).contains(&line.chars().count()), "{line}");
}

async fn a_table_heads_its_columns_and_aligns_them(env: Env) {
    let _put = env.kvctl(["put", "a", "1"]).await.expect(0);
    let _put = env.kvctl(["put", "longer/key", "x\ny"]).await.expect(0);
    let _put = env.kvctl(["put", "漢", "字"]).await.expect(0);
    let table = said(&env, &["list", "-o", "table"]).await;
    let lines: Vec<_> = table.lines().collect();
    let words =
        |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
    assert_eq!(
        words(lines[0]),
        ["KEY", "VALUE", "VERSION", "UPDATED", "ENDS"]
    );
    assert_eq!(words(lines[1])[..3], ["a", "1", "1"]);
    assert_eq!(words(lines[2])[..3], ["longer/key", "x\\ny", "1"]);
    assert_eq!(words(lines[3])[..3], ["漢", "字", "1"]);
    assert_eq!(lines.len(), 4);
    let at = |title: &str| lines[0].find(title).expect("a title");
    assert_eq!(lines[1].find('1'), Some(at("VALUE")));
    assert_eq!(lines[2].find("x\\ny"), Some(at("VALUE")));
    // Three bytes on two columns.
    assert_eq!(lines[3].find('字'), Some(at("VALUE") + 1));
    let keys = said(&env, &["list", "--keys", "-o", "table"]).await;
    let heads = words(keys.lines().next().expect("a line"));
    assert_eq!(heads, ["KEY", "VERSION", "UPDATED", "ENDS"]);
}

async fn list_and_count_refuse_what_they_cannot_do(env: Env) {
    let long = "p".repeat(513);
    for (words, named) in [
        (&["list", "--limit", "0"][..], "--limit"),
        (&["list", "--limit=-1"], "--limit"),
        (&["list", "--limit", "many"], "--limit"),
        (&["list", "--limit"], "--limit"),
        (&["list", "--after"], "--after"),
        (&["list", "a", "b"], "b"),
        (&["list", &long], "512"),
        (&["list", "-o", "yaml"], "yaml"),
        (&["count", "-o", "table"], "table"),
        (&["count", "--limit", "1"], "--limit"),
        (&["count", "a", "b"], "b"),
        (&["count", &long], "512"),
    ] {
        let output = env.kvctl([]).args(words).await;
        assert_failed(output, 2, named);
    }
}
