//! The end of items in `kvctl export`, `import` and `seed`.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};
use tests::{Engine, Env, load::until};

use crate::{
    http::expiry::expire,
    kvctl::{
        expiry::{id, shown, until_its_end},
        import::{ERROR, OVERWRITE, SKIP, count, get, import, lines, numbered, said},
        said::assert_failed,
    },
};

tests::list! {
    EveryEngine =>
        an_export_carries_the_end_where_there_is_one,
        the_end_of_a_line_is_a_time_with_any_offset,
        a_line_that_has_expired_is_skipped,
        an_expired_line_counts_among_those_of_its_key,
        overwriting_gives_and_takes_the_end,
        an_expired_key_is_no_conflict,
        among_many_items_those_that_have_expired_are_made_anew,
        seed_makes_anew_what_has_expired,
        a_line_that_expires_goes_when_its_end_comes;
    Only(Engine::Postgres) => import_judges_the_end_after_the_lock;
    Only(Engine::Mysql) => import_judges_the_end_after_the_lock;
    Once => an_end_that_is_no_time_is_named_with_its_line
}

const PAST: &str = "2001-01-31T09:30:00Z";
const FUTURE: &str = "2999-01-31T09:30:00.123456Z";

/// Lines with an end each.
fn ending(items: &[(&str, &str, &str)]) -> String {
    let line = |(key, value, end): &(&str, &str, &str)| {
        let line = json!({ "key": key, "value": value, "expires_at": end });
        format!("{line}\n")
    };
    items.iter().map(line).collect()
}

async fn an_export_carries_the_end_where_there_is_one(env: Env) {
    let text = [
        ending(&[("ends", "1", FUTURE)]),
        lines([("gone", "2"), ("stays", "3")]),
    ]
    .concat();
    let _imported = import(&env, ERROR, text).await.expect(0);
    expire(&env, "gone", -1).await;
    let export = env.kvctl(["export"]).await.expect(0);
    let parsed = export.text().lines();
    let parsed = parsed.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let parsed: Vec<_> = parsed.collect();
    assert_eq!(
        (&parsed[0]["key"], &parsed[1]["key"]),
        (&json!("ends"), &json!("stays"))
    );
    assert_eq!(
        (parsed.len(), &parsed[0]["expires_at"]),
        (2, &json!(FUTURE))
    );
    // An older kvctl does not know the member.
    let old = ["key", "value", "version", "created_at", "updated_at"];
    let members: BTreeSet<_> = parsed[1].as_object().expect("members").keys().collect();
    assert_eq!(members, old.map(str::to_owned).iter().collect());

    let other = env.empty_database().await;
    let _migrated = env.kvctl_on(&other, ["migrate"]).await.expect(0);
    let imported = env.kvctl_on(&other, ["import", "-"]);
    let imported = imported.stdin(export.stdout.clone()).await.expect(0);
    assert_eq!(imported.text(), said(2, 0, 0));
    for (key, end) in [("ends", json!(FUTURE)), ("stays", Value::Null)] {
        let got = env.kvctl_on(&other, ["get", key, "-o", "json"]).await;
        let got: Value = serde_json::from_str(got.expect(0).text()).expect("JSON");
        assert_eq!(got["expires_at"], end);
    }
}

async fn the_end_of_a_line_is_a_time_with_any_offset(env: Env) {
    for (end, stored) in [
        ("2999-01-31T09:30:00Z", "2999-01-31T09:30:00.000000Z"),
        ("2999-01-31T09:30:00.1234567Z", FUTURE),
        ("2999-01-31T23:15:00.123456+13:45", FUTURE),
        ("2999-01-30T21:30:00.123456-12:00", FUTURE),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ] {
        for flags in [SKIP, OVERWRITE] {
            let _imported = import(&env, flags, ending(&[("a", "x", end)]))
                .await
                .expect(0);
            assert_eq!(shown(&env, "a").await["expires_at"], stored, "{end}");
        }
        let _deleted = env.kvctl(["delete", "a"]).await.expect(0);
    }
    let null = r#"{"key":"a","value":"x","expires_at":null}"#;
    let _imported = import(&env, ERROR, null).await.expect(0);
    assert_eq!(shown(&env, "a").await["expires_at"], Value::Null);
}

async fn a_line_that_has_expired_is_skipped(env: Env) {
    let _put = env.kvctl(["put", "there", "old"]).await.expect(0);
    let text = ending(&[("a", "1", PAST), ("b", "2", FUTURE), ("there", "3", PAST)]);
    for (flags, created, updated) in [(ERROR, 1, 0), (SKIP, 0, 0), (OVERWRITE, 0, 1)] {
        let skipped = 3 - created - updated;
        let words = [flags, &["--dry-run"]].concat();
        let tried = import(&env, &words, text.as_str()).await.expect(0);
        let done = import(&env, flags, text.as_str()).await.expect(0);
        assert_eq!(done.text(), said(created, updated, skipped), "{flags:?}");
        assert_eq!(tried.text(), done.text(), "{flags:?}");
        assert_eq!(
            (get(&env, "there").await, count(&env).await),
            ("old".into(), 2)
        );
    }
    let all = ending(&[("a", "1", PAST), ("c", "1", PAST)]);
    let none = import(&env, ERROR, all).await.expect(0);
    assert_eq!((none.text(), count(&env).await), (&*said(0, 0, 2), 2));
}

async fn an_expired_line_counts_among_those_of_its_key(env: Env) {
    let text = ending(&[("a", "first", FUTURE), ("a", "last", PAST)]);
    assert_failed(import(&env, ERROR, text.as_str()).await, 2, "line 2");
    let done = import(&env, OVERWRITE, text.as_str()).await.expect(0);
    assert_eq!((done.text(), count(&env).await), (&*said(0, 0, 2), 0));
    let done = import(&env, SKIP, text).await.expect(0);
    assert_eq!(done.text(), said(1, 0, 1));
    assert_eq!(get(&env, "a").await, "first");
}

async fn overwriting_gives_and_takes_the_end(env: Env) {
    let _put = env.kvctl(["put", "a", "old"]).await.expect(0);
    for (text, end, version) in [
        (ending(&[("a", "1", FUTURE)]), json!(FUTURE), 2),
        (
            ending(&[("a", "2", "3000-01-01T00:00:00Z")]),
            json!("3000-01-01T00:00:00.000000Z"),
            3,
        ),
        (lines([("a", "3")]), Value::Null, 4),
    ] {
        let done = import(&env, OVERWRITE, text).await.expect(0);
        assert_eq!(done.text(), said(0, 1, 0));
        let item = shown(&env, "a").await;
        assert_eq!(
            (&item["expires_at"], &item["version"]),
            (&end, &json!(version))
        );
        let skipped = import(&env, SKIP, lines([("a", "x")])).await.expect(0);
        assert_eq!(skipped.text(), said(0, 0, 1));
        assert_eq!(shown(&env, "a").await, item);
    }
}

async fn an_expired_key_is_no_conflict(env: Env) {
    for flags in [ERROR, SKIP, OVERWRITE] {
        let _old = env.kvctl(["put", "a", "old"]).await.expect(0);
        let _old = env.kvctl(["put", "a", "older"]).await.expect(0);
        let before = shown(&env, "a").await;
        expire(&env, "a", -1).await;
        let text = lines([("a", "new"), ("b", "new")]);
        let words = [flags, &["--dry-run"]].concat();
        let tried = import(&env, &words, text.as_str()).await.expect(0);
        assert_failed(env.kvctl(["get", "a"]).await, 1, "a");
        let done = import(&env, flags, text).await.expect(0);
        assert_eq!(
            (done.text(), tried.text()),
            (&*said(2, 0, 0), done.text()),
            "{flags:?}"
        );
        let now = shown(&env, "a").await;
        assert_eq!((&now["version"], &now["value"]), (&json!(1), &json!("new")));
        assert_eq!(now["expires_at"], Value::Null);
        assert!(id(&now) > id(&before), "{flags:?}: {now} after {before}");
        assert!(now["created_at"].as_str() > before["updated_at"].as_str());
        let _deleted = env.kvctl(["delete", "a", "b"]).await.expect(0);
    }
}

async fn import_judges_the_end_after_the_lock(env: Env) {
    fs::write(env.directory().join("lines"), lines([("a", "new")])).expect("a file");
    let kvctl = env.kvctl(["import", "lines"]).args(OVERWRITE);
    let imported = until_its_end(&env, kvctl).await.expect(0);
    assert_eq!(imported.text(), said(1, 0, 0));
    let item = shown(&env, "a").await;
    assert_eq!(
        (&item["version"], &item["expires_at"]),
        (&json!(1), &Value::Null)
    );
}

/// More than are merged at once.
const MANY: u64 = 11_000;

async fn among_many_items_those_that_have_expired_are_made_anew(env: Env) {
    let (past, future) = match env.engine() {
        Engine::Postgres => ("'2001-01-01Z'", "'2999-01-01Z'"),
        Engine::Mysql | Engine::Sqlite => (
            "'2001-01-01 00:00:00.000000'",
            "'2999-01-01 00:00:00.000000'",
        ),
    };
    let text = |value| numbered(0..MANY as usize, value);
    for flags in [SKIP, OVERWRITE] {
        env.database().execute("DELETE FROM items").await;
        let old = import(&env, ERROR, text("old")).await.expect(0);
        assert_eq!(old.text(), said(MANY, 0, 0));
        let last: i64 = env.database().value("SELECT max(id) FROM items").await;
        let end = async |rest, end| {
            let sql = format!("UPDATE items SET expires_at = {end} WHERE id % 3 = {rest}");
            env.database().execute(&sql).await
        };
        let (expired, ending) = (end(0, past).await, end(1, future).await);
        assert!(expired > 3_000 && ending > 3_000, "{expired}, {ending}");
        let done = import(&env, flags, text("new")).await.expect(0);
        let others = MANY - expired;
        let (updated, skipped) = match flags {
            SKIP => (0, others),
            _ => (others, 0),
        };
        assert_eq!(done.text(), said(expired, updated, skipped), "{flags:?}");
        assert_eq!(count(&env).await as u64, MANY);
        let sql = format!("SELECT count(*) FROM items WHERE id > {last} AND version = 1");
        let new: i64 = env.database().value(&sql).await;
        assert_eq!(new as u64, expired, "{flags:?}");
    }
}

async fn seed_makes_anew_what_has_expired(env: Env) {
    let seed = async || {
        let seeded = env.kvctl(["seed", "--count", "3"]).await.expect(0);
        seeded.text().to_owned()
    };
    assert_eq!(seed().await, said(3, 0, 0));
    let before = shown(&env, "seed-000002").await;
    expire(&env, "seed-000002", -1).await;
    expire(&env, "seed-000003", 3_600).await;
    assert_eq!(seed().await, said(1, 0, 2));
    let now = shown(&env, "seed-000002").await;
    assert!(id(&now) > id(&before), "{now} after {before}");
    assert_eq!(
        (&now["value"], &now["expires_at"]),
        (&before["value"], &Value::Null)
    );
    assert!(shown(&env, "seed-000003").await["expires_at"].is_string());
    assert_eq!(seed().await, said(0, 0, 3));
}

async fn a_line_that_expires_goes_when_its_end_comes(env: Env) {
    let soon = chrono::Utc::now() + chrono::Duration::seconds(2);
    let text = ending(&[("soon", "x", &soon.to_rfc3339()), ("later", "x", FUTURE)]);
    let _imported = import(&env, ERROR, text).await.expect(0);
    until("it has expired", async || {
        env.kvctl(["get", "soon"]).await.code == 1
    })
    .await;
    let listed = env.kvctl(["list", "--keys"]).await.expect(0);
    assert_eq!(listed.text(), "later\n");
}

async fn an_end_that_is_no_time_is_named_with_its_line(env: Env) {
    for end in [
        json!(""),
        json!("tomorrow"),
        json!("2999-01-31"),
        json!("2999-01-31T09:30:00"),
        json!("2999-02-31T09:30:00Z"),
        json!("12999-01-31T09:30:00Z"),
        json!(4_102_444_800_u64),
        json!({}),
    ] {
        let bad = json!({ "key": "b", "value": "x", "expires_at": end });
        let text = format!("{}{bad}\n", lines([("a", "x")]));
        assert_failed(import(&env, ERROR, text).await, 2, "line 2: ");
    }
    let twice = r#"{"key":"b","value":"x","expires_at":null,"expires_at":null}"#;
    assert_failed(import(&env, ERROR, twice).await, 2, "repeated member");
    assert_eq!(count(&env).await, 0);
}
