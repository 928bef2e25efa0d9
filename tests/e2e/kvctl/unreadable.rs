//! What other software may have stored and no form of output can show as it stands.

use serde_json::{Value, json};
use tests::{Engine, Env, process::Output};

use crate::kvctl::said::assert_failed;

tests::list! {
    Only(Engine::Postgres) => times_that_rfc_3339_cannot_write_are_the_nearest_that_it_can;
    Only(Engine::Sqlite) => what_cannot_be_read_is_named
}

fn parsed(output: &Output) -> Value {
    serde_json::from_str(output.text()).expect("JSON")
}

async fn times_that_rfc_3339_cannot_write_are_the_nearest_that_it_can(env: Env) {
    let kvd = env.start().await;
    kvd.create_all(["a", "b"]).await;
    let database = env.database();
    let late =
        "UPDATE items SET created_at = 'infinity', updated_at = '290000-01-01' WHERE key = 'a'";
    let early =
        "UPDATE items SET created_at = '-infinity', updated_at = '0044-03-15 BC' WHERE key = 'b'";
    database.execute(late).await;
    database.execute(early).await;
    for (key, time) in [
        ("a", "9999-12-31T23:59:59.999999Z"),
        ("b", "0001-01-01T00:00:00.000000Z"),
    ] {
        let assert_times = |item: &Value| {
            assert_eq!(item["created_at"], json!(time));
            assert_eq!(item["updated_at"], json!(time));
        };
        let got = env.kvctl(["get", key, "-o", "json"]).await.expect(0);
        assert_times(&parsed(&got));
        let inspected = env.kvctl(["inspect", key, "-o", "json"]).await.expect(0);
        assert_times(&parsed(&inspected));
        let listed = env.kvctl(["list", key, "-o", "ndjson"]).await.expect(0);
        assert_times(&parsed(&listed));
        let exported = env.kvctl(["export", key]).await.expect(0);
        assert_times(&parsed(&exported));
        assert_times(&kvd.get(&format!("/items/{key}")).await.expect(200).json());
        let page = kvd.get(&format!("/items/?prefix={key}")).await.expect(200);
        assert_times(&page.json()["items"][0]);
        let written = kvd.put(&format!("/items/{key}"), "by kvd").await;
        assert_eq!(written.expect(200).json()["created_at"], json!(time));
        let put = env.kvctl(["put", key, "by kvctl", "-o", "json"]).await;
        assert_eq!(parsed(&put.expect(0))["created_at"], json!(time));
    }
}

async fn what_cannot_be_read_is_named(env: Env) {
    let _put = env.kvctl(["put", "a", "b"]).await.expect(0);
    let commands: [&[&str]; 3] = [&["get", "a"], &["list"], &["export"]];
    for (damage, column) in [
        ("UPDATE items SET updated_at = 'yesterday'", "updated_at"),
        ("UPDATE items SET value = CAST(x'FF' AS text)", "value"),
    ] {
        env.database().execute(damage).await;
        for words in commands {
            let said = env.kvctl([]).args(words).await;
            assert_failed(said, 2, &format!("in the column {column}"));
        }
        let mend = "UPDATE items SET updated_at = created_at, value = 'b'";
        env.database().execute(mend).await;
    }
    assert_eq!(env.kvctl(["get", "a"]).await.expect(0).text(), "b");
}
