//! Many atomic batches at once, and others beside them: each is done as if it were alone.

use std::time::Duration;

use sea_orm::{ConnectionTrait, IsolationLevel, TransactionTrait};
use serde_json::{Value, json};
use tests::{
    Client, Engine, Env, item,
    load::{Load, together, until},
};
use tokio::time::sleep;

use crate::http::{
    batch::{atomic, batch, get, put, results},
    batch_atomic::{assert_failed, create, patient},
};

tests::list! {
    EveryEngine =>
        of_two_batches_that_read_what_the_other_writes_one_sees_the_other,
        a_batch_never_sees_half_of_another,
        transfers_between_many_keys_lose_nothing,
        batches_over_the_same_keys_in_any_order_are_all_done,
        keys_that_others_create_and_delete_meanwhile_are_created_or_exist,
        keys_that_expire_meanwhile_are_there_or_missing,
        an_item_that_others_replace_in_one_transaction_is_in_no_batch_missing;
    Only(Engine::Postgres) => a_key_that_is_gone_when_its_duplicate_is_looked_for_is_created;
    Only(Engine::Mysql) => a_key_that_is_gone_when_its_duplicate_is_looked_for_is_created
}

/// The value of a result's item.
#[track_caller]
fn value(result: &Value) -> &str {
    let value = result["item"]["value"].as_str();
    value.unwrap_or_else(|| panic!("no value: {result}"))
}

const ROUNDS: usize = 60;

/// In whatever order they are done, the second sees what the first has written.
// Long: one race from its beginning to what must hold.
async fn of_two_batches_that_read_what_the_other_writes_one_sees_the_other(env: Env) {
    let kvd = patient(&env).await;
    for round in 0..ROUNDS {
        let _reset = atomic(&kvd, &[put("x", "0"), put("y", "0")])
            .await
            .expect(200);
        let tags = [item("x"), item("y")].map(|path| {
            let kvd = Client::clone(&kvd);
            async move { kvd.get(&path).await.expect(200).member("etag") }
        });
        let [x, y] = tags;
        let (x, y) = (x.await, y.await);
        let under_tags = round % 2 == 0;
        let both = together(2, |n| {
            let (kvd, x, y) = (Client::clone(&kvd), x.clone(), y.clone());
            async move {
                let (read, written, tag) = if n == 0 { ("x", "y", x) } else { ("y", "x", y) };
                let mut read = get(read);
                if under_tags {
                    read["if_match"] = tag.into();
                }
                atomic(&kvd, &[read, put(written, "1")]).await
            }
        });
        let both = both.await;
        if under_tags {
            let done = both.iter().filter(|answer| answer.status == 200).count();
            assert_eq!(done, 1, "round {round}: one of the two");
            let failed = both.iter().find(|answer| answer.status != 200);
            assert_failed(failed.expect("the other"), &[412, 424]);
        } else {
            let seen = both.iter().map(|answer| {
                let told = results(&answer.clone().expect(200));
                value(&told[0]).to_owned()
            });
            let seen: Vec<String> = seen.collect();
            assert!(
                seen.contains(&"1".to_owned()),
                "round {round}: neither sees the other"
            );
        }
    }
}

async fn a_batch_never_sees_half_of_another(env: Env) {
    const KEYS: usize = 8;
    let kvd = patient(&env).await;
    let all =
        |value: &str| -> Vec<Value> { (0..KEYS).map(|n| put(&format!("k-{n}"), value)).collect() };
    let _begun = atomic(&kvd, &all("0")).await.expect(200);
    let client = Client::clone(&kvd);
    let load = Load::start(6, move |number, round| {
        let kvd = client.clone();
        let writes = all(&format!("{number}-{round}"));
        let reads: Vec<Value> = (0..KEYS).rev().map(|n| get(&format!("k-{n}"))).collect();
        async move {
            if number % 2 == 0 {
                let _written = atomic(&kvd, &writes).await.expect(200);
                return;
            }
            let told = results(&atomic(&kvd, &reads).await.expect(200));
            let same = told.iter().all(|result| value(result) == value(&told[0]));
            assert!(same, "half of a batch: {told:?}");
        }
    });
    load.go_on(40).await;
    let _done = load.stop().await;
}

/// Each takes one from a key and gives it to another, under the tags that it has read.
async fn transfers_between_many_keys_lose_nothing(env: Env) {
    const KEYS: usize = 6;
    let kvd = patient(&env).await;
    for n in 0..KEYS {
        let _full = kvd.create(&format!("k-{n}"), "100").await;
    }
    let client = Client::clone(&kvd);
    let load = Load::start(6, move |number, round| {
        let (kvd, from, to) = (
            client.clone(),
            number,
            (number + 1 + round % (KEYS - 1)) % KEYS,
        );
        async move { transfer(&kvd, &format!("k-{from}"), &format!("k-{to}")).await }
    });
    load.go_on(30).await;
    let done = load.stop().await;
    assert!(
        done.iter().filter(|done| **done).count() > 10,
        "few were done"
    );
    let reads: Vec<Value> = (0..KEYS).map(|n| get(&format!("k-{n}"))).collect();
    let told = results(&atomic(&kvd, &reads).await.expect(200));
    let sum: i64 = told.iter().map(amount).sum();
    assert_eq!(sum, 100 * KEYS as i64);
}

fn amount(result: &Value) -> i64 {
    value(result).parse().expect("a number")
}

async fn transfer(kvd: &Client, from: &str, to: &str) -> bool {
    let read = results(&atomic(kvd, &[get(from), get(to)]).await.expect(200));
    let change = |place: usize, key: &str, by: i64| {
        json!({"op": "put", "key": key, "value": (amount(&read[place]) + by).to_string(),
            "if_match": read[place]["item"]["etag"]})
    };
    let answer = atomic(kvd, &[change(0, from, -1), change(1, to, 1)]).await;
    match answer.status {
        200 => true,
        _ => {
            let _failed = answer.problem(409, "batch-failed");
            false
        }
    }
}

async fn batches_over_the_same_keys_in_any_order_are_all_done(env: Env) {
    const BATCHES: usize = 40;
    let kvd = patient(&env).await;
    kvd.create_all((0..10).map(|n| format!("k-{n}"))).await;
    let answers = together(BATCHES, |n| {
        let kvd = Client::clone(&kvd);
        // Some exist, and some are created by the first of them.
        let mut operations: Vec<Value> = (0..20)
            .map(|key| match (n + key) % 4 {
                0 if key < 10 => get(&format!("k-{key}")),
                _ => put(&format!("k-{key}"), &n.to_string()),
            })
            .collect();
        if n % 2 == 0 {
            operations.reverse();
        }
        async move { atomic(&kvd, &operations).await }
    });
    for answer in answers.await {
        let _done = answer.expect(200);
    }
    let mut versions = 0;
    for n in 10..20 {
        let read = kvd.get(&item(&format!("k-{n}"))).await.expect(200);
        versions += read.json()["version"].as_i64().expect("a version");
    }
    assert_eq!(versions, 10 * BATCHES as i64, "each has written each");
}

/// As when a key disappears between the failure of an insert and the look at what it met.
async fn keys_that_others_create_and_delete_meanwhile_are_created_or_exist(env: Env) {
    const KEYS: usize = 3;
    let kvd = patient(&env).await;
    let client = Client::clone(&kvd);
    let load = Load::start(8, move |number, round| {
        let (kvd, key) = (client.clone(), format!("k-{}", (number + round) % KEYS));
        let all = (0..KEYS).map(|n| match number % 4 {
            1 => create(&format!("k-{n}"), "batch"),
            _ => put(&format!("k-{n}"), "batch"),
        });
        let all: Vec<Value> = all.collect();
        async move {
            if number % 2 == 1 {
                let answer = atomic(&kvd, &all).await;
                return vec![(number % 4 == 1, answer)];
            }
            let created = kvd.post(&key, "single").await;
            let deleted = kvd.delete(&item(&key)).await;
            vec![(true, created), (true, deleted)]
        }
    });
    load.go_on(100).await;
    for (may_fail, answer) in load.stop().await.concat() {
        match answer.status {
            200 | 201 | 204 => {}
            404 => assert!(answer.asked.starts_with("DELETE "), "{}", answer.asked),
            _ => {
                assert!(may_fail, "an upsert is always done: {}", answer.text());
                answer.problem(
                    409,
                    if answer.asked.ends_with("/batch") {
                        "batch-failed"
                    } else {
                        "key-exists"
                    },
                );
            }
        }
    }
}

/// Their ends come while they are locked, judged and read, and their rows are removed.
// Long: one race from its beginning to what must hold.
async fn keys_that_expire_meanwhile_are_there_or_missing(env: Env) {
    const KEYS: usize = 4;
    let kvd = patient(&env).await;
    let client = Client::clone(&kvd);
    let load = Load::start(6, move |number, round| {
        let kvd = client.clone();
        let operation = |n: usize| {
            let key = format!("k-{n}");
            match number % 3 {
                0 => get(&key),
                1 => {
                    json!({"op": "put", "key": key, "value": "v", "upsert": true, "ttl": 1 + (n + round) % 2})
                }
                _ => create(&key, "for ever"),
            }
        };
        let mut all: Vec<Value> = (0..KEYS).map(operation).collect();
        if number % 3 == 2 {
            // What was created goes again.
            all = vec![all.swap_remove(round % KEYS)];
            if round % 5 == 0 {
                let delete = |n| json!({"op": "delete", "key": format!("k-{n}")});
                all = (0..KEYS).map(delete).collect();
            }
        }
        async move { atomic(&kvd, &all).await }
    });
    for _ in 0..3 {
        load.go_on(20).await;
        until("something has expired", async || {
            let told = results(
                &batch(
                    &kvd,
                    &(0..KEYS)
                        .map(|n| get(&format!("k-{n}")))
                        .collect::<Vec<_>>(),
                )
                .await,
            );
            told.iter().any(|result| result["status"] == 404)
        })
        .await;
    }
    for answer in load.stop().await {
        if answer.status != 200 {
            answer.problem(409, "batch-failed");
        }
    }
}

/// Other software deletes it and inserts it again.
// Long: one race from its beginning to what must hold.
async fn an_item_that_others_replace_in_one_transaction_is_in_no_batch_missing(env: Env) {
    let kvd = patient(&env).await;
    kvd.create_all(["a", "b"]).await;
    let client = Client::clone(&kvd);
    let load = Load::start(4, move |number, _| {
        let kvd = client.clone();
        async move {
            let operations = match number % 2 {
                0 => [get("a"), put("b", "x")],
                _ => [json!({"op": "put", "key": "a", "value": "x"}), get("b")],
            };
            atomic(&kvd, &operations).await
        }
    });
    let connection = env.database().connection().await;
    let column = if env.engine() == Engine::Mysql {
        "`key`"
    } else {
        "key"
    };
    for _ in 0..30 {
        let begun = connection.begin_with_config(
            (env.engine() != Engine::Sqlite).then_some(IsolationLevel::ReadCommitted),
            None,
        );
        let transaction = begun.await.expect("a transaction");
        for sql in [
            format!("DELETE FROM items WHERE {column} = 'a'"),
            format!("INSERT INTO items ({column}, value) VALUES ('a', 'other')"),
        ] {
            let done = transaction.execute_unprepared(&sql).await;
            done.unwrap_or_else(|error| panic!("{sql}: {error}"));
            sleep(Duration::from_millis(5)).await;
        }
        transaction.commit().await.expect("committed");
        load.go_on(1).await;
    }
    for answer in load.stop().await {
        let _done = answer.expect(200);
    }
}

/// The insert waits for that of another session, meets its row, and then that is deleted.
async fn a_key_that_is_gone_when_its_duplicate_is_looked_for_is_created(env: Env) {
    let kvd = patient(&env).await;
    let connection = env.database().connection().await;
    let column = if env.engine() == Engine::Mysql {
        "`key`"
    } else {
        "key"
    };
    for round in 0..30 {
        let key = format!("k-{round}");
        let begun = connection.begin_with_config(Some(IsolationLevel::ReadCommitted), None);
        let transaction = begun.await.expect("a transaction");
        let insert = format!("INSERT INTO items ({column}, value) VALUES ('{key}', 'other')");
        let inserted = transaction.execute_unprepared(&insert).await;
        inserted.expect("inserted");
        let operations = [put("another", "x"), create(&key, "new")];
        let client = Client::clone(&kvd);
        let waiting = tokio::spawn(async move { atomic(&client, &operations).await });
        // Too short only makes the test easier.
        sleep(Duration::from_millis(15)).await;
        let delete = format!("COMMIT; DELETE FROM items WHERE {column} = '{key}'");
        let deleted = transaction.execute_unprepared(&delete).await;
        deleted.expect("deleted");
        drop(transaction);
        let answer = waiting.await.expect("an answer");
        if answer.status != 200 {
            assert_failed(&answer, &[424, 409]);
        }
    }
}
