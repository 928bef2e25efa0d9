//! `kvctl get`: the value byte for byte, or the whole item.

use std::{fs, process::Stdio};

use serde_json::Value;
use tests::{
    Env,
    binaries::binary,
    item,
    pace::{PATIENCE, timeout},
    process,
};
use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
};

use crate::kvctl::said::assert_failed;

tests::list! {
    EveryEngine =>
        get_gives_the_value_byte_for_byte,
        get_with_json_gives_the_item_as_kvd_does,
        get_of_a_missing_key_is_exit_code_1;
    Once =>
        a_broken_pipe_is_success,
        output_that_cannot_be_written_is_a_failure,
        a_change_that_cannot_be_told_is_told_as_made
}

async fn get_gives_the_value_byte_for_byte(env: Env) {
    let large = "é😀v".repeat(37_449) + "x";
    assert_eq!(large.len(), 262_144);
    let values = [
        "",
        "plain",
        "line\n",
        "\n",
        "\n\n",
        "a\r\nb",
        " ",
        "\u{7f}\u{1b}[0m",
        "é😀",
        &large,
    ];
    let kvd = env.start().await;
    for value in values {
        let put = kvd.put("/items/a?upsert=true", value).await;
        assert!(put.status < 300);
        let got = env.kvctl(["get", "a"]).await.expect(0);
        assert!(
            got.stdout == value.as_bytes(),
            "another value than {value:.20}"
        );
        assert_eq!(got.stderr, "");
    }
}

async fn get_with_json_gives_the_item_as_kvd_does(env: Env) {
    let kvd = env.start().await;
    for key in ["a", "/slash/", " sp ace ", "\"quoted\"", "é😀"] {
        let _put = env.kvctl(["put", key, "line\n"]).await.expect(0);
        let got = env.kvctl(["get", key, "-o", "json"]).await.expect(0);
        assert!(got.text().ends_with('\n') && got.text().lines().count() == 1);
        let got: Value = serde_json::from_str(got.text()).expect("JSON");
        assert_eq!(got, kvd.get(&item(key)).await.expect(200).json());
        let other_way = env.kvctl(["--output", "json", "get", key]).await.expect(0);
        let other_way: Value = serde_json::from_str(other_way.text()).expect("JSON");
        assert_eq!(got, other_way);
    }
}

async fn get_of_a_missing_key_is_exit_code_1(env: Env) {
    assert_failed(env.kvctl(["get", "missing"]).await, 1, "missing");
    assert_failed(
        env.kvctl(["get", "missing", "-o", "json"]).await,
        1,
        "missing",
    );
    let _put = env.kvctl(["put", "a", "b"]).await.expect(0);
    for near in ["A", "a ", "", "."] {
        assert_failed(env.kvctl(["get", near]).await, 1, near);
    }
}

/// `kvctl` writing into what the test chooses.
fn into(env: &Env, words: &[&str], stdout: Stdio) -> Child {
    let program = binary("kvctl").unwrap_or_else(|e| panic!("{e}"));
    Command::new(program)
        .args(words)
        .env("DATABASE_URL", env.database().url())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("kvctl starts")
}

/// What kvctl says when the disk is full that it writes to.
async fn with_a_full_disk(env: &Env, words: &[&str]) -> String {
    let full = fs::OpenOptions::new().write(true).open("/dev/full");
    let full = full.expect("Linux has /dev/full");
    let ended = into(env, words, full.into()).wait_with_output().await;
    let ended = ended.expect("kvctl runs");
    assert_eq!(process::code(ended.status), 2);
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

async fn a_broken_pipe_is_success(env: Env) {
    // More than a pipe holds, so that kvctl is still writing when its reader goes.
    let large = env.kvctl(["put", "a", "-"]).stdin(vec![b'v'; 262_144]);
    let _put = large.await.expect(0);
    let mut kvctl = into(&env, &["get", "a"], Stdio::piped());
    let mut pipe = kvctl.stdout.take().expect("stdout is piped");
    pipe.read_exact(&mut [0]).await.expect("the first byte");
    drop(pipe);
    let ended = timeout(PATIENCE, kvctl.wait_with_output()).await;
    let ended = ended.expect("it ends").expect("it is waited for");
    assert_eq!(process::code(ended.status), 0);
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}

async fn output_that_cannot_be_written_is_a_failure(env: Env) {
    let _put = env.kvctl(["put", "a", "b"]).await.expect(0);
    let _said = with_a_full_disk(&env, &["get", "a"]).await;
}

async fn a_change_that_cannot_be_told_is_told_as_made(env: Env) {
    let said = with_a_full_disk(&env, &["put", "a", "b"]).await;
    assert!(said.contains("it is stored, but"), "{said}");
    let said = with_a_full_disk(&env, &["delete", "a"]).await;
    assert!(said.contains("it is done, but"), "{said}");
    let _gone = env.kvctl(["get", "a"]).await.expect(1);
}
