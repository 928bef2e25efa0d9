//! What cannot command a terminal, hide, or turn the text around it: keys, values, names and messages of others.

use std::fs;

use serde_json::{Value, json};
use tests::{
    Engine, Env,
    kvctl::Kvctl,
    terminal::{self, ALL, Seen, Stream},
};

use crate::kvctl::terminal::{STDERR, insert};

tests::list! {
    EveryEngine => the_names_of_migrations_cannot_command_the_terminal;
    Only(Engine::Postgres) => what_the_server_says_cannot_command_the_terminal;
    Once =>
        a_list_cannot_command_the_terminal,
        json_on_a_terminal_is_escaped_and_the_same_document,
        what_is_piped_is_not_escaped_further,
        get_alone_writes_a_value_as_it_is,
        messages_cannot_command_the_terminal,
        usage_errors_and_help_cannot_command_the_terminal
}

/// Sequences that change a terminal's title, colours or contents, and characters that are not seen, end a line, or
/// change the direction of the text.
const COMMANDS: [&str; 13] = [
    "\u{1b}[31mred",
    "\u{1b}]0;title\u{7}",
    "\u{9b}2J",
    "\u{9d}0;title\u{9c}",
    "over\rwritten",
    "back\u{8}\u{8}space",
    "\u{7f}\u{85}\u{1}",
    "user\u{202e}nimda",
    "\u{202a}\u{202b}\u{202c}\u{202d}\u{61c}\u{200e}\u{200f}",
    "\u{2066}a\u{2067}b\u{2068}c\u{2069}",
    "line\u{2028}paragraph\u{2029}",
    "zero\u{200b}width\u{2060}\u{feff}",
    "tags\u{e0001}\u{e0041}\u{e007f}",
];

/// What `COMMANDS` is made of, written down once more: kvctl's own rule must not be its judge.
fn is_harmful(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{200b}' | '\u{200e}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[track_caller]
fn assert_harmless(screen: &str) {
    let screen = screen.replace("\r\n", "\n");
    let command = screen.chars().find(|c| is_harmful(*c) && *c != '\n');
    assert_eq!(command, None, "{screen:?}");
}

/// On a terminal that shows no colours, so that each control character is one of the text's.
async fn plainly(kvctl: Kvctl, streams: &[Stream]) -> Seen {
    let kvctl = kvctl.env("TERM", "xterm").env("NO_COLOR", "1");
    terminal::run(kvctl, 80, streams).await
}

async fn insert_commands(env: &Env) {
    for (number, command) in COMMANDS.iter().enumerate() {
        let value = (*command).to_owned();
        insert(env, [(format!("value/{number}"), value)]).await;
        insert(env, [(format!("key/{command}"), "x".to_owned())]).await;
    }
}

async fn a_list_cannot_command_the_terminal(env: Env) {
    insert_commands(&env).await;
    for words in [
        &["list"][..],
        &["list", "--keys"],
        &["list", "-o", "table"],
        &["list", "-o", "ndjson"],
        &["list", "-o", "json"],
        &["export"],
        &["inspect"],
        &["inspect", "-o", "json"],
        &["inspect", "key/\u{9b}2J"],
        &["inspect", "key/user\u{202e}nimda", "-o", "json"],
        &["inspect", "key/\u{1b}[31mred"],
        &["get", "key/\u{9b}2J", "-o", "json"],
        &["get", "value/7", "-o", "json"],
        &["put", "value/7", "x\u{202e}", "-o", "json"],
    ] {
        let seen = plainly(env.kvctl([]).args(words), ALL).await.expect(0);
        assert_harmless(&seen.screen);
        assert!(!seen.screen.is_empty(), "{words:?}");
    }
}

async fn json_on_a_terminal_is_escaped_and_the_same_document(env: Env) {
    insert_commands(&env).await;
    for words in [&["list", "-o", "json"][..], &["inspect", "-o", "json"]] {
        let piped = env.kvctl([]).args(words).await.expect(0);
        let seen = plainly(env.kvctl([]).args(words), &[Stream::Stdout]).await;
        let parsed = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        assert_eq!(parsed(&seen.expect(0).screen), parsed(piped.text()));
    }
    let exported = env.kvctl(["export"]).await.expect(0);
    let seen = plainly(env.kvctl(["export"]), &[Stream::Stdout]).await;
    let documents = |text: &str| -> Vec<Value> {
        let lines = text.split('\n').filter(|line| !line.trim().is_empty());
        let parsed = lines.map(serde_json::from_str);
        parsed.collect::<Result<_, _>>().expect("lines of JSON")
    };
    assert_eq!(
        documents(&seen.expect(0).screen),
        documents(exported.text())
    );
}

async fn what_is_piped_is_not_escaped_further(env: Env) {
    insert_commands(&env).await;
    let exported = env.kvctl(["export", "key/"]).await.expect(0);
    let listed = env.kvctl(["list", "key/"]).await.expect(0);
    for command in COMMANDS {
        let inside = serde_json::to_string(command).expect("JSON");
        let inside = inside.trim_matches('"');
        assert!(exported.text().contains(inside), "{command:?}");
        if !command.contains(char::is_control) {
            let line = format!("key/{command}\tx\n");
            assert!(listed.text().contains(&line), "{command:?}");
        }
    }
    let controls = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    assert!(!listed.text().contains(controls), "{:?}", listed.text());
}

async fn get_alone_writes_a_value_as_it_is(env: Env) {
    let all = COMMANDS.concat();
    let _put = env.kvctl(["put", "a", &all]).await.expect(0);
    let piped = env.kvctl(["get", "a"]).await.expect(0);
    assert_eq!(piped.text(), all);
    let seen = plainly(env.kvctl(["get", "a"]), ALL).await.expect(0);
    assert_eq!(seen.screen, format!("{all}\r\n"));
}

async fn messages_cannot_command_the_terminal(env: Env) {
    let all = COMMANDS.concat();
    let line = |members| format!("{members}\n");
    let stranger = line(json!({ &all: 1 }));
    let bad_key = line(json!({ "key": all, "value": "" }));
    let without_controls = all.replace(|c: char| c.is_ascii_control(), "");
    let twice = line(json!({ "key": without_controls, "value": "" })).repeat(2);
    let missing = format!("missing/{all}");
    fs::write(env.directory().join(&all), "x").expect("a file");
    for (words, stdin) in [
        (&["get", &all][..], ""),
        (&["delete", &all, "\u{9b}2J"], ""),
        (&["put", &all, "v"], ""),
        (&["put", "--update", &without_controls, "v"], ""),
        (&["put", "k", &format!("@{missing}")], ""),
        (&["seed", "--prefix", &all], ""),
        (&["import", &missing], ""),
        (&["import", &all], ""),
        (&["import", "-"], &stranger),
        (&["import", "-"], &bad_key),
        (&["import", "-"], &twice),
        (&["man", &format!("{all}/below")], ""),
        (
            &["--database-url", &format!("sqlite://{missing}"), "count"],
            "",
        ),
    ] {
        let kvctl = env.kvctl([]).directory(env.directory()).args(words);
        let seen = plainly(kvctl.stdin(stdin), STDERR).await;
        assert_ne!(seen.code, 0, "{words:?}");
        // Before it stands the progress, which commands the terminal with good reason.
        let said = seen.screen.rsplit("kvctl: ").next().unwrap_or_default();
        assert!(said.len() > 20, "{words:?}: {:?}", seen.screen);
        assert_harmless(said);
    }
}

async fn usage_errors_and_help_cannot_command_the_terminal(env: Env) {
    let all = COMMANDS.concat();
    let flag = format!("--{all}");
    for words in [
        &[all.as_str()][..],
        &["list", &flag],
        &["list", "a", &all],
        &["list", "--limit", &all],
        &["put", "a", "b", "--if-match", &all],
        &["count", "-o", &all],
        &["completions", &all],
        &["--database-url", &all, "count"],
    ] {
        let seen = plainly(env.kvctl([]).args(words), ALL).await.expect(2);
        assert!(!seen.screen.is_empty(), "{words:?}");
        assert_harmless(&seen.screen);
    }
    for words in [&["put", "--help"][..], &["put", "-h"]] {
        let help = env.kvctl([]).args(words).env("MAX_VALUE_BYTES", &all);
        let seen = plainly(help, ALL).await.expect(0);
        assert!(seen.screen.contains("MAX_VALUE_BYTES"), "{}", seen.screen);
        assert_harmless(&seen.screen);
    }
}

async fn the_names_of_migrations_cannot_command_the_terminal(env: Env) {
    let database = env.database();
    // Later than any of kvd's own.
    let names = COMMANDS.iter().map(|it| format!("m9{it}"));
    // On MariaDB the column has the character set of the database, which need not know the others.
    let names = names.filter(|name| env.engine() != Engine::Mysql || name.is_ascii());
    let names: Vec<_> = names.collect();
    for (at, name) in names.iter().enumerate() {
        let row =
            format!("INSERT INTO kvd_migrations (version, applied_at) VALUES ('{name}', {at})");
        database.execute(&row).await;
    }
    for words in [
        &["migrate", "status"][..],
        &["migrate", "status", "-o", "json"],
        &["migrate"],
        &["inspect"],
        &["inspect", "-o", "json"],
    ] {
        let seen = plainly(env.kvctl([]).args(words), ALL).await.expect(0);
        assert_harmless(&seen.screen);
        assert!(!seen.screen.is_empty(), "{words:?}");
    }
    let down = plainly(env.kvctl(["migrate", "down"]), ALL).await.expect(2);
    assert_harmless(&down.screen);
    let piped = env.kvctl(["migrate", "status", "-o", "json"]).await;
    let piped: Value = serde_json::from_str(piped.expect(0).text()).expect("JSON");
    let told = piped.as_array().expect("a list").iter();
    let told: Vec<_> = told.filter_map(|row| row["name"].as_str()).collect();
    for name in &names {
        assert!(told.contains(&name.as_str()), "{name:?}: {told:?}");
    }
}

async fn what_the_server_says_cannot_command_the_terminal(env: Env) {
    let raised = COMMANDS.concat();
    let trigger = format!(
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION '{raised}' USING DETAIL = '{raised}'; END $$; \
         CREATE TRIGGER shout BEFORE INSERT OR UPDATE OR DELETE ON items FOR EACH STATEMENT EXECUTE FUNCTION shout()"
    );
    let _put = env.kvctl(["put", "a", "b"]).await.expect(0);
    env.database().execute(&trigger).await;
    let item = r#"{"key":"k","value":"v"}"#;
    for words in [
        &["put", "a", "b"][..],
        &["delete", "a"],
        &["import", "-"],
        &["seed", "--count", "1"],
    ] {
        let kvctl = env.kvctl([]).args(words).stdin(item);
        let seen = plainly(kvctl, STDERR).await.expect(2);
        let said = seen.screen.rsplit("kvctl: ").next().unwrap_or_default();
        assert!(said.contains("nimda"), "{words:?}: {said:?}");
        assert_harmless(said);
    }
}
