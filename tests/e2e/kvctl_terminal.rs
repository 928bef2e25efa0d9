//! `kvctl` as a person at a terminal sees it.

use std::fs;

use tests::{
    Env,
    terminal::{self, ALL, Seen, Stream},
};
use tokio::process::Command;

tests::list! {
    Once =>
        a_newline_is_added_to_a_value_only_on_a_terminal,
        a_list_is_a_table_that_fits_the_terminal,
        nothing_in_a_value_commands_the_terminal,
        colour_is_only_for_terminals_and_never_with_no_color,
        progress_is_shown_on_a_terminal_and_wiped_off,
        nothing_to_list_is_said_to_a_person,
        completions_complete_every_command,
        every_command_has_a_manual_page
}

/// Runs it with `TERM` set, as every terminal does.
async fn see(env: &Env, words: &[&str], columns: u16, on: &[Stream]) -> Seen {
    let kvctl = env.kvctl([]).args(words).env("TERM", "xterm-256color");
    terminal::run(kvctl, columns, on).await
}

/// The screen without the sequences that colour it.
fn plain(screen: &str) -> String {
    let mut plain = String::new();
    let mut rest = screen;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        let end = after.find(|c: char| c.is_ascii_alphabetic());
        rest = end.map_or("", |end| &after[end + 1..]);
    }
    plain + rest
}

async fn a_newline_is_added_to_a_value_only_on_a_terminal(env: Env) {
    let _put = env.kvctl(["put", "a", "value"]).await.expect(0);
    let seen = see(&env, &["get", "a"], 80, ALL).await;
    assert_eq!((seen.code, seen.screen.as_str()), (0, "value\r\n"));
    let seen = see(&env, &["get", "a"], 80, &[Stream::Stdin, Stream::Stderr]).await;
    assert_eq!((seen.stdout.as_str(), seen.screen.as_str()), ("value", ""));
}

/// Columns that a line takes: the ideographs of the test take two.
fn width(line: &str) -> usize {
    line.chars()
        .map(|c| {
            if ('\u{4e00}'..='\u{9fff}').contains(&c) {
                2
            } else {
                1
            }
        })
        .sum()
}

async fn a_list_is_a_table_that_fits_the_terminal(env: Env) {
    for (key, value) in [
        ("short", "x".to_owned()),
        (
            "a/long/key/that/goes/on/and/on/and/on/and/on/for/ever",
            "漢字".repeat(60),
        ),
        ("c", "word ".repeat(60)),
    ] {
        let _put = env.kvctl(["put", key, &value]).await.expect(0);
    }
    for columns in [20, 40, 80, 81, 200] {
        let seen = see(&env, &["list"], columns, &[Stream::Stdin, Stream::Stdout]).await;
        assert_eq!((seen.code, seen.stderr.as_str()), (0, ""));
        let text = plain(&seen.screen).replace('\r', "");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[0].starts_with("KEY"), "{text}");
        for line in &lines {
            assert!(width(line) <= columns.into(), "{columns}: {text}");
        }
        for cut in [lines[1], lines[2]] {
            assert!(cut.contains('…'), "{columns}: {text}");
        }
        if columns >= 80 {
            assert!(lines[0].ends_with("VERSION  UPDATED"), "{text}");
            assert!(lines[3].starts_with("short "), "{text}");
        }
    }
    let keys = see(
        &env,
        &["list", "--keys"],
        80,
        &[Stream::Stdin, Stream::Stdout],
    )
    .await;
    assert!(!keys.screen.contains("VALUE"), "{}", keys.screen);
}

async fn nothing_in_a_value_commands_the_terminal(env: Env) {
    let _put = env
        .kvctl(["put", "a", "\u{1b}]0;title\u{7}\u{1b}[2J\u{9b}31m\r\n"])
        .await
        .expect(0);
    let seen = see(&env, &["list"], 200, &[Stream::Stdin, Stream::Stdout]).await;
    let row = seen.screen.lines().nth(1).unwrap_or_default().trim_end();
    assert!(row.contains("\\u{1b}]0;title\\u{7}"), "{row}");
    assert!(!row.contains(char::is_control), "{row:?}");
}

async fn colour_is_only_for_terminals_and_never_with_no_color(env: Env) {
    let _put = env.kvctl(["put", "a", "b"]).await.expect(0);
    for words in [&["list"][..], &["get", "missing"]] {
        let seen = see(&env, words, 80, ALL).await;
        assert!(
            seen.screen.contains("\u{1b}["),
            "{words:?}: {:?}",
            seen.screen
        );
        let kvctl = env
            .kvctl([])
            .args(words)
            .env("TERM", "xterm")
            .env("NO_COLOR", "1");
        let seen = terminal::run(kvctl, 80, ALL).await;
        assert!(
            !seen.screen.contains('\u{1b}'),
            "{words:?}: {:?}",
            seen.screen
        );
        let piped = env.kvctl([]).args(words).env("TERM", "xterm").await;
        assert!(
            !piped.text().contains('\u{1b}') && !piped.stderr.contains('\u{1b}'),
            "{words:?}"
        );
    }
}

async fn progress_is_shown_on_a_terminal_and_wiped_off(env: Env) {
    let words = ["seed", "--count", "60000", "--value-bytes", "9"];
    let seen = see(&env, &words, 100, &[Stream::Stdin, Stream::Stderr]).await;
    assert_eq!(seen.stdout, "created 60000, updated 0, skipped 0\n");
    for part in ["of 60,000", "/s", "left"] {
        assert!(seen.screen.contains(part), "no {part}: {:?}", seen.screen);
    }
    let last = seen
        .screen
        .rsplit(['\r', '\u{1b}'])
        .next()
        .unwrap_or_default();
    assert!(!last.contains("of"), "the bar stays: {last:?}");
    let seen = see(&env, &["export"], 100, &[Stream::Stdin, Stream::Stderr]).await;
    assert!(seen.screen.contains("exporting"), "{:?}", seen.screen);
    assert_eq!(seen.stdout.lines().count(), 60_000);
    let seen = see(&env, &["export", "seed-00000"], 100, ALL).await;
    assert!(!seen.screen.contains("exporting"), "a bar among the data");
    let piped = env.kvctl(words).await.expect(0);
    assert_eq!(piped.stderr, "");
}

async fn nothing_to_list_is_said_to_a_person(env: Env) {
    let seen = see(&env, &["list"], 80, &[Stream::Stdin, Stream::Stdout]).await;
    assert_eq!((seen.code, seen.screen.as_str()), (0, ""));
    assert_eq!(seen.stderr, "kvctl: no items\n");
}

/// The commands as the help lists them.
async fn commands(env: &Env) -> Vec<String> {
    let help = env.kvctl_bare(["--help"]).await.expect(0);
    let listed = help.text().lines().skip_while(|line| *line != "Commands:");
    let listed = listed.skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

async fn completions_complete_every_command(env: Env) {
    for shell in ["bash", "zsh", "fish"] {
        let script = env.kvctl_bare(["completions", shell]).await.expect(0);
        for command in commands(&env).await {
            assert!(script.text().contains(&command), "{shell}: {command}");
        }
        fs::write(env.directory().join(shell), script.text()).expect("a file");
    }
    for (words, expected) in [
        ("kvctl mig", "migrate"),
        ("kvctl import --on-conflict ov", "overwrite"),
    ] {
        let script = format!(
            "source ./bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _kvctl kvctl \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[*]}}\""
        );
        let run = Command::new("bash")
            .args(["-c", &script])
            .current_dir(env.directory())
            .output();
        let run = run.await.expect("bash runs");
        assert_eq!(String::from_utf8_lossy(&run.stdout).trim(), expected);
    }
}

async fn every_command_has_a_manual_page(env: Env) {
    let written = env.kvctl_bare(["man", "pages"]).await.expect(0);
    assert_eq!((written.text(), written.stderr.as_str()), ("", ""));
    for command in commands(&env).await {
        let page = env.directory().join(format!("pages/kvctl-{command}.1"));
        let page = fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        assert!(page.contains(".TH"), "{command}");
        let help = env.kvctl_bare([&command, "--help"]).await.expect(0);
        for flag in help
            .text()
            .split_whitespace()
            .filter(|word| word.starts_with("--"))
        {
            let flag = flag.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            let flag = flag.trim_start_matches("--").replace('-', "\\-");
            assert!(page.contains(&flag), "{command}: {flag}");
        }
    }
    let whole = fs::read_to_string(env.directory().join("pages/kvctl.1")).expect("a page");
    assert!(whole.contains("DATABASE_URL"), "{whole}");
}
