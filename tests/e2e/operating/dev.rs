//! `kvd --dev`: from nothing to a working service with one command.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::Value;
use tests::{Env, Kvd, kvd::Start, process::find};
use tokio::process::Command;

tests::list! {
    Once =>
        dev_serves_an_embedded_file_in_the_working_directory_already_migrated,
        the_file_of_dev_is_readable_by_its_owner_only,
        dev_prints_where_the_explorer_is,
        dev_prints_a_curl_line_that_works,
        dev_together_with_a_database_url_is_an_error,
        dev_ignores_a_database_url_in_dotenv,
        dev_logs_for_people
}

fn dev(env: &Env) -> Start {
    let start = env.kvd_bare().flag("--dev");
    start.arg("--listen", "127.0.0.1:0")
}

async fn dev_serves_an_embedded_file_in_the_working_directory_already_migrated(env: Env) {
    let file = env.directory().join("kvd-dev.db");
    assert!(!file.exists());
    let kvd = dev(&env).start().await;
    let _created = kvd.create("a", "b").await;
    assert!(file.exists());
    let _ended = kvd.stop().await.expect(0);
    let again = dev(&env).start().await;
    assert_eq!(again.get("/items/a").await.expect(200).member("value"), "b");
    let url = format!("sqlite://{}", file.display());
    let read = env.kvctl_bare(["--database-url", &url, "get", "a"]).await;
    assert_eq!(read.expect(0).text(), "b");
}

/// Which of the database's files group or others may use.
fn open_to_others(env: &Env) -> Vec<String> {
    let files = fs::read_dir(env.directory()).expect("the directory");
    let files = files.map(|file| file.expect("a file"));
    let files: Vec<_> = files
        .map(|file| (file.file_name().to_string_lossy().into_owned(), file))
        .filter(|(name, _)| name.starts_with("kvd-dev.db"))
        .collect();
    assert!(files.len() > 1, "the file and its log: {files:?}");
    let open = files.into_iter().filter(|(_, file)| {
        let metadata = file.metadata().expect("it is there");
        metadata.permissions().mode() & 0o077 != 0
    });
    open.map(|(name, _)| name).collect()
}

async fn the_file_of_dev_is_readable_by_its_owner_only(env: Env) {
    let kvd = dev(&env).prepared("umask 000").start().await;
    let _created = kvd.create("a", "b").await;
    assert_eq!(open_to_others(&env), [""; 0]);
    // As an older version left them, after an end without notice.
    kvd.signal(Signal::SIGKILL);
    assert_eq!(kvd.end().await.code, -9);
    for file in ["kvd-dev.db", "kvd-dev.db-wal", "kvd-dev.db-shm"] {
        let file = env.directory().join(file);
        fs::set_permissions(file, Permissions::from_mode(0o666)).expect("it is there");
    }
    let kvd = dev(&env).prepared("umask 000").start().await;
    assert_eq!(kvd.get("/items/a").await.member("value"), "b");
    assert_eq!(open_to_others(&env), [""; 0]);
}

async fn dev_prints_where_the_explorer_is(env: Env) {
    let kvd = dev(&env).start().await;
    let explorer = format!("http://{}/docs", kvd.address());
    let _printed = kvd.printed(&explorer).await;
    let _there = kvd.get("/docs").await.expect(200);
}

/// The line a newcomer pastes into a shell.
async fn curl_line(kvd: &Kvd) -> String {
    let printed = kvd.printed("\"}'\n").await;
    let line = printed.lines().find_map(|line| {
        let start = line.find("curl ")?;
        Some(line[start..].to_owned())
    });
    line.unwrap_or_else(|| panic!("no curl line in: {printed}"))
}

/// What the line makes curl send, for a machine without curl.
async fn as_curl_would(kvd: &Kvd, line: &str) -> String {
    let words: Vec<&str> = line
        .split('\'')
        .enumerate()
        .flat_map(|(n, part)| match n % 2 {
            0 => part.split_whitespace().collect(),
            _ => vec![part],
        })
        .collect();
    let after = |flag: &str| {
        let position = words.iter().position(|word| *word == flag);
        words[position.unwrap_or_else(|| panic!("{flag} in {line}")) + 1]
    };
    let base = format!("http://{}", kvd.address());
    let path = words.iter().find_map(|word| word.strip_prefix(&base));
    let method: Method = after("-X").parse().expect("a method");
    let (name, value) = after("-H").split_once(": ").expect("a header");
    let call = kvd.request(method, path.expect("kvd's address"));
    let answer = call.header(name, value).body(after("-d").to_owned()).await;
    answer.text().to_owned()
}

async fn dev_prints_a_curl_line_that_works(env: Env) {
    let kvd = dev(&env).start().await;
    let line = curl_line(&kvd).await;
    let answer = match (find("curl", &[]), find("bash", &[])) {
        (Some(_), Some(bash)) => {
            let output = Command::new(bash).arg("-c").arg(&line).output().await;
            let output = output.expect("bash runs");
            assert!(output.status.success(), "{line}: {}", output.status);
            String::from_utf8(output.stdout).expect("text")
        }
        _ => as_curl_would(&kvd, &line).await,
    };
    let item: Value = serde_json::from_str(&answer).expect("an item");
    assert_eq!(item["version"], 1, "{line}: {answer}");
    let path = tests::item(item["key"].as_str().expect("a key"));
    assert_eq!(kvd.get(&path).await.expect(200).json(), item);
}

async fn dev_together_with_a_database_url_is_an_error(env: Env) {
    let url = env.database().url();
    let by_flag = dev(&env).arg("--database-url", &url);
    let by_variable = dev(&env).env("DATABASE_URL", &url);
    for start in [by_flag, by_variable] {
        let output = start.run().await.expect(2);
        assert_eq!(output.text(), "");
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
        assert!(output.stderr.contains("--dev"), "{}", output.stderr);
    }
    assert!(!env.directory().join("kvd-dev.db").exists());
}

async fn dev_ignores_a_database_url_in_dotenv(env: Env) {
    let line = format!("DATABASE_URL={}\nRATE_LIMIT=7\n", env.database().url());
    fs::write(env.directory().join(".env"), line).expect("a file");
    let kvd = dev(&env).start().await;
    let created = kvd.create("a", "b").await;
    // The rest of the file counts.
    let policy = created.header("ratelimit-policy");
    assert_eq!(policy, Some("\"default\";q=7;w=60"));
    let elsewhere: i64 = env.database().value("SELECT count(*) FROM items").await;
    assert_eq!(elsewhere, 0);
    assert!(env.directory().join("kvd-dev.db").exists());
}

async fn dev_logs_for_people(env: Env) {
    let kvd = dev(&env).start().await;
    let _answer = kvd.get("/items/").header("X-Request-Id", "mine").await;
    kvd.logged("mine").await;
    let log = kvd.log();
    assert!(log.lines().all(|line| !line.starts_with('{')), "{log}");
    assert!(!log.contains('\u{1b}'), "colours outside a terminal: {log}");
}
