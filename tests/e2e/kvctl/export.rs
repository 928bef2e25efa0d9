//! `kvctl export`: all items as lines of JSON, as they are at one moment.

use std::process::Stdio;

use serde_json::Value;
use tests::{
    Engine, Env,
    binaries::binary,
    pace::{PATIENCE, timeout},
    process::{self, Output},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    time::sleep,
};

use crate::kvctl::{
    import::{import, lines},
    said::assert_failed,
};

tests::list! {
    EveryEngine =>
        a_line_has_its_members_in_their_order,
        an_export_is_in_the_byte_order_of_the_keys,
        a_prefix_is_meant_byte_for_byte,
        keys_that_break_the_rule_are_exported_and_counted,
        an_export_is_one_snapshot_and_hinders_nobody,
        a_reader_that_goes_is_no_failure;
    Only(Engine::Postgres) => time_limits_of_the_database_do_not_end_an_export;
    Once => an_export_is_ndjson_only
}

/// An export whose reader is the test.
fn spawn(env: &Env) -> (Child, BufReader<ChildStdout>) {
    let program = binary("kvctl").unwrap_or_else(|e| panic!("{e}"));
    let mut child = Command::new(program)
        .arg("export")
        .env("DATABASE_URL", env.database().url())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("kvctl starts");
    let stdout = child.stdout.take().expect("stdout is piped");
    (child, BufReader::new(stdout))
}

/// What it said, when it has ended with success.
async fn success(child: Child) -> String {
    let ended = timeout(PATIENCE, child.wait_with_output()).await;
    let ended = ended.expect("it ends").expect("it is waited for");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(process::code(ended.status), 0, "{said}");
    said
}

/// Items that no pipe, socket or buffer between the table and a reader holds: 12 MB.
async fn fill(env: &Env) {
    let value = "v".repeat(200_000);
    let items = (0..60).map(|n| (format!("m{n:02}"), &value));
    let filling = lines(items);
    let _filled = import(env, &[], filling).await.expect(0);
}

#[track_caller]
fn keys(output: Output) -> Vec<String> {
    let key = |line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["key"].as_str().expect("a key").to_owned()
    };
    output.text().lines().map(key).collect()
}

async fn a_line_has_its_members_in_their_order(env: Env) {
    let value = "\"\\/\n\u{1f}\u{7f}é😀\u{2028}";
    let _put = env.kvctl(["put", "k/ \"é", value]).await.expect(0);
    let _put = env.kvctl(["put", "k/ \"é", value]).await.expect(0);
    let got = env.kvctl(["get", "k/ \"é", "-o", "json"]).await.expect(0);
    let item: Value = serde_json::from_str(got.text()).expect("JSON");
    for words in [
        &["export"][..],
        &["export", "-o", "ndjson"],
        &["export", "-o", "text"],
        &["export", "k"],
    ] {
        let export = env.kvctl([]).args(words).await.expect(0);
        assert_eq!(export.stderr, "");
        let expected = format!(
            "{{\"key\":{},\"value\":{},\"version\":2,\"created_at\":{},\"updated_at\":{}}}\n",
            item["key"], item["value"], item["created_at"], item["updated_at"]
        );
        assert_eq!(export.text(), expected);
    }
    let nothing = env.kvctl(["export", "nothing"]).await.expect(0);
    assert_eq!((nothing.text(), nothing.stderr.as_str()), ("", ""));
}

async fn an_export_is_in_the_byte_order_of_the_keys(env: Env) {
    let mut all = [
        "b", "a", "B", "é", "a/1", "a/é", "a0", "a ", " a", "😀", "\u{ffff}", "a%", "a_", "-", "~",
    ];
    let _imported = import(&env, &[], lines(all.map(|key| (key, "v"))))
        .await
        .expect(0);
    all.sort_unstable();
    assert_eq!(keys(env.kvctl(["export"]).await.expect(0)), all);
}

async fn a_prefix_is_meant_byte_for_byte(env: Env) {
    let all = [
        "a",
        "A",
        "a%",
        "a_",
        "ab",
        "a\u{10ffff}",
        "a\u{10ffff}b",
        "b",
        "é",
        "e",
        "\u{d7ff}",
        "\u{e000}",
    ];
    let _imported = import(&env, &[], lines(all.map(|key| (key, "v"))))
        .await
        .expect(0);
    for prefix in [
        "",
        "a",
        "A",
        "a%",
        "a_",
        "a\u{10ffff}",
        "\u{d7ff}",
        "e",
        "b",
        "\u{10ffff}",
    ] {
        let mut expected: Vec<_> = all.iter().filter(|key| key.starts_with(prefix)).collect();
        expected.sort_unstable();
        let found = keys(env.kvctl(["export", prefix]).await.expect(0));
        assert!(found.iter().eq(expected), "{prefix}: {found:?}");
    }
}

async fn keys_that_break_the_rule_are_exported_and_counted(env: Env) {
    let (column, odd) = match env.engine() {
        Engine::Mysql => ("`key`", "concat('a', char(10))"),
        Engine::Postgres => ("key", "'a' || chr(10)"),
        Engine::Sqlite => ("key", "'a' || char(10)"),
    };
    for key in ["''", "'..'", odd, "'fine'"] {
        let insert = format!("INSERT INTO items ({column}, value) VALUES ({key}, 'v')");
        env.database().execute(&insert).await;
    }
    let fine = env.kvctl(["export", "f"]).await.expect(0);
    assert_eq!(fine.stderr, "");
    let export = env.kvctl(["export"]).await.expect(0);
    assert!(
        export.stderr.contains(" 3 ") && export.stderr.lines().count() == 1,
        "{}",
        export.stderr
    );
    let exported = export.stdout.clone();
    assert_eq!(keys(export), ["", "..", "a\n", "fine"]);
    let refused = import(&env, &["--on-conflict", "skip"], exported).await;
    assert_failed(refused, 2, "line 1: ");
}

async fn an_export_is_one_snapshot_and_hinders_nobody(env: Env) {
    fill(&env).await;
    let _ends = import(&env, &[], lines([("a", "old"), ("y", "old"), ("z", "old")]))
        .await
        .expect(0);
    let (child, mut pipe) = spawn(&env);
    let mut first = String::new();
    pipe.read_line(&mut first).await.expect("a line");
    // It is in the middle now, and waits for its reader.
    let changed = import(
        &env,
        &["--on-conflict", "overwrite"],
        lines([("a", "new"), ("m59", "new"), ("x", "new"), ("z", "new")]),
    );
    let _changed = timeout(PATIENCE, changed)
        .await
        .expect("nobody waits")
        .expect(0);
    let _gone = env.kvctl(["delete", "y"]).await.expect(0);
    let mut rest = String::new();
    let read = timeout(PATIENCE, pipe.read_to_string(&mut rest)).await;
    read.expect("it comes to an end").expect("text");
    assert_eq!(success(child).await, "");
    let values: Vec<(String, String)> = format!("{first}{rest}")
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let member = |name: &str| line[name].as_str().expect("text").to_owned();
            (member("key"), member("value"))
        })
        .filter(|(key, value)| !key.starts_with('m') || value == "new")
        .collect();
    let old = ["a", "y", "z"].map(|key| (key.to_owned(), "old".to_owned()));
    assert_eq!(values, old);
}

async fn a_reader_that_goes_is_no_failure(env: Env) {
    fill(&env).await;
    let (child, mut pipe) = spawn(&env);
    pipe.read_exact(&mut [0]).await.expect("the first byte");
    drop(pipe);
    assert_eq!(success(child).await, "");
    // Nor if it was never there.
    let (child, pipe) = spawn(&env);
    drop(pipe);
    assert_eq!(success(child).await, "");
}

async fn time_limits_of_the_database_do_not_end_an_export(env: Env) {
    fill(&env).await;
    let name = env.database().name();
    let limits = "SELECT name FROM pg_settings WHERE name IN \
         ('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')";
    for limit in env.database().column::<String>(limits).await {
        let sql = format!("ALTER DATABASE {name} SET {limit} = '200ms'");
        env.database().execute(&sql).await;
    }
    let (child, mut pipe) = spawn(&env);
    let mut exported = vec![0];
    pipe.read_exact(&mut exported)
        .await
        .expect("the first byte");
    sleep(std::time::Duration::from_millis(1000)).await;
    pipe.read_to_end(&mut exported).await.expect("the rest");
    assert_eq!(success(child).await, "");
    assert_eq!(exported.iter().filter(|byte| **byte == b'\n').count(), 60);
}

async fn an_export_is_ndjson_only(env: Env) {
    for form in ["json", "table"] {
        assert_failed(env.kvctl(["export", "-o", form]).await, 2, "ndjson");
    }
    assert_failed(env.kvctl(["export", "a", "b"]).await, 2, "b");
}
