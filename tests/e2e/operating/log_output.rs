//! Where the log goes: to a pipe that is not read, to a closed one, to a full disk. And what others may write into it:
//! bounded text on the line of its error.

use std::{
    fs::File,
    io::{PipeReader, Read, pipe},
    process::Stdio,
    time::Instant,
};

use nix::{fcntl::FcntlArg, sys::signal::Signal};
use serde_json::Value;
use tests::{Engine, Env, Kvd, load::until};
use tokio::task::{JoinSet, spawn_blocking};

tests::list! {
    EveryEngine => a_value_that_the_database_quotes_forges_no_line_and_fills_no_disk;
    Once =>
        a_log_that_is_not_read_keeps_no_request_waiting_and_what_was_dropped_is_counted,
        a_log_that_is_not_read_does_not_keep_the_end_waiting,
        a_log_that_nothing_takes_ends_nothing,
        a_log_in_a_file_is_whole_to_its_last_line,
        a_mistake_that_quotes_what_was_given_commands_no_terminal
}

const DROPPED: &str = "kvd_log_lines_dropped_total";

/// Whether no character ends a line, commands a terminal or turns the direction of writing.
fn is_harmless(line: &str) -> bool {
    !line.contains(|c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c))
}

/// Makes the database refuse each new item with an error that quotes its value, as far as the engine quotes.
async fn refuse_and_quote(env: &Env) {
    let statements: &[&str] = match env.engine() {
        Engine::Postgres => &[
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             RAISE EXCEPTION 'refused: %', NEW.value; END $$",
            "CREATE TRIGGER refuse BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION refuse()",
        ],
        Engine::Mysql => &[
            "CREATE TRIGGER refuse BEFORE INSERT ON items FOR EACH ROW BEGIN \
             DECLARE said VARCHAR(120) CHARACTER SET utf8mb4 \
             DEFAULT concat('refused: ', left(NEW.value, 100)); \
             SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = said; END",
        ],
        Engine::Sqlite => &["CREATE TRIGGER refuse BEFORE INSERT ON items BEGIN \
             SELECT RAISE(ABORT, 'refused: ' || NEW.value); END"],
    };
    for sql in statements {
        env.database().execute(sql).await;
    }
}

async fn a_value_that_the_database_quotes_forges_no_line_and_fills_no_disk(env: Env) {
    refuse_and_quote(&env).await;
    let padding = "y".repeat(100_000);
    for format in ["text", "json"] {
        let kvd = env
            .kvd()
            .without_env("RUST_LOG")
            .arg("--log-format", format);
        let kvd = kvd.start().await;
        let begun = Instant::now();
        for n in 0..50 {
            let hostile = format!(
                "{n}\n2026-01-01T00:00:00Z  INFO forged\r\u{1b}[2J\u{9b}2J\u{202e}{padding}"
            );
            let refused = kvd.post("a", &hostile).await;
            assert_eq!(refused.status, 500, "{}", refused.text());
        }
        let log = kvd.stop().await.expect(0).stderr;
        assert!(log.contains("refused: "), "{log}");
        let is_quoting = |line: &&str| line.contains("refused: ");
        let quoting: Vec<&str> = log.lines().filter(is_quoting).collect();
        let most = 10 * (1 + begun.elapsed().as_secs() as usize / 10);
        let written = quoting.len();
        assert!((1..=most).contains(&written), "{written} lines of {most}");
        for line in log.lines() {
            assert!(is_harmless(line) && line.len() < 4096, "{line}");
            assert!(!line.starts_with("2026-01-01T00:00:00Z"), "{line}");
        }
        for line in quoting.iter().filter(|_| format == "json") {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let error = line["error"].as_str().expect("an error");
            // A machine gets what was said; MariaDB itself escapes what else there is.
            assert!(
                error.contains("\n2026-01-01T00:00:00Z  INFO forged\r"),
                "{error}"
            );
            assert!(error.len() <= 1024, "{} bytes", error.len());
        }
    }
}

/// A pipe that takes no more than a page, and a kvd that has a lot to say into it.
async fn unread(env: &Env) -> (Kvd, PipeReader) {
    let (reader, writer) = pipe().expect("a pipe");
    nix::fcntl::fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).expect("a small pipe");
    (env.kvd().stderr(writer).start().await, reader)
}

/// Asks until lines have been dropped; each request is answered.
async fn until_lines_are_dropped(kvd: &Kvd) {
    let id = "x".repeat(128);
    until("lines are dropped", async || {
        let mut requests = JoinSet::new();
        for _ in 0..500 {
            let request = kvd.get("/livez").header("X-Request-Id", &id);
            requests.spawn(async move { request.await.expect(200) });
        }
        let _answers = requests.join_all().await;
        kvd.metric(DROPPED).await > 0.0
    })
    .await;
}

async fn a_log_that_is_not_read_keeps_no_request_waiting_and_what_was_dropped_is_counted(env: Env) {
    let (kvd, mut reader) = unread(&env).await;
    until_lines_are_dropped(&kvd).await;
    let _written = kvd.create("a", "b").await;
    let dropped = kvd.metric(DROPPED).await;
    // From now on it is read.
    let log = spawn_blocking(move || {
        let mut log = String::new();
        reader.read_to_string(&mut log).expect("the log is UTF-8");
        log
    });
    until("the log goes on", async || {
        let before = kvd.metric(DROPPED).await;
        let _more = kvd.get("/livez").await;
        kvd.metric(DROPPED).await == before
    })
    .await;
    let _last = kvd
        .get("/livez")
        .header("X-Request-Id", "the-last-one")
        .await;
    let all_dropped = kvd.metric(DROPPED).await;
    assert!(all_dropped >= dropped);
    assert_eq!(kvd.stop().await.code, 0);
    let log = log.await.expect("it is read to its end");
    let said = log
        .lines()
        .filter(|line| line.contains("lines of the log were dropped"));
    let said = said.filter_map(|line| line.rsplit_once("lines=")?.1.parse::<f64>().ok());
    assert_eq!(said.sum::<f64>(), all_dropped, "{log}");
    assert!(
        log.lines().all(|line| line.starts_with("20")),
        "a line is torn: {log}"
    );
    assert!(log.contains("the-last-one") && log.contains("leaving"));
}

async fn a_log_that_is_not_read_does_not_keep_the_end_waiting(env: Env) {
    let (kvd, _reader) = unread(&env).await;
    until_lines_are_dropped(&kvd).await;
    assert_eq!(kvd.stop().await.code, 0);
}

async fn a_log_that_nothing_takes_ends_nothing(env: Env) {
    let (_, broken_pipe) = pipe().expect("a pipe");
    let full_disk = File::options().write(true).open("/dev/full");
    let full_disk = full_disk.expect("/dev/full");
    for stderr in [Stdio::from(broken_pipe), Stdio::from(full_disk)] {
        let kvd = env.kvd().stderr(stderr).start().await;
        for _ in 0..10 {
            let _answer = kvd.get("/items/").await.expect(200);
        }
        until("the lines are counted", async || {
            kvd.metric(DROPPED).await > 10.0
        })
        .await;
        assert_eq!(kvd.stop().await.code, 0);
    }
    // No standard error at all.
    let kvd = env.kvd().prepared("exec 2>&-").start().await;
    let _answer = kvd.get("/items/").await.expect(200);
    kvd.signal(Signal::SIGTERM);
    assert_eq!(kvd.end().await.code, 0);
}

async fn a_log_in_a_file_is_whole_to_its_last_line(env: Env) {
    let file = env.directory().join("log");
    let stderr = File::create(&file).expect("a file");
    let kvd = env.kvd().stderr(stderr).start().await;
    let mut requests = JoinSet::new();
    for n in 0..1000 {
        let request = kvd
            .get("/livez")
            .header("X-Request-Id", &format!("request-{n}-"));
        requests.spawn(async move { request.await.expect(200) });
    }
    let _answers = requests.join_all().await;
    assert_eq!(kvd.stop().await.code, 0);
    let log = std::fs::read_to_string(file).expect("the log");
    for n in 0..1000 {
        assert!(log.contains(&format!("request-{n}-")), "{n}");
    }
    let last = log.lines().last().expect("a line");
    assert!(last.contains("leaving"), "{last}");
    let times: Vec<&str> = log
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(times.iter().all(|time| time.ends_with('Z')), "{times:?}");
}

async fn a_mistake_that_quotes_what_was_given_commands_no_terminal(env: Env) {
    for wrong in [
        "\u{1b}[2J\u{9b}\n\u{202e}",
        &format!("--{}", "x\u{9b}".repeat(100_000 / 3)),
    ] {
        let output = env.kvd().flag(wrong).run().await.expect(2);
        let line = output.stderr.strip_suffix('\n').expect("a line");
        assert!(is_harmless(line), "{line}");
        assert!(line.len() < 1100, "{} bytes", line.len());
    }
}
