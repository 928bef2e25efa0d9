//! The file `.env`: what cannot be reached counts as none, what cannot be read is named, and who needs no settings does
//! not look at it. For kvd and for kvctl.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use nix::{sys::signal::Signal, unistd::Uid};
use tests::{
    Env,
    binaries::binary,
    process::{Output, command, find},
};
use tokio::process::Command;

tests::list! {
    Once =>
        who_needs_no_settings_reads_no_dotenv,
        a_line_that_cannot_be_read_is_named_by_its_number_and_never_shown,
        a_dollar_in_a_value_is_no_expansion,
        what_other_programs_write_is_read,
        an_empty_variable_leaves_the_setting_to_dotenv,
        in_a_directory_that_is_gone_there_is_none,
        in_a_directory_that_cannot_be_searched_there_is_none,
        a_file_that_cannot_be_read_counts_as_none_and_is_told
}

const SECRET: &str = "hunter2";

fn write(env: &Env, content: impl AsRef<[u8]>) {
    fs::write(env.directory().join(".env"), content).expect("a file");
}

async fn who_needs_no_settings_reads_no_dotenv(env: Env) {
    write(&env, "RATE_LIMIT=5\nforeign line\n");
    for flag in ["--help", "-h", "--version"] {
        let kvd = env.kvd_bare().flag(flag).env("RATE_LIMIT", "wrong");
        assert_eq!(kvd.run().await.expect(0).stderr, "", "{flag}");
        let kvctl = env.kvctl_bare([flag]).env("DATABASE_URL", "wrong");
        assert_eq!(kvctl.await.expect(0).stderr, "", "{flag}");
    }
    for words in [
        &["completions", "bash"][..],
        &["completions", "zsh"],
        &["man", "pages"],
        &["help"],
        &["help", "put"],
        &["put", "--help"],
    ] {
        let kvctl = env.kvctl_bare([]).args(words);
        let kvctl = kvctl
            .env("DATABASE_URL", "wrong")
            .env("MAX_VALUE_BYTES", "wrong");
        assert_eq!(kvctl.await.expect(0).stderr, "", "{words:?}");
    }
    // A mistake in the arguments is said before one in the file.
    let kvd = env.kvd_bare().flag("--unknown").run().await.expect(2);
    assert!(kvd.stderr.contains("--unknown"), "{}", kvd.stderr);
    for (words, named) in [
        (&["unknown"][..], "unknown"),
        (&["get"], "KEY"),
        (&[], "say what to do"),
    ] {
        let kvctl = env.kvctl_bare([]).args(words).await.expect(2);
        assert!(kvctl.stderr.contains(named), "{}", kvctl.stderr);
    }
}

async fn a_line_that_cannot_be_read_is_named_by_its_number_and_never_shown(env: Env) {
    let foreign = [
        (format!("# ours\nRATE_LIMIT=5\n\nforeign {SECRET}\n"), 4),
        (format!("DATABASE_URL=sqlite://a b {SECRET}\r\n"), 1),
        (
            format!("A='two\nlines'\nDATABASE_URL='{SECRET}\nB=1\n\n"),
            3,
        ),
        (format!("export A=1\n{SECRET}: 1\n"), 2),
        (format!("A=1\nB={SECRET}\0\n"), 2),
        (format!("A=1\nB={SECRET}\\d\n"), 2),
    ];
    let mut contents: Vec<_> = foreign.map(|(text, n)| (text.into_bytes(), n)).to_vec();
    contents.push(([b"A=1\nB=\xFF", SECRET.as_bytes()].concat(), 2));
    for (content, number) in contents {
        write(&env, &content);
        let kvd = env.kvd().run().await;
        let kvctl = env.kvctl(["count"]).await;
        for output in [kvd, kvctl].map(|output| output.expect(2)) {
            let said = &output.stderr;
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(
                said.contains(&format!(".env: line {number} ")),
                "{number}: {said}"
            );
            assert!(!said.contains(SECRET), "{said}");
            let section = "section \"The file .env\" of docs/configuration.md";
            assert!(said.contains(section), "{said}");
        }
    }
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let page = fs::read_to_string(page).expect("the page");
    assert!(page.lines().any(|line| line == "## The file .env"));
}

async fn a_dollar_in_a_value_is_no_expansion(env: Env) {
    for (n, quote) in ["", "'", "\""].into_iter().enumerate() {
        for (m, name) in ["a$word", "$HOME", "b${PATH}c", "d$"].iter().enumerate() {
            let name = format!("{n}-{m}-{name}.db");
            write(
                &env,
                format!("DATABASE_URL={quote}sqlite://{name}{quote}\n"),
            );
            let _migrated = env.kvctl_bare(["migrate"]).await.expect(0);
            assert!(env.directory().join(&name).is_file(), "no {name}");
        }
    }
    write(&env, "DATABASE_URL=\"sqlite://escaped\\$word.db\"\n");
    let _migrated = env.kvctl_bare(["migrate"]).await.expect(0);
    assert!(env.directory().join("escaped$word.db").is_file());
}

async fn what_other_programs_write_is_read(env: Env) {
    let url = env.database().url();
    for content in [
        format!("\u{feff}DATABASE_URL='{url}'\r\nOTHER=1\r\n"),
        format!("export DATABASE_URL='{url}' # here\n"),
        format!("OTHER='a\nb'\n\tDATABASE_URL = \"{url}\"   \n# end"),
        // The first of a name counts.
        format!("DATABASE_URL='{url}'\nDATABASE_URL=sqlite://none.db"),
    ] {
        write(&env, &content);
        let count = env.kvctl_bare(["count"]).await.expect(0);
        assert_eq!((count.text(), &*count.stderr), ("0\n", ""), "{content}");
    }
}

async fn an_empty_variable_leaves_the_setting_to_dotenv(env: Env) {
    write(
        &env,
        format!(
            "DATABASE_URL='{}'\nMAX_VALUE_BYTES=3\n",
            env.database().url()
        ),
    );
    let put = |value| {
        let kvctl = env.kvctl_bare(["put", "a", value]).env("DATABASE_URL", "");
        kvctl.env("MAX_VALUE_BYTES", "")
    };
    let _stored = put("abc").await.expect(0);
    let refused = put("abcd").await.expect(2);
    assert!(
        refused.stderr.contains("--max-value-bytes"),
        "{}",
        refused.stderr
    );
}

async fn in_a_directory_that_is_gone_there_is_none(env: Env) {
    let kvctl = binary("kvctl").unwrap_or_else(|e| panic!("{e}"));
    let script = "mkdir gone && cd gone && rmdir ../gone && exec \"$0\" count";
    let mut shell = Command::from(command(Path::new("/bin/sh"), Signal::SIGKILL));
    let shell = shell.args(["-c", script]).arg(kvctl);
    let shell = shell.env("DATABASE_URL", env.database().url());
    let output = shell
        .current_dir(env.directory())
        .output()
        .await
        .expect("sh runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*said), (Some(0), ""));
}

/// Runs `kvctl count` in a directory, as a user whom modes of files concern: root by itself may read all.
async fn count_held_to_modes(directory: &Path, url: Option<&str>) -> Output {
    let program = binary("kvctl").unwrap_or_else(|e| panic!("{e}"));
    let mut command = match Uid::effective().is_root() {
        true => {
            let setpriv = find("setpriv", &["/usr/bin"]).expect("setpriv of util-linux");
            let mut command = command(&setpriv, Signal::SIGKILL);
            command.args(["--bounding-set=-all", "--"]).arg(program);
            command
        }
        false => command(&program, Signal::SIGKILL),
    };
    command.arg("count").current_dir(directory);
    if let Some(url) = url {
        command.env("DATABASE_URL", url);
    }
    let output = Command::from(command).output().await.expect("it runs");
    Output {
        code: tests::process::code(output.status),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
}

async fn in_a_directory_that_cannot_be_searched_there_is_none(env: Env) {
    let closed = env.directory().join("closed");
    fs::create_dir(&closed).expect("a directory");
    fs::write(closed.join(".env"), "foreign line\n").expect("a file");
    set_mode(&closed, 0o000);
    let url = env.database().url();
    let output = count_held_to_modes(&closed, Some(&url)).await;
    set_mode(&closed, 0o700);
    let output = output.expect(0);
    assert_eq!((output.text(), &*output.stderr), ("0\n", ""));
}

async fn a_file_that_cannot_be_read_counts_as_none_and_is_told(env: Env) {
    let file = env.directory().join(".env");
    write(&env, "foreign line\n");
    set_mode(&file, 0o000);
    let url = env.database().url();
    let output = count_held_to_modes(env.directory(), Some(&url)).await;
    let output = output.expect(0);
    assert_eq!(output.text(), "0\n");
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    assert!(
        output.stderr.contains(".env cannot be read"),
        "{}",
        output.stderr
    );
    // Without it there may be no database.
    let output = count_held_to_modes(env.directory(), None).await.expect(2);
    assert!(
        output.stderr.contains(".env cannot be read"),
        "{}",
        output.stderr
    );
    // A directory of this name is for something else.
    fs::remove_file(&file).expect("the file");
    fs::create_dir(&file).expect("a directory");
    let output = env.kvctl(["count"]).await.expect(0);
    assert_eq!(output.stderr, "");
    let kvd = env.start().await;
    assert!(!kvd.log().contains(".env"), "{}", kvd.log());
}
