//! An atomic batch: all of its operations are done in one commit, or none is.

use serde_json::{Value, json};
use tests::{Answer, Engine, Env, Kvd, item};

use crate::http::{
    batch::{atomic, batch, expire, get, put, results, statuses},
    bodies::assert_empty,
};

tests::list! {
    EveryEngine =>
        what_cannot_be_done_keeps_all_from_being_done,
        an_expired_key_is_free_for_an_atomic_batch,
        large_values_are_read_in_an_atomic_batch,
        a_row_that_the_database_refuses_refuses_the_batch,
        a_duplicate_of_another_column_refuses_the_batch
}

/// What is raced here is order, not speed: a slow machine must not turn waiting into 503.
pub(super) async fn patient(env: &Env) -> Kvd {
    env.kvd().arg("--request-timeout", "50s").start().await
}

pub(super) fn create(key: &str, value: &str) -> Value {
    json!({"op": "create", "key": key, "value": value})
}

fn delete(key: &str) -> Value {
    json!({"op": "delete", "key": key})
}

/// 409, with these statuses of the operations.
#[track_caller]
pub(super) fn assert_failed(answer: &Answer, expected: &[u64]) {
    let problem = answer.problem(409, "batch-failed");
    assert_eq!(statuses(answer), expected, "{problem}");
    let first = expected.iter().position(|status| *status != 424);
    let first = format!("operations[{}]", first.expect("one to blame"));
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains(&first), "{detail}");
    for result in results(answer) {
        if result["status"] == 424 {
            assert_eq!(result["code"], "not-done");
            assert!(
                result["detail"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty())
            );
        }
        assert_eq!(result["item"], Value::Null, "{result}");
    }
}

// Long: one table of what cannot be done.
async fn what_cannot_be_done_keeps_all_from_being_done(env: Env) {
    let kvd = patient(&env).await;
    kvd.create_all(["there", "also", "third"]).await;
    let tag = kvd.get("/items/there").await.expect(200).member("etag");
    let expired = kvd.create("expired", "expired").await.member("etag");
    expire(&env, "expired").await;
    let many: Vec<Value> = (0..97).map(|n| put(&format!("new-{n}"), "x")).collect();
    let fails = |operation: Value, status: u64, code: &'static str| (operation, status, code);
    for (wrong, status, code) in [
        fails(create("there", "x"), 409, "key-exists"),
        fails(
            json!({"op": "put", "key": "missing", "value": "x"}),
            404,
            "item-not-found",
        ),
        fails(
            json!({"op": "put", "key": "expired", "value": "x"}),
            404,
            "item-not-found",
        ),
        fails(delete("missing"), 404, "item-not-found"),
        fails(delete("expired"), 404, "item-not-found"),
        fails(get("missing"), 404, "item-not-found"),
        fails(get("expired"), 404, "item-not-found"),
        fails(
            json!({"op": "get", "key": "there", "if_match": "9-9"}),
            412,
            "precondition-failed",
        ),
        fails(
            json!({"op": "delete", "key": "there", "if_match": "9-9"}),
            412,
            "precondition-failed",
        ),
        fails(
            json!({"op": "put", "key": "there", "value": "x", "if_none_match": "*"}),
            412,
            "precondition-failed",
        ),
        fails(
            json!({"op": "put", "key": "expired", "value": "x", "upsert": true, "if_match": expired}),
            412,
            "precondition-failed",
        ),
    ] {
        let mut operations = vec![put("also", "x"), wrong.clone(), delete("third")];
        operations.extend(many.clone());
        let answer = atomic(&kvd, &operations).await;
        let mut expected = vec![424; 100];
        expected[1] = status;
        assert_failed(&answer, &expected);
        let told = &results(&answer)[1];
        assert_eq!(told["code"], code, "{wrong}");
        let is_tagged = status == 412 && wrong["key"] == "there";
        assert_eq!(told["etag"], json!(is_tagged.then_some(&tag)), "{wrong}");
    }
    let two = [
        get("missing"),
        put("also", "x"),
        create("there", "x"),
        get("third"),
    ];
    assert_failed(&atomic(&kvd, &two).await, &[404, 424, 409, 424]);
    let page = kvd.get("/items/").await.expect(200).json();
    assert_eq!(page["total"], 3);
    for item in page["items"].as_array().expect("items") {
        assert_eq!((&item["version"], &item["value"]), (&1.into(), &"".into()));
    }
    // What is not modified fails nothing.
    let unchanged = json!({"op": "get", "key": "there", "if_none_match": [tag, "9-9"]});
    let answer = atomic(&kvd, &[put("also", "y"), unchanged, delete("third")]).await;
    assert_eq!(statuses(&answer.expect(200)), [200, 304, 204]);
}

async fn an_expired_key_is_free_for_an_atomic_batch(env: Env) {
    let kvd = patient(&env).await;
    let mut old = Vec::new();
    for n in 0..40 {
        old.push(kvd.create(&format!("k-{n:02}"), "old").await.json());
    }
    expire(&env, "old").await;
    kvd.create_all(["there"]).await;
    let mut operations: Vec<Value> = (0..40)
        .map(|n| match n % 3 {
            0 => create(&format!("k-{n:02}"), "new"),
            1 => put(&format!("k-{n:02}"), "new"),
            _ => json!({"op": "put", "key": format!("k-{n:02}"), "value": "new", "if_none_match": "*", "ttl": 3600}),
        })
        .collect();
    operations.push(json!({"op": "put", "key": "there", "value": "new"}));
    let answer = atomic(&kvd, &operations).await.expect(200);
    let told = results(&answer);
    let ids: Vec<i64> = old.iter().map(id).collect();
    for (n, result) in told[..40].iter().enumerate() {
        assert_eq!(
            (&result["status"], &result["item"]["version"]),
            (&201.into(), &1.into())
        );
        assert_eq!(result["item"]["expires_at"].is_string(), n % 3 == 2);
        assert!(result["item"]["created_at"].as_str() > old[n]["created_at"].as_str());
        assert!(!ids.contains(&id(&result["item"])), "an id is used again");
        let read = kvd.get(&item(&format!("k-{n:02}"))).await.expect(200);
        assert_eq!(read.json(), result["item"]);
    }
    assert_eq!(told[40]["status"], 200);
    let rows: i64 = env.database().value("SELECT count(*) FROM items").await;
    assert_eq!(rows, 41);
}

fn id(item: &Value) -> i64 {
    let tag = item["etag"].as_str().expect("a tag");
    let id = tag.split('-').next().and_then(|id| id.parse().ok());
    id.expect("an id")
}

/// More of them in sum than are read at first.
async fn large_values_are_read_in_an_atomic_batch(env: Env) {
    let kvd = patient(&env).await;
    let values: Vec<String> = (0..12)
        .map(|n| {
            char::from(b'a' + n)
                .to_string()
                .repeat(20_000 * usize::from(n) + 1)
        })
        .collect();
    let puts: Vec<Value> = values
        .iter()
        .enumerate()
        .map(|(n, value)| put(&format!("k-{n}"), value))
        .collect();
    let _stored = atomic(&kvd, &puts).await.expect(200);
    let mut operations: Vec<Value> = (0..12).map(|n| get(&format!("k-{n}"))).collect();
    operations.push(put("counted", "1"));
    for round in 0..2 {
        let answer = atomic(&kvd, &operations).await.expect(200);
        let told = results(&answer);
        for (n, (result, value)) in told.iter().zip(&values).enumerate() {
            assert!(result["item"]["value"] == **value, "{n}");
        }
        assert_eq!(
            told[12]["item"]["version"],
            round + 1,
            "it was written once"
        );
    }
}

/// By a trigger.
async fn a_row_that_the_database_refuses_refuses_the_batch(env: Env) {
    let raise = match env.engine() {
        Engine::Postgres => vec![
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF NEW.key = 'no' THEN RAISE EXCEPTION 'secret text'; END IF; \
             IF NEW.key = 'not' THEN RETURN NULL; END IF; RETURN NEW; END $$",
            "CREATE TRIGGER no BEFORE INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION no()",
        ],
        Engine::Mysql => vec![
            "CREATE TRIGGER no BEFORE INSERT ON items FOR EACH ROW IF NEW.`key` IN ('no', 'not') \
             THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'secret text'; END IF",
        ],
        Engine::Sqlite => vec![
            "CREATE TRIGGER no BEFORE INSERT ON items WHEN NEW.key = 'no' \
             BEGIN SELECT RAISE(ABORT, 'secret text'); END",
            "CREATE TRIGGER not_ BEFORE INSERT ON items WHEN NEW.key = 'not' \
             BEGIN SELECT RAISE(IGNORE); END",
        ],
    };
    let kvd = patient(&env).await;
    for sql in raise {
        env.database().execute(sql).await;
    }
    for refused in ["no", "not"] {
        let operations = [put("a", "x"), put(refused, "x"), put("z", "x")];
        let answer = atomic(&kvd, &operations).await;
        let problem = answer.problem(500, "database-refused");
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.contains("Nothing was written"), "{detail}");
        assert_empty(&kvd).await;
        // Of an independent batch it is one result.
        let answer = batch(&kvd, &operations).await.expect(207);
        assert_eq!(statuses(&answer), [201, 500, 201], "{refused}");
        assert_eq!(results(&answer)[1]["code"], "database-refused");
        let deleted = atomic(&kvd, &[delete("a"), delete("z")]).await.expect(200);
        assert_eq!(statuses(&deleted), [204, 204]);
    }
}

/// An upsert of a key that exists meets another row's value, which is no conflict of keys.
async fn a_duplicate_of_another_column_refuses_the_batch(env: Env) {
    let kvd = patient(&env).await;
    let _taken = kvd.create("taken", "unique").await;
    let _there = kvd.create("there", "other").await;
    let unique = match env.engine() {
        Engine::Mysql => "CREATE UNIQUE INDEX of_values ON items (value(64))",
        Engine::Postgres | Engine::Sqlite => "CREATE UNIQUE INDEX of_values ON items (value)",
    };
    env.database().execute(unique).await;
    for operation in [
        put("there", "unique"),
        put("new", "unique"),
        create("new", "unique"),
        json!({"op": "put", "key": "there", "value": "unique"}),
    ] {
        let answer = atomic(&kvd, &[put("another", "x"), operation.clone()]).await;
        assert_eq!(answer.status, 500, "{operation}: {}", answer.text());
        answer.problem(500, "database-refused");
        kvd.get("/items/another")
            .await
            .problem(404, "item-not-found");
    }
}
