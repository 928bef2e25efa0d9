//! `kvctl` as a whole: its database, its help, its exit codes.

use std::{
    ffi::OsStr, fs, future::IntoFuture, os::unix::ffi::OsStrExt, process::Stdio, time::Duration,
};

use tests::{Env, binaries::binary, pace::Stopwatch};
use tokio::{process::Command, task::JoinSet};

use crate::kvctl::said::{assert_failed, commands};

tests::list! {
    EveryEngine => on_a_database_that_is_not_migrated_it_says_what_to_do;
    Once =>
        the_database_is_a_flag_before_the_environment_before_dotenv,
        without_a_database_it_says_what_to_give,
        an_unreachable_database_is_exit_code_2_before_long,
        a_missing_file_is_exit_code_2_and_not_created,
        a_usage_error_is_exit_code_2_and_one_line,
        words_that_are_no_utf_8_are_a_usage_error,
        the_help_of_every_command_ends_with_an_example,
        the_examples_of_the_help_work,
        help_and_version_are_data
}

async fn on_a_database_that_is_not_migrated_it_says_what_to_do(env: Env) {
    let database = env.empty_database().await;
    for words in [
        &["get", "a"][..],
        &["put", "a", "b"],
        &["put", "--create", "a", "b"],
    ] {
        let kvctl = tests::kvctl::on(&database.url()).directory(env.directory());
        assert_failed(kvctl.args(words).await, 2, "kvctl migrate");
    }
}

async fn the_database_is_a_flag_before_the_environment_before_dotenv(env: Env) {
    let _put = env.kvctl(["put", "a", "right"]).await.expect(0);
    let right = env.database().url();
    let wrong = env.empty_database().await.url();
    let dotenv = |url: &str| {
        let line = format!("DATABASE_URL='{url}'\n");
        fs::write(env.directory().join(".env"), line).expect("a file");
    };
    dotenv(&right);
    let by_dotenv = env.kvctl_bare(["get", "a"]).await;
    assert_eq!(by_dotenv.expect(0).text(), "right");
    dotenv(&wrong);
    let by_variable = env.kvctl_bare(["get", "a"]).env("DATABASE_URL", &right);
    assert_eq!(by_variable.await.expect(0).text(), "right");
    let by_flag = env.kvctl_bare(["get", "a", "--database-url", &right]);
    let by_flag = by_flag.env("DATABASE_URL", &wrong);
    assert_eq!(by_flag.await.expect(0).text(), "right");
}

async fn without_a_database_it_says_what_to_give(env: Env) {
    for words in [["get", "a"], ["migrate", "up"]] {
        assert_failed(env.kvctl_bare(words).await, 2, "DATABASE_URL");
    }
    let other = env
        .kvctl_bare(["get", "a"])
        .env("DATABASE_URL", "redis://h");
    assert_failed(other.await, 2, "postgres://");
}

async fn an_unreachable_database_is_exit_code_2_before_long(env: Env) {
    let watch = Stopwatch::start();
    let mut calls = JoinSet::new();
    for scheme in ["postgres", "mysql"] {
        for words in [["get", "a"], ["migrate", "up"], ["migrate", "status"]] {
            let url = format!("{scheme}://kvd@127.0.0.1:1/kvd");
            let call = env.kvctl_bare(words).env("DATABASE_URL", &url);
            calls.spawn(call.into_future());
        }
    }
    for output in calls.join_all().await {
        assert_failed(output, 2, "database");
    }
    assert!(watch.elapsed() < Duration::from_secs(30));
}

async fn a_missing_file_is_exit_code_2_and_not_created(env: Env) {
    let file = env.directory().join("missing.db");
    let url = format!("sqlite://{}", file.display());
    for words in [
        &["get", "a"][..],
        &["put", "a", "b"],
        &["migrate", "status"],
        &["migrate", "down"],
    ] {
        let output = env.kvctl_bare([]).env("DATABASE_URL", &url).args(words);
        let output = output.await.expect(2);
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
        assert!(!file.exists(), "{words:?} created the file");
    }
    let migrated = env.kvctl_bare(["migrate"]).env("DATABASE_URL", &url);
    let _created = migrated.await.expect(0);
    assert!(file.exists());
}

async fn a_usage_error_is_exit_code_2_and_one_line(env: Env) {
    for (words, named) in [
        (&["unknown"][..], "unknown"),
        (&["get"], "KEY"),
        (&["get", "a", "b"], "b"),
        (&["put", "a"], "VALUE"),
        (&["get", "a", "--unknown"], "--unknown"),
        (&["get", "a", "-o", "xml"], "xml"),
        (&["migrate", "sideways"], "sideways"),
        (&["migrate", "down", "--steps", "0"], "--steps"),
        (&["migrate", "down", "--steps", "many"], "--steps"),
    ] {
        let output = tests::kvctl::on(&env.database().url()).args(words).await;
        assert_failed(output, 2, named);
    }
}

async fn words_that_are_no_utf_8_are_a_usage_error(env: Env) {
    let wrong = OsStr::from_bytes(b"caf\xE9");
    for words in [
        &[OsStr::new("get"), wrong][..],
        &[OsStr::new("put"), wrong, OsStr::new("x")],
        &[OsStr::new("put"), OsStr::new("a"), wrong],
    ] {
        let output = tests::kvctl::on(&env.database().url()).args(words).await;
        assert_failed(output, 2, "UTF-8");
    }
}

async fn the_help_of_every_command_ends_with_an_example(env: Env) {
    let commands = commands(&env).await;
    assert!(commands.len() >= 3, "{commands:?}");
    for command in commands {
        let help = env.kvctl_bare([&command, "--help"]).await.expect(0);
        assert_eq!(help.stderr, "");
        let last = help
            .text()
            .trim_end()
            .rsplit("\n\n")
            .next()
            .unwrap_or_default();
        assert!(last.starts_with("Example"), "{command}: {last}");
        let call = format!("kvctl {command}");
        assert!(last.contains(&call), "{command}: {last}");
    }
}

/// The examples of a command's help, without the words around them.
async fn examples(env: &Env, command: &str) -> Vec<String> {
    let words = command.split_whitespace().chain(["--help"]);
    let help = env.kvctl_bare([]).args(words).await.expect(0);
    let (_, examples) = help.text().rsplit_once("\nExample").expect("examples");
    let lines = examples.trim_start_matches('s').trim_start_matches(':');
    lines.lines().map(|line| line.trim().to_owned()).collect()
}

async fn the_examples_of_the_help_work(env: Env) {
    let item = r#"{"key":"user/1","value":"x"}"#;
    for (name, contents) in [
        ("page.html", "<p>"),
        ("users.ndjson", item),
        ("examples.ndjson", item),
    ] {
        fs::write(env.directory().join(name), contents).expect("a file");
    }
    let mut all = commands(&env).await;
    all.push(String::new());
    for direction in ["up", "down", "status", "fresh"] {
        all.push(format!("migrate {direction}"));
    }
    let kvctl = binary("kvctl").unwrap_or_else(|e| panic!("{e}"));
    let directory = kvctl.parent().expect("it is in a directory").display();
    for command in all {
        for example in examples(&env, &command).await {
            let _migrated = env.kvctl(["migrate"]).await.expect(0);
            let dev = ["--database-url", "sqlite://kvd-dev.db", "migrate"];
            let _migrated = env.kvctl(dev).await.expect(0);
            let _put = env.kvctl(["put", "greeting", "hi"]).await.expect(0);
            let _delete = env.kvctl(["delete", "--ignore-missing", "user/1"]).await;
            let run = Command::new("bash")
                .args(["-c", &format!("PATH={directory}:$PATH; {example}")])
                .env("HOME", env.directory())
                .env("DATABASE_URL", env.database().url())
                .current_dir(env.directory())
                .stdin(Stdio::null())
                .output();
            let run = run.await.expect("bash runs");
            // The tag of an example is hardly that of the item.
            let meant = if example.contains("--if-match") { 1 } else { 0 };
            let said = String::from_utf8_lossy(&run.stderr);
            assert_eq!(run.status.code(), Some(meant), "{example}: {said}");
        }
    }
}

async fn help_and_version_are_data(env: Env) {
    for words in [["--help"], ["-h"], ["help"], ["--version"]] {
        let output = env.kvctl_bare(words).await.expect(0);
        assert!(output.text().contains("kvctl"), "{words:?}");
        assert_eq!(output.stderr, "", "{words:?}");
    }
}
