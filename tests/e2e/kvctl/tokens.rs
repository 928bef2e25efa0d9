//! `kvctl token`: each is shown once, and only its hash is stored.

use serde_json::Value;
use tests::{Env, load::until, process::Output, token::made_up};

use crate::kvctl::said::assert_failed;

tests::list! {
    EveryEngine =>
        a_token_is_shown_once_and_only_its_hash_is_stored,
        what_a_token_allows_is_listed,
        a_name_is_that_of_one_live_token,
        a_successor_keeps_rules_and_end,
        the_one_before_lives_on_as_long_as_is_asked,
        a_token_ends_at_its_time_by_the_clock_of_the_database,
        a_token_is_revoked_by_its_id_its_name_or_itself;
    Once =>
        mistakes_are_told_before_the_database_is_asked
}

pub(super) async fn token(env: &Env, words: &[&str]) -> Output {
    env.kvctl(["token"]).args(words).await
}

/// Each token: name, id and state.
async fn listed(env: &Env) -> Vec<(String, i64, String)> {
    let all = list(env).await;
    let text = |member: &Value| member.as_str().expect("a text").to_owned();
    let row = |token: &Value| {
        let id = token["id"].as_i64().expect("an id");
        (text(&token["name"]), id, text(&token["state"]))
    };
    all.iter().map(row).collect()
}

pub(super) async fn list(env: &Env) -> Vec<Value> {
    let listed = token(env, &["list", "-o", "json"]).await.expect(0);
    serde_json::from_str(listed.text()).expect("JSON")
}

pub(super) async fn states(env: &Env) -> Vec<String> {
    let all = listed(env).await;
    all.into_iter().map(|(_, _, state)| state).collect()
}

async fn a_token_is_shown_once_and_only_its_hash_is_stored(env: Env) {
    let created = token(&env, &["create", "app", "--write", "app/"])
        .await
        .expect(0);
    assert_eq!(created.stderr, "");
    let secret = created.text().strip_suffix('\n').expect("a line");
    let random = secret.strip_prefix("kvd_").expect("the mark of a token");
    assert_eq!(random.len(), 36);
    assert!(
        random.bytes().all(|b| b.is_ascii_alphanumeric()),
        "{secret}"
    );
    let stored: String = env.database().value("SELECT sha256 FROM kvd_tokens").await;
    let hash = std::process::Command::new("sh")
        .args(["-c", &format!("printf %s {secret} | sha256sum")])
        .output()
        .expect("sha256sum");
    let hash = String::from_utf8(hash.stdout).expect("text");
    assert_eq!(hash.split(' ').next(), Some(stored.as_str()));
    for words in [
        &["list"][..],
        &["list", "-o", "json"],
        &["list", "-o", "table"],
    ] {
        let listed = token(&env, words).await.expect(0);
        assert!(listed.text().contains("app") && !listed.text().contains(random));
    }
    let json = token(&env, &["create", "other", "--read", "", "-o", "json"])
        .await
        .expect(0);
    let json: Value = serde_json::from_str(json.text()).expect("JSON");
    assert!(
        json["token"]
            .as_str()
            .is_some_and(|token| token.starts_with("kvd_"))
    );
    assert_eq!(json["name"], "other");
}

// Long: each way to list them.
async fn what_a_token_allows_is_listed(env: Env) {
    let words = [
        "create",
        "app",
        "--write",
        "app/",
        "--read",
        "sh\"é/",
        "--read",
        "",
        "--expires-in",
        "90d",
    ];
    let _created = token(&env, &words).await.expect(0);
    let _created = token(&env, &["create", "all", "--write", ""])
        .await
        .expect(0);
    let all = list(&env).await;
    assert_eq!(
        all[0]["rules"],
        serde_json::json!([
            { "prefix": "sh\"é/", "access": "read" },
            { "prefix": "", "access": "read" },
            { "prefix": "app/", "access": "write" },
        ])
    );
    assert!(
        all[0]["expires_at"].as_str() > all[0]["created_at"].as_str(),
        "{all:?}"
    );
    assert_eq!(all[1]["expires_at"], Value::Null);
    let lines = token(&env, &["list"]).await.expect(0);
    let first = lines.text().lines().next().expect("a line").to_owned();
    assert!(
        first.starts_with("app\t1\tlive\twrite \"app/\", read "),
        "{first}"
    );
    assert!(
        lines.text().contains("\tlive\twrite \"\"\tnever\t"),
        "{}",
        lines.text()
    );
    let lines = token(&env, &["list", "-o", "ndjson"]).await.expect(0);
    assert_eq!(lines.text().lines().count(), 2);
}

async fn a_name_is_that_of_one_live_token(env: Env) {
    let create = ["create", "app", "--read", ""];
    let _created = token(&env, &create).await.expect(0);
    assert_failed(
        token(&env, &create).await,
        1,
        "a live token has the name app",
    );
    let _other = token(&env, &["create", "App", "--read", ""])
        .await
        .expect(0);
    let revoked = token(&env, &["revoke", "app"]).await.expect(0);
    assert_eq!(revoked.text(), "revoked 1\n");
    assert_failed(
        token(&env, &["revoke", "app"]).await,
        1,
        "no live token \"app\"",
    );
    let _created = token(&env, &create).await.expect(0);
    assert_eq!(states(&env).await, ["revoked", "live", "live"]);
}

async fn a_successor_keeps_rules_and_end(env: Env) {
    let words = [
        "create",
        "app",
        "--write",
        "a/",
        "--read",
        "b/",
        "--expires-in",
        "1h",
    ];
    let before = token(&env, &words).await.expect(0);
    let after = token(&env, &["rotate", "app"]).await.expect(0);
    assert_ne!(before.text(), after.text());
    let all = list(&env).await;
    assert_eq!(
        (&all[0]["state"], &all[1]["state"]),
        (&"revoked".into(), &"live".into())
    );
    for member in ["name", "rules", "expires_at"] {
        assert_eq!(all[0][member], all[1][member], "{member}");
    }
    assert_failed(
        token(&env, &["rotate", "nobody"]).await,
        1,
        "no live token \"nobody\"",
    );
}

async fn the_one_before_lives_on_as_long_as_is_asked(env: Env) {
    let _created = token(&env, &["create", "app", "--read", ""])
        .await
        .expect(0);
    let _second = token(&env, &["rotate", "app", "--overlap", "1h"])
        .await
        .expect(0);
    assert_eq!(states(&env).await, ["live", "live"]);
    assert_failed(
        token(&env, &["create", "app", "--read", ""]).await,
        1,
        "a live token has the name app",
    );
    let _third = token(&env, &["rotate", "app", "--overlap", "1h"])
        .await
        .expect(0);
    assert_eq!(
        states(&env).await,
        ["revoked", "live", "live"],
        "never three"
    );
    let ends: Vec<bool> = list(&env)
        .await
        .iter()
        .map(|token| token["expires_at"].is_string())
        .collect();
    assert_eq!(ends, [true, true, false]);
    // An end that comes earlier stays.
    let _fourth = token(&env, &["rotate", "app", "--overlap", "1s"])
        .await
        .expect(0);
    let both = token(&env, &["revoke", "app"]).await.expect(0);
    assert!(
        ["revoked 3, 4\n", "revoked 4\n"].contains(&both.text()),
        "{}",
        both.text()
    );
}

async fn a_token_ends_at_its_time_by_the_clock_of_the_database(env: Env) {
    let _created = token(&env, &["create", "app", "--read", "", "--expires-in", "1s"])
        .await
        .expect(0);
    until("it has ended", async || states(&env).await == ["ended"]).await;
    let _again = token(&env, &["create", "app", "--read", ""])
        .await
        .expect(0);
    let _rotated = token(&env, &["rotate", "app", "--overlap", "1s"])
        .await
        .expect(0);
    until("it has ended", async || {
        states(&env).await == ["ended", "ended", "live"]
    })
    .await;
}

async fn a_token_is_revoked_by_its_id_its_name_or_itself(env: Env) {
    let secret = env.token(["first", "--read", ""]).await;
    for name in ["second", "third", "fourth"] {
        let _created = token(&env, &["create", name, "--read", ""]).await.expect(0);
    }
    for (given, revoked) in [(secret.as_str(), 1), ("2", 2), ("third", 3)] {
        let told = token(&env, &["revoke", given]).await.expect(0);
        assert_eq!(told.text(), format!("revoked {revoked}\n"));
        let again = token(&env, &["revoke", given]).await;
        assert_failed(again, 1, "no live token");
    }
    assert_failed(token(&env, &["revoke", &made_up()]).await, 1, "is this one");
    assert_failed(token(&env, &["revoke", "99"]).await, 1, "\"99\"");
    assert_eq!(
        states(&env).await,
        ["revoked", "revoked", "revoked", "live"]
    );
}

// Long: one table of mistakes.
async fn mistakes_are_told_before_the_database_is_asked(env: Env) {
    let long = "a".repeat(65);
    for (words, said) in [
        (&["create", "app"][..], "a token needs at least one rule"),
        (&["create", "a b", "--read", ""], "1 to 64 letters"),
        (&["create", "", "--read", ""], "1 to 64 letters"),
        (&["create", &long, "--read", ""], "1 to 64 letters"),
        (
            &["create", "app", "--read", "", "--expires-in", "-1h"],
            "in the past",
        ),
        (
            &["create", "app", "--read", "", "--expires-in", "0s"],
            "no time from now",
        ),
        (
            &["create", "app", "--read", "", "--expires-in", "1ms"],
            "whole seconds",
        ),
        (
            &["create", "app", "--read", "", "--expires-in", "300years"],
            "a hundred years",
        ),
        (
            &["create", "app", "--read", "", "--expires-in", "soon"],
            "such as 30m, 12h or 90d",
        ),
        (
            &["rotate", "app", "--overlap", "1"],
            "such as 30m, 12h or 90d",
        ),
        (
            &["create", "app", "--read", "a\nb"],
            "no key has a control character",
        ),
        (&["revoke"], "<ID|NAME>"),
        (&["revoke", "é"], "neither an id nor a name"),
        (&["revoke", "same "], "neither an id nor a name"),
        (&["revoke", "+3"], "neither an id nor a name"),
        (&["revoke", "kvd_x"], "is it all there?"),
        (&["create", "17", "--read", ""], "not digits alone"),
        (
            &["create", "kvd_x", "--read", ""],
            "does not begin with kvd_",
        ),
    ] {
        let call = env.kvctl_bare(["token"]).args(words);
        let output = call
            .env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
            .await
            .expect(2);
        assert!(output.stderr.contains(said), "{words:?}: {}", output.stderr);
        assert_eq!(output.text(), "");
    }
}
