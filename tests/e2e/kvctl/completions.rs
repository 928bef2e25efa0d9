//! What `kvctl` gives to a shell and to the manual.

use std::{collections::BTreeSet, fs};

use tests::{Env, binaries::binary};
use tokio::process::Command;

use crate::kvctl::said::{assert_failed, commands};

tests::list! {
    Once =>
        completions_know_every_command,
        bash_completes_a_command,
        man_writes_a_page_for_each_command
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
    let kvctl = binary("kvctl").unwrap_or_else(|e| panic!("{e}"));
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
