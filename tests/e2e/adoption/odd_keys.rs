//! Rows of an adopted table whose key breaks the rule: kept, listed, counted and named.

use std::collections::BTreeMap;

use serde_json::Value;
use tests::{Client, Engine, Env, item};

use crate::adoption::hand_made::{hand_made, migrate, odd_keys, with_odd_keys};

tests::list! {
    Only(Engine::Postgres) =>
        odd_keys_are_kept_listed_and_counted,
        migrate_says_what_it_finds_and_what_it_changes,
        migrate_says_what_it_adopted_and_names_the_odd_keys,
        of_many_odd_keys_migrate_names_some_and_inspect_all,
        kvctl_reads_odd_keys
}

/// All items by cursor, one each page; none may come twice.
async fn walk(kvd: &Client) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let page = kvd.get(&format!("/items/?page_size=1&cursor={cursor}"));
        let page = page.await.expect(200).json();
        for item in page["items"].as_array().expect("items") {
            let key = item["key"].as_str().expect("a key").to_owned();
            assert!(
                found.insert(key, item.clone()).is_none(),
                "{item} comes twice"
            );
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return found,
        }
    }
}

async fn odd_keys_are_kept_listed_and_counted(env: Env) {
    let database = with_odd_keys(&env).await;
    let _said = migrate(&env, &database, "up").await;
    let kvd = env.kvd_on(&database).start().await;
    let total = 5 + odd_keys().len();
    let page = kvd.get("/items/?page_size=100").await.expect(200).json();
    assert_eq!(page["total"], total);
    assert_eq!(page["items"].as_array().map(Vec::len), Some(total));
    let found = walk(&kvd).await;
    assert_eq!(found.len(), total);
    for key in odd_keys() {
        assert_eq!(found[&key]["value"], "odd", "{key:?}");
        // Over HTTP they are seen, but cannot be named.
        if !matches!(key.as_str(), "" | "." | "..") {
            kvd.get(&item(&key)).await.problem(400, "invalid-key");
        }
    }
    let named = kvd
        .get("/items/?prefix=kkk&keys_only=true")
        .await
        .expect(200);
    assert_eq!(named.json()["total"], 1);
}

async fn migrate_says_what_it_finds_and_what_it_changes(env: Env) {
    let database = hand_made(&env).await;
    let timeless = "UPDATE items SET created_at = NULL WHERE key = (SELECT min(key) FROM items)";
    assert_eq!(database.execute(timeless).await, 1);
    let unusable = "SELECT count(*) FROM items WHERE created_at IS NULL OR updated_at IS NULL \
                    OR NOT isfinite(created_at) OR NOT isfinite(updated_at)";
    let (rows, unusable): (i64, i64) = (
        database.value("SELECT count(*) FROM items").await,
        database.value(unusable).await,
    );
    let status = env.kvctl_on(&database, ["migrate", "status"]).await;
    let status = status.expect(0).stderr;
    assert!(status.contains(&format!("{rows} rows")), "{status}");
    let said = migrate(&env, &database, "up").await;
    let found = said.lines().next().unwrap_or_default();
    assert!(found.contains("made by hand"), "{said}");
    assert!(found.contains(&format!("{rows} rows")), "{said}");
    for change in ["64-bit", "byte for byte", "UTC", "version"] {
        assert!(said.contains(change), "{change} is not told: {said}");
    }
    assert!(said.contains(&format!("{unusable} of the rows")), "{said}");
    // Once adopted there is nothing to tell.
    assert_eq!(migrate(&env, &database, "up").await, "");
}

async fn of_many_odd_keys_migrate_names_some_and_inspect_all(env: Env) {
    let database = hand_made(&env).await;
    let odd =
        "INSERT INTO items (key, value) SELECT E'odd\n' || n, 'x' FROM generate_series(1, 30) n";
    assert_eq!(database.execute(odd).await, 30);
    let said = migrate(&env, &database, "up").await;
    assert_eq!(said.matches("\\n").count(), 20, "{said}");
    assert!(said.contains("and 10 more"), "{said}");
    let inspect = env.kvctl_on(&database, ["inspect", "-o", "json"]).await;
    let inspect: Value = serde_json::from_str(inspect.expect(0).text()).expect("JSON");
    assert_eq!(inspect["odd_keys"].as_array().map(Vec::len), Some(30));
}

async fn migrate_says_what_it_adopted_and_names_the_odd_keys(env: Env) {
    let plain = hand_made(&env).await;
    let said = migrate(&env, &plain, "up").await;
    assert!(said.contains("adopt"), "{said}");
    assert!(!said.contains("apple") && !said.contains("timed"), "{said}");

    let database = with_odd_keys(&env).await;
    let said = migrate(&env, &database, "up").await;
    assert!(!said.contains("apple") && !said.contains("timed"), "{said}");
    for key in [
        "\"\"",
        "\".\"",
        "\"..\"",
        "tab\\there",
        "line\\nbreak",
        "kkkkkkkkkk",
        "😀😀",
    ] {
        assert!(said.contains(key), "{key} is not named: {said}");
    }
    assert!(
        !said.contains('\u{1}'),
        "a control character reaches the terminal"
    );
}

async fn kvctl_reads_odd_keys(env: Env) {
    let database = with_odd_keys(&env).await;
    let _said = migrate(&env, &database, "up").await;
    for key in odd_keys() {
        let read = env.kvctl_on(&database, ["get", &key]).await.expect(0);
        assert_eq!(read.text(), "odd", "{key:?}");
        let whole = env.kvctl_on(&database, ["get", &key, "-o", "json"]).await;
        let whole: Value = serde_json::from_str(whole.expect(0).text()).expect("JSON");
        assert_eq!(whole["key"], key);
    }
    let missing = "k".repeat(514);
    let _not_found = env.kvctl_on(&database, ["get", &missing]).await.expect(1);
}
