//! Tokens where something is in the way: others at the same time, a later version, a table that is not kvd's.

use std::future::IntoFuture;

use serde_json::Value;
use tests::{Engine, Env, load::together};

use crate::kvctl::{
    said::assert_failed,
    tokens::{list, states, token},
};

tests::list! {
    EveryEngine =>
        of_many_that_are_created_at_once_under_one_name_one_is,
        of_many_rotations_at_once_all_end,
        a_token_that_could_not_be_printed_can_be_taken_back,
        rules_of_a_later_version_are_listed_and_let_nobody_in,
        a_table_of_others_is_neither_used_nor_dropped,
        tokens_are_lost_only_where_that_is_meant;
    Only(Engine::Postgres) =>
        a_new_schema_before_theirs_hides_no_tokens
}

async fn of_many_that_are_created_at_once_under_one_name_one_is(env: Env) {
    let answers = together(8, |_| {
        env.kvctl(["token", "create", "app", "--read", ""])
            .into_future()
    })
    .await;
    let created = answers.iter().filter(|output| output.code == 0).count();
    assert_eq!(created, 1, "{answers:?}");
    assert!(answers.iter().all(|output| output.code <= 1), "{answers:?}");
    assert_eq!(states(&env).await, ["live"]);
}

/// Of the two that are live then, it is the older one that clients have.
async fn a_token_that_could_not_be_printed_can_be_taken_back(env: Env) {
    let _used = token(&env, &["create", "app", "--read", ""])
        .await
        .expect(0);
    let lost = env.kvctl(["token", "rotate", "app", "--overlap", "1h"]);
    let lost = lost.nobody_reads().await;
    assert_failed(lost, 2, "kvctl token revoke 2, then make another one");
    assert_eq!(states(&env).await, ["live", "live"]);
    let _back = token(&env, &["revoke", "2"]).await.expect(0);
    let _again = token(&env, &["rotate", "app", "--overlap", "1h"])
        .await
        .expect(0);
    assert_eq!(states(&env).await, ["live", "revoked", "live"]);
    let ends: Vec<bool> = list(&env)
        .await
        .iter()
        .map(|token| token["expires_at"].is_string())
        .collect();
    assert_eq!(
        ends,
        [true, false, false],
        "its successor has its own end: none"
    );
}

async fn rules_of_a_later_version_are_listed_and_let_nobody_in(env: Env) {
    let secret = env.token(["app", "--read", ""]).await;
    let _other = token(&env, &["create", "other", "--read", ""])
        .await
        .expect(0);
    let later = r#"[{"prefix":"","access":"read","till":"noon"}]"#;
    let set = format!("UPDATE kvd_tokens SET rules = '{later}' WHERE name = 'app'");
    env.database().execute(&set).await;
    let all = list(&env).await;
    assert_eq!(
        (&all[0]["rules"], &all[0]["state"]),
        (&Value::Null, &"live".into())
    );
    let lines = token(&env, &["list"]).await.expect(0);
    assert!(
        lines.text().contains("\tof a later version\t"),
        "{}",
        lines.text()
    );
    let kvd = env.kvd().env("AUTH", "tokens").start().await;
    let read = kvd.with_token(&secret).get("/items/").await;
    assert!(read.status >= 500, "{}", read.status);
    let _revoked = token(&env, &["revoke", "app"]).await.expect(0);
}

async fn a_table_of_others_is_neither_used_nor_dropped(env: Env) {
    let database = env.empty_database().await;
    let make = "CREATE TABLE kvd_tokens (mine integer, revoked_at integer)";
    database.execute(make).await;
    database
        .execute("INSERT INTO kvd_tokens VALUES (1, 2)")
        .await;
    let kept = async || {
        let mine: i32 = database.value("SELECT mine FROM kvd_tokens").await;
        assert_eq!(mine, 1);
    };
    let migrate = env.kvctl_on(&database, ["migrate"]).await;
    assert_failed(migrate, 2, "a table kvd_tokens that is not kvd's");
    kept().await;
    // Also where it took the place of ours.
    database.execute("DROP TABLE kvd_tokens").await;
    let _migrated = env.kvctl_on(&database, ["migrate"]).await.expect(0);
    database.execute("DROP TABLE kvd_tokens").await;
    database.execute(make).await;
    database
        .execute("INSERT INTO kvd_tokens VALUES (1, 2)")
        .await;
    for words in [
        &["fresh", "--yes"][..],
        &["down", "--steps", "3", "--yes"],
        &["down", "--steps", "9", "--yes"],
        &["fresh", "--yes", "--tokens"],
    ] {
        let refused = env.kvctl_on(&database, ["migrate"]).args(words).await;
        assert_failed(refused, 2, "a table kvd_tokens that is not kvd's");
        kept().await;
    }
}

async fn of_many_rotations_at_once_all_end(env: Env) {
    let _created = token(&env, &["create", "app", "--read", ""])
        .await
        .expect(0);
    let rotated = together(8, |_| {
        let rotate = env.kvctl(["token", "rotate", "app", "--overlap", "1h"]);
        rotate.into_future()
    })
    .await;
    for output in rotated {
        let _rotated = output.expect(0);
    }
    let states = states(&env).await;
    let live = states.iter().filter(|state| *state == "live").count();
    assert_eq!((states.len(), live), (9, 2), "{states:?}");
}

async fn tokens_are_lost_only_where_that_is_meant(env: Env) {
    let create = ["create", "app", "--read", ""];
    let _created = token(&env, &create).await.expect(0);
    assert_failed(
        env.kvctl(["migrate", "down", "--steps", "3"]).await,
        2,
        "tokens would be lost: 1",
    );
    assert_failed(
        env.kvctl(["migrate", "down", "--steps", "9"]).await,
        2,
        "add --yes",
    );
    let _fresh = env.kvctl(["migrate", "fresh", "--yes"]).await.expect(0);
    assert_eq!(states(&env).await, ["live"]);
    let _fresh = env
        .kvctl(["migrate", "fresh", "--yes", "--tokens"])
        .await
        .expect(0);
    assert_eq!(states(&env).await, [""; 0]);
    let _created = token(&env, &create).await.expect(0);
    let down = ["migrate", "down", "--steps", "3"];
    let _down = env.kvctl(down).args(["--yes"]).await.expect(0);
    assert_failed(token(&env, &["list"]).await, 2, "kvctl migrate");
    let _up = env.kvctl(["migrate"]).await.expect(0);
    assert_eq!(states(&env).await, [""; 0]);
    // A revoked one is no loss.
    let _created = token(&env, &create).await.expect(0);
    let _revoked = token(&env, &["revoke", "app"]).await.expect(0);
    let _down = env.kvctl(down).await.expect(0);
    let _up = env.kvctl(["migrate"]).await.expect(0);
}

/// Of several schemas a new table would come into the first one.
async fn a_new_schema_before_theirs_hides_no_tokens(env: Env) {
    let _created = token(&env, &["create", "app", "--read", ""])
        .await
        .expect(0);
    let schema = "CREATE SCHEMA mine; ALTER DATABASE $DB SET search_path = mine, public";
    let schema = schema.replace("$DB", env.database().name());
    for statement in schema.split("; ") {
        env.database().execute(statement).await;
    }
    let _fresh = env.kvctl(["migrate", "fresh", "--yes"]).await.expect(0);
    assert_eq!(states(&env).await, ["live"]);
}
