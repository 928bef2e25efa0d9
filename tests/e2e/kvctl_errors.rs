//! What kvctl says when something is wrong: what happened, why, and what to do next.

use std::{fs, time::Instant};

use tests::{Engine, Env, process::Output};

tests::list! {
    EveryEngine => every_command_says_that_the_database_is_not_migrated;
    Once =>
        a_closed_port_is_said_at_once,
        what_is_wrong_with_a_file_is_said,
        an_unknown_host_is_said,
        a_read_only_file_is_said,
        a_missing_key_says_how_to_find_those_there_are,
        what_is_too_large_names_the_setting;
    Only(Engine::Postgres) =>
        an_unknown_database_is_said,
        what_the_user_may_not_do_is_said,
        a_read_only_database_is_said,
        a_lock_that_does_not_go_is_not_waited_for_in_vain;
    Only(Engine::Mysql) => an_unknown_database_is_said
}

/// It failed with a line or two that has these parts, nothing on standard output, and nothing that
/// only a programmer understands.
#[track_caller]
fn assert_said(output: Output, code: i32, parts: &[&str]) {
    let output = output.expect(code);
    assert_eq!(output.text(), "");
    let said = &output.stderr;
    assert!((1..=2).contains(&said.lines().count()), "{said}");
    assert!(said.starts_with("kvctl: "), "{said}");
    for part in parts {
        assert!(said.contains(part), "no {part}: {said}");
    }
    for word in [
        "DbErr",
        "Error(",
        "panicked",
        "Some(",
        "os error",
        "sqlx",
        "s3cret",
        "PoolTimedOut",
    ] {
        assert!(!said.contains(word), "{word}: {said}");
    }
}

const COMMANDS: [&[&str]; 11] = [
    &["get", "a"],
    &["put", "a", "b"],
    &["delete", "a"],
    &["list"],
    &["count"],
    &["inspect", "a"],
    &["export"],
    &["import", "-"],
    &["import", "-", "--dry-run"],
    &["import", "-", "--on-conflict", "overwrite"],
    &["seed"],
];

async fn every_command_says_that_the_database_is_not_migrated(env: Env) {
    let empty = env.empty_database().await;
    empty.execute("CREATE TABLE unrelated (n INTEGER)").await;
    for words in COMMANDS {
        let said = env.kvctl_on(&empty, []).args(words).await;
        assert_said(said, 2, &["not migrated", "run kvctl migrate"]);
    }
}

async fn a_closed_port_is_said_at_once(env: Env) {
    for url in [
        "postgres://user:s3cret@127.0.0.1:1/db",
        "mysql://user:s3cret@127.0.0.1:1/db",
    ] {
        for words in COMMANDS.into_iter().chain([&["migrate"][..], &["inspect"]]) {
            let begun = Instant::now();
            let said = env
                .kvctl_bare([])
                .args(words)
                .env("DATABASE_URL", url)
                .await;
            // The driver's pool would try for five seconds.
            assert!(begun.elapsed().as_secs() < 4, "{words:?}");
            assert_said(said, 2, &["127.0.0.1:1/db", "refused", "server running"]);
        }
    }
}

async fn what_is_wrong_with_a_file_is_said(env: Env) {
    fs::write(env.directory().join("text"), "no database\n".repeat(100)).expect("a file");
    for (url, parts) in [
        (
            "sqlite://missing.db",
            &["missing.db", "kvctl migrate creates"][..],
        ),
        ("sqlite://.", &["sqlite://."]),
        ("sqlite://text", &["text", "not a database"]),
        ("sqlite://no/such/directory.db", &["no/such/directory.db"]),
    ] {
        for words in [["get", "a"], ["count", ""]] {
            let said = env.kvctl_bare(words).env("DATABASE_URL", url).await;
            assert_said(said, 2, parts);
        }
    }
    assert!(!env.directory().join("missing.db").exists());
}

async fn an_unknown_host_is_said(env: Env) {
    let url = "postgres://user:s3cret@no-such-host.invalid/db";
    let said = env.kvctl_bare(["count"]).env("DATABASE_URL", url).await;
    assert_said(said, 2, &["no-such-host.invalid"]);
}

async fn a_read_only_file_is_said(env: Env) {
    let _put = env.kvctl(["put", "a", "b"]).await.expect(0);
    let url = env.database().url().replace("mode=rwc", "mode=ro");
    let read = env.kvctl_bare(["get", "a"]).env("DATABASE_URL", &url).await;
    assert_eq!(read.expect(0).text(), "b");
    for words in [&["put", "a", "c"][..], &["delete", "a"], &["seed"]] {
        let said = env
            .kvctl_bare([])
            .args(words)
            .env("DATABASE_URL", &url)
            .await;
        assert_said(said, 2, &["read-only"]);
    }
}

async fn a_missing_key_says_how_to_find_those_there_are(env: Env) {
    for command in ["get", "inspect"] {
        assert_said(
            env.kvctl([command, "missing"]).await,
            1,
            &["\"missing\"", "kvctl list"],
        );
    }
    assert_said(
        env.kvctl(["delete", "missing"]).await,
        1,
        &["\"missing\"", "--ignore-missing"],
    );
}

async fn what_is_too_large_names_the_setting(env: Env) {
    let long = "k".repeat(513);
    assert_said(env.kvctl(["put", &long, "v"]).await, 2, &["512", "513"]);
    let large = env
        .kvctl(["put", "a", "-"])
        .stdin(vec![b'v'; 262_145])
        .await;
    assert_said(large, 2, &["262144", "262145", "--max-value-bytes"]);
    let line = format!("{{\"key\":\"a\",\"value\":\"{}\"}}", "v".repeat(262_145));
    let line = env.kvctl(["import", "-"]).stdin(line).await;
    assert_said(line, 2, &["line 1", "262145", "--max-value-bytes"]);
    let raised = env.kvctl(["put", "a", "-", "--max-value-bytes", "300000"]);
    let _put = raised.stdin(vec![b'v'; 262_145]).await.expect(0);
}

async fn an_unknown_database_is_said(env: Env) {
    let missing = format!("{}_missing", env.database().url());
    let said = env.kvctl_bare(["count"]).env("DATABASE_URL", &missing);
    // MySQL tells of a database only whom it concerns.
    let parts = match env.engine() {
        Engine::Postgres => &["_missing", "create the database"][..],
        _ => &["_missing"],
    };
    assert_said(said.await, 2, parts);
}

async fn what_the_user_may_not_do_is_said(env: Env) {
    let url = env.database().url();
    let name = format!("{}_reader", env.database().name());
    for statement in [
        format!("CREATE ROLE {name} LOGIN PASSWORD 's3cret'"),
        format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}"),
    ] {
        env.database().execute(&statement).await;
    }
    let (_, host) = url.split_once('@').expect("a URL with a user");
    let reader = format!("postgres://{name}:s3cret@{host}");
    let read = env.kvctl_bare(["count"]).env("DATABASE_URL", &reader).await;
    assert_eq!(read.expect(0).text(), "0\n");
    for words in [&["put", "a", "b"][..], &["seed"], &["import", "-"]] {
        let line = r#"{"key":"a","value":"b"}"#;
        let said = env.kvctl_bare([]).args(words).stdin(line);
        let said = said.env("DATABASE_URL", &reader).await;
        assert_said(said, 2, &["lacks a right", "grant it"]);
    }
    let drop = format!("DROP OWNED BY {name}; DROP ROLE {name}");
    env.database().execute(&drop).await;
}

async fn a_read_only_database_is_said(env: Env) {
    let name = env.database().name();
    env.database()
        .execute(&format!(
            "ALTER DATABASE {name} SET default_transaction_read_only = on"
        ))
        .await;
    for words in [&["put", "a", "b"][..], &["seed"]] {
        let said = env.kvctl([]).args(words).await;
        assert_said(said, 2, &["read-only"]);
    }
    assert_eq!(env.kvctl(["count"]).await.expect(0).text(), "0\n");
}

async fn a_lock_that_does_not_go_is_not_waited_for_in_vain(env: Env) {
    use sea_orm::{ConnectionTrait, TransactionTrait};
    let _put = env.kvctl(["put", "a", "b"]).await.expect(0);
    let lock = env
        .database()
        .connection()
        .await
        .begin()
        .await
        .expect("BEGIN");
    lock.execute_unprepared("SELECT 1 FROM items FOR UPDATE")
        .await
        .expect("a lock");
    let put = env.kvctl(["put", "a", "c"]).spawn();
    let delete = env.kvctl(["delete", "a"]).spawn();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    lock.rollback().await.expect("ROLLBACK");
    // In whichever order.
    let put = put.end().await.expect(0);
    assert!(["1\n", "2\n"].contains(&put.text()), "{}", put.text());
    assert_eq!(delete.end().await.expect(0).text(), "1\n");
}
