//! `kvctl` for a person at a terminal, and what it gives to the person's shell and manual.

use std::{collections::BTreeSet, fs};

use serde_json::json;
use tests::{
    Env,
    terminal::{
        self, ALL, Seen,
        Stream::{self, Stderr, Stdin, Stdout},
    },
};
use tokio::process::Command;

use crate::kvctl::{assert_failed, commands};

tests::list! {
    Once =>
        get_adds_a_newline_only_on_a_terminal,
        what_is_typed_is_read,
        a_table_fits_the_terminal,
        a_table_of_many_rows_fits_the_terminal,
        whatever_the_text_it_stays_in_its_row,
        a_list_cannot_command_the_terminal,
        messages_cannot_command_the_terminal,
        nothing_to_list_is_told_to_a_person_only,
        colour_is_for_terminals_and_can_be_turned_off,
        an_error_is_told_on_the_terminal,
        seed_and_import_show_their_progress_on_a_terminal_only,
        export_shows_its_progress_unless_the_items_are_on_the_screen,
        completions_know_every_command,
        bash_completes_a_command,
        man_writes_a_page_for_each_command
}

const STDOUT: &[Stream] = &[Stdout];
const STDERR: &[Stream] = &[Stderr];
/// Both are read by programs.
const NONE: &[Stream] = &[Stdin];

/// Runs it with these streams on a terminal that can show colours.
async fn on(env: &Env, streams: &[Stream], words: &[&str]) -> Seen {
    on_columns(env, 80, streams, words).await
}

async fn on_columns(env: &Env, columns: u16, streams: &[Stream], words: &[&str]) -> Seen {
    let kvctl = env.kvctl([]).args(words).env("TERM", "xterm-256color");
    terminal::run(kvctl, columns, streams).await
}

/// Puts rows into the table past kvctl; no quotes in them.
async fn insert(env: &Env, rows: impl IntoIterator<Item = (String, String)>) {
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

/// The columns that a terminal gives to the characters used here.
fn width(text: &str) -> usize {
    let width = |c| match c {
        '\u{300}'..='\u{36f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{ff01}'..='\u{ff60}'
        | '\u{1f300}'..='\u{1faff}' => 2,
        _ => 1,
    };
    text.chars().map(width).sum()
}

/// The lines without what makes the first one bold.
#[track_caller]
fn table_lines(screen: &str, columns: usize) -> Vec<String> {
    let plain = screen.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
    let lines: Vec<_> = plain.lines().map(str::to_owned).collect();
    for line in &lines {
        assert!(width(line) <= columns, "wider than {columns}: {line}");
    }
    lines
}

async fn a_table_fits_the_terminal(env: Env) {
    let long = [
        "v".repeat(500),
        "漢字".repeat(200),
        "a漢".repeat(200),
        "e\u{301}".repeat(300),
        "한글😀".repeat(100),
        "ＡＢ".repeat(100),
        "\t".repeat(300),
    ];
    let put = async |key: &str, value: &str| {
        let put = env.kvctl(["put", key, "-"]).stdin(value).await;
        let _put = put.expect(0);
    };
    put("a", "short").await;
    for (number, value) in long.iter().enumerate() {
        put(&format!("b{number}"), value).await;
    }
    put(&"鍵".repeat(150), &long[1]).await;
    for columns in [20, 40, 80, 200] {
        let seen = on_columns(&env, columns, ALL, &["list"]).await.expect(0);
        let lines = table_lines(&seen.screen, columns.into());
        assert_eq!(lines.len(), long.len() + 3, "{}", seen.screen);
        assert!(lines[0].starts_with("KEY ") && lines[0].contains("VALUE"));
        assert_eq!(lines[0].contains("UPDATED"), columns >= 80, "{}", lines[0]);
        assert!(lines[1].starts_with("a ") && lines[1].contains(" short"));
        assert!(!lines[1].contains('…'));
        for (number, line) in lines[2..].iter().enumerate() {
            assert!(line.contains('…'), "{columns}: {line}");
            // What is cut is cut no shorter than it must be; without the time the last cell may be a short version.
            let room = usize::from(columns);
            let least = if columns < 80 { room - 8 } else { room };
            assert!(width(line) >= least, "{columns}: {line}");
            let shown = line.split_whitespace().nth(1).unwrap_or_default();
            let Some(value) = long.get(number) else {
                continue;
            };
            let beginning = shown.trim_end_matches('…');
            let value = value.replace('\t', "\\t");
            assert!(value.starts_with(beginning), "{columns}: {line}");
            assert!(!beginning.is_empty(), "{columns}: {line}");
        }
    }
    let keys = on(&env, ALL, &["list", "--keys"]).await.expect(0);
    let lines = table_lines(&keys.screen, 80);
    assert!(!lines[0].contains("VALUE") && lines[0].contains("UPDATED"));
    let in_a_pipe = on(&env, STDERR, &["list"]).await.expect(0);
    assert!(in_a_pipe.stdout.contains(&long[0]), "cut in a pipe");
}

async fn a_table_of_many_rows_fits_the_terminal(env: Env) {
    // The widths are known before the last rows are.
    let row = |n| (format!("k{n:05}"), "v".to_owned());
    insert(&env, (0..2_000).map(row)).await;
    insert(&env, [("z".repeat(400), "漢".repeat(400))]).await;
    let update = "UPDATE items SET version = 9223372036854775807 WHERE id = 2000";
    assert_eq!(env.database().execute(update).await, 1);
    let seen = on(&env, ALL, &["list"]).await.expect(0);
    let lines = table_lines(&seen.screen, 80);
    assert_eq!(lines.len(), 2_002);
    assert!(lines[2_001].starts_with('z') && lines[2_001].contains('…'));
}

async fn whatever_the_text_it_stays_in_its_row(env: Env) {
    let texts = [
        "❤\u{fe0f}",
        "1\u{fe0f}\u{20e3}",
        "👩\u{200d}👩\u{200d}👧",
        "🇩🇪",
        "👍🏽",
        "\u{644}\u{627}",
        "\u{301}",
        "\u{200b}",
        "\u{202e}abc",
        "\u{2028}",
        "\u{ad}",
        "\u{1160}\u{1175}",
        "क\u{94d}ष",
        "\u{10ffff}",
    ];
    for text in texts {
        // Long enough to be cut, whatever its width.
        let _put = env
            .kvctl(["put", "k", "-"])
            .stdin(text.repeat(120))
            .await
            .expect(0);
        for columns in [40, 41, 80, 81] {
            let seen = on_columns(&env, columns, ALL, &["list"]).await;
            let name = text.escape_unicode();
            assert_eq!(seen.code, 0, "{name} on {columns} columns: {}", seen.screen);
            let lines: Vec<_> = seen.screen.split("\r\n").collect();
            assert_eq!(lines.len(), 3, "{name}: {}", seen.screen);
            assert!(lines[1].starts_with("k  "), "{name}: {}", seen.screen);
        }
    }
}

/// Sequences that change a terminal's title, colours or contents.
const COMMANDS: [&str; 7] = [
    "\u{1b}[31mred",
    "\u{1b}]0;title\u{7}",
    "\u{9b}2J",
    "\u{9d}0;title\u{9c}",
    "over\rwritten",
    "back\u{8}\u{8}space",
    "\u{7f}\u{85}\u{1}",
];

#[track_caller]
fn assert_harmless(screen: &str) {
    let screen = screen.replace("\r\n", "\n");
    let command = screen.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(command, None, "{screen:?}");
}

async fn a_list_cannot_command_the_terminal(env: Env) {
    for (number, command) in COMMANDS.iter().enumerate() {
        let value = (*command).to_owned();
        insert(&env, [(format!("value/{number}"), value)]).await;
        insert(&env, [(format!("key/{command}"), "x".to_owned())]).await;
    }
    for words in [
        &["list"][..],
        &["list", "--keys"],
        &["list", "-o", "table"],
        &["list", "-o", "ndjson", "key/\u{1b}"],
        &["inspect"],
        &["inspect", "key/\u{9b}2J"],
        &["inspect", "key/\u{1b}[31mred"],
    ] {
        let kvctl = env.kvctl([]).args(words);
        let kvctl = kvctl.env("TERM", "xterm").env("NO_COLOR", "1");
        let seen = terminal::run(kvctl, 80, ALL).await.expect(0);
        assert_harmless(&seen.screen);
        assert!(!seen.screen.is_empty(), "{words:?}");
    }
}

async fn messages_cannot_command_the_terminal(env: Env) {
    let line = |members| format!("{members}\n");
    let stranger = line(json!({ "\u{1b}[31mx": 1 }));
    let bad_key = line(json!({ "key": "\u{1b}[31mx", "value": "" }));
    let twice = line(json!({ "key": "a\u{9b}2J", "value": "" })).repeat(2);
    for (words, stdin) in [
        (&["get", "\u{1b}[31mx"][..], ""),
        (&["delete", "\u{1b}[31mx", "\u{9b}2J"], ""),
        (&["put", "\u{1b}[31mx", "v"], ""),
        (&["seed", "--prefix", "\u{1b}[31mx"], ""),
        (&["import", "-"], &stranger),
        (&["import", "-"], &bad_key),
        (&["import", "-"], &twice),
    ] {
        let kvctl = env.kvctl([]).args(words).stdin(stdin);
        let seen = terminal::run(kvctl.env("TERM", "xterm"), 80, STDERR).await;
        assert_ne!(seen.code, 0, "{words:?}");
        // Before it stand the progress and the colours, which command the terminal with good reason.
        let said = seen.screen.rsplit("kvctl:\u{1b}[0m ").next();
        let said = said.unwrap_or_default();
        assert!(said.len() > 20, "{words:?}: {:?}", seen.screen);
        assert_harmless(said);
    }
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

async fn completions_know_every_command(env: Env) {
    let commands = commands(&env).await;
    for shell in ["bash", "zsh", "fish"] {
        // Without a database.
        let script = env.kvctl_bare(["completions", shell]).await.expect(0);
        assert_eq!(script.stderr, "");
        let words: BTreeSet<_> = script
            .text()
            .split(|c: char| !c.is_alphanumeric() && c != '-')
            .collect();
        for word in &commands {
            assert!(words.contains(word.as_str()), "{shell}: no {word}");
        }
        for flag in ["ignore-missing", "on-conflict", "database-url"] {
            assert!(script.text().contains(flag), "{shell}: no {flag}");
        }
    }
    for words in [&["completions"][..], &["completions", "tcsh"]] {
        assert_failed(env.kvctl_bare([]).args(words).await, 2, "SHELL");
    }
}

/// What bash offers for these words, the last of which is being typed.
async fn completed(words: &[&str]) -> Vec<String> {
    let kvctl = tests::process::binary("kvctl").unwrap_or_else(|e| panic!("{e}"));
    let line = words.join(" ");
    let (current, before) = (words[words.len() - 1], words[words.len() - 2]);
    let script = format!(
        "source <({} completions bash) || exit 3; complete -p kvctl || exit 4; COMP_WORDS=({line}); \
         COMP_CWORD={}; COMP_LINE='{line}'; COMP_POINT={}; _kvctl kvctl '{current}' '{before}'; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        kvctl.display(),
        words.len() - 1,
        line.len()
    );
    let run = Command::new("bash")
        .args(["--norc", "-c", &script])
        .output();
    let run = run.await.expect("bash runs");
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!((run.status.code(), &*said), (Some(0), ""), "{words:?}");
    let printed = String::from_utf8_lossy(&run.stdout);
    let mut lines = printed.lines().map(str::to_owned);
    let complete = lines.next().expect("what complete -p says");
    assert!(complete.contains("-F _kvctl") && complete.ends_with(" kvctl"));
    lines.collect()
}

async fn bash_completes_a_command(env: Env) {
    assert_eq!(completed(&["kvctl", "mig"]).await, ["migrate"]);
    assert_eq!(completed(&["kvctl", "migrate", "sta"]).await, ["status"]);
    assert_eq!(
        completed(&["kvctl", "delete", "--ig"]).await,
        ["--ignore-missing"]
    );
    let forms = completed(&["kvctl", "list", "-o", "nd"]).await;
    assert_eq!(forms, ["ndjson"]);
    let ways = completed(&["kvctl", "import", "--on-conflict", "ov"]).await;
    assert_eq!(ways, ["overwrite"]);
    let all: Vec<_> = completed(&["kvctl", "''"]).await;
    for command in commands(&env).await {
        assert!(all.contains(&command), "{command} is not among {all:?}");
    }
}

async fn man_writes_a_page_for_each_command(env: Env) {
    let pages = env.directory().join("share/man/man1");
    // Twice, as when a new version is installed over the old one.
    for _ in 0..2 {
        let man = env.kvctl_bare(["man", "share/man/man1"]).await.expect(0);
        assert_eq!((man.text(), man.stderr.as_str()), ("", ""));
    }
    let mut calls = vec![Vec::new()];
    calls.extend(commands(&env).await.into_iter().map(|name| vec![name]));
    for call in calls {
        let name = [&["kvctl".to_owned()], &*call].concat().join("-");
        let page = fs::read_to_string(pages.join(format!("{name}.1")));
        let page = page.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(page.contains(".TH"), "{name}");
        // Hyphens are escaped there.
        let page = page.replace('\\', "");
        assert!(page.contains(&format!(".SH NAME\n{name} -")), "{name}");
        assert!(page.contains("Example"), "{name}");
        let help = env.kvctl_bare([]).args(&call).args(["--help"]);
        let help = help.await.expect(0);
        let words = help
            .text()
            .split(|c: char| !c.is_alphanumeric() && c != '-');
        for flag in words.filter(|word| word.starts_with("--") && word.len() > 2) {
            assert!(page.contains(flag), "{name}: {flag}");
        }
    }
    let whole = fs::read_to_string(pages.join("kvctl.1")).expect("a page");
    assert!(whole.contains("DATABASE_URL"), "{whole}");
    fs::write(env.directory().join("file"), "").expect("a file");
    for wrong in ["file", "file/man1"] {
        assert_failed(env.kvctl_bare(["man", wrong]).await, 2, wrong);
    }
    assert_failed(env.kvctl_bare(["man"]).await, 2, "DIRECTORY");
}
