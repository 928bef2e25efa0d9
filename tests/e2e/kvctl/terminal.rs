//! `kvctl` for a person at a terminal.

use std::fs;

use tests::{
    Env,
    terminal::{
        self, ALL, Seen,
        Stream::{self, Stderr, Stdin, Stdout},
    },
};

tests::list! {
    Once =>
        get_adds_a_newline_only_on_a_terminal,
        what_is_typed_is_read,
        nothing_to_list_is_told_to_a_person_only,
        colour_is_for_terminals_and_can_be_turned_off,
        an_error_is_told_on_the_terminal,
        seed_and_import_show_their_progress_on_a_terminal_only,
        export_shows_its_progress_unless_the_items_are_on_the_screen
}

const STDOUT: &[Stream] = &[Stdout];
pub(crate) const STDERR: &[Stream] = &[Stderr];

/// Both are read by programs.
const NONE: &[Stream] = &[Stdin];

/// Runs it with these streams on a terminal that can show colours.
pub(crate) async fn on(env: &Env, streams: &[Stream], words: &[&str]) -> Seen {
    on_columns(env, 80, streams, words).await
}

pub(crate) async fn on_columns(
    env: &Env,
    columns: u16,
    streams: &[Stream],
    words: &[&str],
) -> Seen {
    let kvctl = env.kvctl([]).args(words).env("TERM", "xterm-256color");
    terminal::run(kvctl, columns, streams).await
}

/// Puts rows into the table past kvctl; no quotes in them.
pub(crate) async fn insert(env: &Env, rows: impl IntoIterator<Item = (String, String)>) {
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(key, value)| format!("('{key}', '{value}')"))
        .collect();
    let sql = format!("INSERT INTO items (key, value) VALUES {}", rows.join(","));
    let _inserted = env.database().execute(&sql).await;
}

async fn get_adds_a_newline_only_on_a_terminal(env: Env) {
    for value in ["value", "two\nlines", ""] {
        let _put = env.kvctl(["put", "a", value]).await.expect(0);
        for streams in [ALL, STDOUT] {
            let seen = on(&env, streams, &["get", "a"]).await.expect(0);
            let shown = seen.screen.replace("\r\n", "\n");
            assert_eq!(shown, format!("{value}\n"));
        }
        for streams in [STDERR, NONE] {
            let seen = on(&env, streams, &["get", "a"]).await.expect(0);
            assert_eq!((seen.stdout.as_str(), seen.screen.as_str()), (value, ""));
        }
        let seen = on(&env, ALL, &["get", "a", "-o", "json"]).await.expect(0);
        assert_eq!(seen.screen.matches('\n').count(), 1);
    }
}

async fn what_is_typed_is_read(env: Env) {
    // Ctrl-D at the beginning of a line is the end.
    let put = env.kvctl(["put", "a", "-"]).stdin("typed\nlines\n\u{4}");
    let seen = terminal::run(put, 80, ALL).await.expect(0);
    assert_eq!(seen.left().last().map(String::as_str), Some("1"));
    let got = env.kvctl(["get", "a"]).await.expect(0);
    assert_eq!(got.text(), "typed\nlines\n");
    let item = "{\"key\":\"b\",\"value\":\"typed\"}\n\u{4}";
    let import = env.kvctl(["import", "-"]).stdin(item);
    let seen = terminal::run(import, 80, &[Stdin]).await.expect(0);
    assert_eq!(seen.stdout, "created 1, updated 0, skipped 0\n");
}

async fn nothing_to_list_is_told_to_a_person_only(env: Env) {
    for words in [&["list"][..], &["list", "--keys"], &["list", "missing"]] {
        let seen = on(&env, STDOUT, words).await.expect(0);
        assert_eq!(seen.screen, "", "{words:?}");
        assert!(seen.stderr.contains("no items"), "{}", seen.stderr);
        let seen = on(&env, ALL, words).await.expect(0);
        assert!(seen.screen.contains("no items"), "{}", seen.screen);
        let seen = on(&env, NONE, words).await.expect(0);
        assert_eq!((seen.stdout, seen.stderr), (String::new(), String::new()));
    }
    let json = on(&env, ALL, &["list", "-o", "json"]).await.expect(0);
    assert_eq!(json.screen, "[]\r\n");
}

async fn colour_is_for_terminals_and_can_be_turned_off(env: Env) {
    let _put = env.kvctl(["put", "a", "b"]).await.expect(0);
    let calls: [(&[&str], i32); 3] = [(&["list"], 0), (&["get", "missing"], 1), (&["get"], 2)];
    for (words, code) in calls {
        let seen = on(&env, ALL, words).await.expect(code);
        assert!(seen.screen.contains('\u{1b}'), "no colour: {words:?}");
        for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let kvctl = env.kvctl([]).args(words);
            let kvctl = kvctl.env("TERM", "xterm").env(name, value);
            let seen = terminal::run(kvctl, 80, ALL).await.expect(code);
            assert!(!seen.screen.contains('\u{1b}'), "{name}: {}", seen.screen);
        }
        let seen = on(&env, NONE, words).await.expect(code);
        assert!(!seen.stdout.contains('\u{1b}'), "{}", seen.stdout);
        assert!(!seen.stderr.contains('\u{1b}'), "{}", seen.stderr);
    }
    // Each stream for itself.
    let table = on(&env, STDERR, &["list", "-o", "table"]).await.expect(0);
    assert!(!table.stdout.contains('\u{1b}'), "{}", table.stdout);
    let error = on(&env, STDOUT, &["get", "missing"]).await.expect(1);
    assert!(!error.stderr.contains('\u{1b}'), "{}", error.stderr);
}

async fn an_error_is_told_on_the_terminal(env: Env) {
    for (words, code, named) in [
        (&["get", "missing"][..], 1, "\"missing\""),
        (&["delete", "missing"], 1, "\"missing\""),
        (&["put", "", "x"], 2, "key"),
        (&["list", "--limit", "0"], 2, "--limit"),
        (&["import", "missing"], 2, "missing"),
    ] {
        let seen = on(&env, ALL, words).await.expect(code);
        assert!(seen.screen.contains(named), "{}", seen.screen);
        assert_eq!(seen.left().len(), 1, "{}", seen.screen);
        let seen = on(&env, STDERR, words).await.expect(code);
        assert!(seen.screen.contains(named), "{}", seen.screen);
        assert_eq!(seen.stdout, "");
        let seen = on(&env, STDOUT, words).await.expect(code);
        assert!(seen.stderr.contains(named), "{}", seen.stderr);
        assert_eq!(seen.screen, "");
    }
}

async fn seed_and_import_show_their_progress_on_a_terminal_only(env: Env) {
    let fresh = async || {
        let _fresh = env.kvctl(["migrate", "fresh", "--yes"]).await.expect(0);
    };
    let lines = |n| format!("{{\"key\":\"k{n}\",\"value\":\"{}\"}}\n", "v".repeat(100));
    let text: String = (0..10_000).map(lines).collect();
    fs::write(env.directory().join("items.ndjson"), &text).expect("a file");
    let done = "created 10000, updated 0, skipped 0";
    for (words, stdin) in [
        (&["seed", "--count", "10000"][..], ""),
        (&["import", "items.ndjson"], ""),
        (&["import", "-"], &text),
    ] {
        for (streams, terminal) in [
            (&[Stdout, Stderr][..], true),
            (STDERR, true),
            (STDOUT, false),
            (&[], false),
        ] {
            fresh().await;
            let kvctl = env.kvctl([]).args(words).stdin(stdin);
            let kvctl = kvctl.env("TERM", "xterm-256color");
            let seen = terminal::run(kvctl, 80, streams).await.expect(0);
            assert_eq!(seen.stderr, "", "{words:?}");
            for part in ["of 10,000", "/s", " left"] {
                let shown = seen.screen.contains(part);
                assert_eq!(shown, terminal, "{part}: {:?}", seen.screen);
            }
            let (left, piped) = match streams.contains(&Stdout) {
                true => (vec![done.to_owned()], String::new()),
                false => (Vec::new(), format!("{done}\n")),
            };
            // Wiped off before the result is told.
            assert_eq!((seen.left(), &seen.stdout), (left, &piped), "{words:?}");
        }
    }
}

async fn export_shows_its_progress_unless_the_items_are_on_the_screen(env: Env) {
    let row = |n| (format!("k{n:05}"), "v".repeat(100));
    insert(&env, (0..5_000).map(row)).await;
    let progress = on(&env, STDERR, &["export"]).await.expect(0);
    assert!(progress.screen.contains("5,000"), "{:?}", progress.screen);
    assert_eq!(progress.left(), [""; 0]);
    assert_eq!(progress.stdout.lines().count(), 5_000);
    for streams in [ALL, STDOUT] {
        let items = on(&env, streams, &["export"]).await.expect(0);
        assert!(
            items
                .screen
                .lines()
                .all(|line| line.starts_with("{\"key\""))
        );
        assert_eq!(items.screen.lines().count(), 5_000);
        assert_eq!(items.stderr, "");
    }
    let piped = on(&env, NONE, &["export"]).await.expect(0);
    assert_eq!(
        (piped.stdout, piped.stderr),
        (progress.stdout, String::new())
    );
}
