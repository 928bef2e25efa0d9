//! Writes that the database refuses for good, or silently does not store: 500 `database-refused`, and nothing
//! else of them or of their neighbours.

use std::time::Duration;

use tests::{Client, Engine, Env, Kvd, item, kvd::setting, load::together, pace::stretched};

tests::list! {
    EveryEngine =>
        a_write_that_a_trigger_refuses_is_database_refused,
        a_write_that_a_constraint_refuses_is_database_refused;
    Only(Engine::Postgres) =>
        a_row_that_is_silently_not_stored_is_database_refused_and_no_conflict,
        a_key_that_a_trigger_makes_anothers_is_refused,
        a_refused_member_of_a_batch_fails_no_other_write;
    Only(Engine::Mysql) =>
        a_key_that_a_trigger_makes_anothers_is_refused,
        a_trigger_that_is_replaced_refuses_nothing,
        a_refused_member_of_a_batch_fails_no_other_write;
    Only(Engine::Sqlite) =>
        a_row_that_is_silently_not_stored_is_database_refused_and_no_conflict,
        a_trigger_meets_each_of_many_new_rows_once,
        in_whichever_way_a_trigger_raises_nothing_is_stored
}

/// What triggers do in these tests, in the words of the engine.
#[derive(Clone, Copy)]
enum Does {
    /// Leaves the row out without a word.
    Ignore,
    /// Fails.
    Raise,
}

/// Has a trigger do this with each row of which the new or the old key begins with `no`.
async fn trigger(env: &Env, does: Does) {
    match env.engine() {
        Engine::Postgres => {
            let then = match does {
                Does::Ignore => "RETURN NULL",
                Does::Raise => "RAISE EXCEPTION 'secret text'",
            };
            postgres_trigger(
                env,
                &format!("IF coalesce(NEW.key, OLD.key) LIKE 'no%' THEN {then}; END IF;"),
            )
            .await;
        }
        Engine::Mysql => {
            for (event, row) in [("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")] {
                let sql = format!(
                    "CREATE TRIGGER no_{event} BEFORE {event} ON items FOR EACH ROW IF {row}.`key` LIKE 'no%' \
                     THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'secret text'; END IF"
                );
                env.database().execute(&sql).await;
            }
        }
        Engine::Sqlite => {
            let then = match does {
                Does::Ignore => "RAISE(IGNORE)",
                Does::Raise => "RAISE(ABORT, 'secret text')",
            };
            for (event, row) in [("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")] {
                let sql = format!(
                    "CREATE TRIGGER no_{event} BEFORE {event} ON items WHEN {row}.key LIKE 'no%' \
                     BEGIN SELECT {then}; END"
                );
                env.database().execute(&sql).await;
            }
        }
    }
}

/// A trigger before every write of PostgreSQL. Its body goes on to keep the row if it does not return.
pub(crate) async fn postgres_trigger(env: &Env, body: &str) {
    let sql = format!(
        "CREATE OR REPLACE FUNCTION check_item() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} \
         RETURN coalesce(NEW, OLD); END $$; \
         CREATE OR REPLACE TRIGGER check_item BEFORE INSERT OR UPDATE OR DELETE ON items \
         FOR EACH ROW EXECUTE FUNCTION check_item()"
    );
    env.database().execute(&sql).await;
}

/// Each way to write a key that exists, and one that does not.
fn writes(kvd: &Client, there: &str, absent: &str) -> Vec<tests::client::Call> {
    let (there, new) = (item(there), item(absent));
    vec![
        kvd.post(absent, "x"),
        kvd.put(&format!("{new}?upsert=true"), "x"),
        kvd.put(&new, "x").header("If-None-Match", "*"),
        kvd.put(&there, "x"),
        kvd.put(&format!("{there}?upsert=true"), "x"),
        kvd.put(&there, "x").header("If-Match", "*"),
        kvd.put(&there, "x").header("If-None-Match", "\"0-0\""),
        kvd.delete(&there),
        kvd.delete(&there).header("If-Match", "*"),
    ]
}

/// Each of these writes is refused for good, and is not done; the others are.
async fn assert_refused(env: &Env, kvd: &Kvd) {
    for write in writes(kvd, "no", "no-new") {
        assert_database_refused(&write.await);
    }
    assert_unchanged(env, "no").await;
    // Many at once, of which half are refused.
    let answers = together(32, |n| {
        let (client, key) = (Client::clone(kvd), format!("{}-{n}", ["yes", "no"][n % 2]));
        async move { (n, client.post(&key, "x").await) }
    });
    for (n, answer) in answers.await {
        match n % 2 {
            0 => drop(answer.expect(201)),
            _ => assert_database_refused(&answer),
        }
    }
    let stored: i64 = env
        .database()
        .value("SELECT count(*) FROM items WHERE value = 'x'")
        .await;
    assert_eq!(stored, 16, "what was accepted, and nothing else");
    // A condition is still judged first.
    let other = kvd.put("/items/no", "x").header("If-Match", "\"0-0\"");
    other.await.problem(412, "precondition-failed");
    kvd.put("/items/no-new", "x")
        .await
        .problem(404, "item-not-found");
    kvd.delete("/items/no-new")
        .await
        .problem(404, "item-not-found");
}

#[track_caller]
pub(crate) fn assert_database_refused(answer: &tests::Answer) {
    let problem = answer.problem(500, "database-refused");
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("Nothing was written"), "{detail}");
    assert!(!detail.contains("secret"), "{detail}");
    assert_eq!(answer.header("retry-after"), None);
}

/// The item is as it was made.
pub(crate) async fn assert_unchanged(env: &Env, key: &str) {
    let sql = format!("SELECT value FROM items WHERE version = 1 AND value = 'old-{key}'");
    assert_eq!(
        env.database().value::<String>(&sql).await,
        format!("old-{key}")
    );
}

pub(crate) async fn start(env: &Env) -> Kvd {
    let kvd = env.start().await;
    let _created = kvd.create("no", "old-no").await;
    kvd
}

async fn a_write_that_a_trigger_refuses_is_database_refused(env: Env) {
    let kvd = start(&env).await;
    trigger(&env, Does::Raise).await;
    assert_refused(&env, &kvd).await;
    // It is for the operator to know what the database said.
    kvd.logged("secret text").await;
}

async fn a_row_that_is_silently_not_stored_is_database_refused_and_no_conflict(env: Env) {
    let kvd = start(&env).await;
    trigger(&env, Does::Ignore).await;
    assert_refused(&env, &kvd).await;
    kvd.logged("ignored the write").await;
    kvd.post("no", "x").await.problem(409, "key-exists");
}

/// `FAIL` keeps what the statement has done until then, and `ROLLBACK` ends the transaction.
async fn in_whichever_way_a_trigger_raises_nothing_is_stored(env: Env) {
    let kvd = start(&env).await;
    for way in ["ABORT", "FAIL", "ROLLBACK"] {
        for time in ["BEFORE", "AFTER"] {
            for event in ["INSERT", "UPDATE", "DELETE"] {
                let name = format!("raises_{way}_{time}_{event}");
                let sql = format!(
                    "CREATE TRIGGER {name} {time} {event} ON items BEGIN SELECT RAISE({way}, 'secret text'); END"
                );
                env.database().execute(&sql).await;
                let write = match event {
                    "INSERT" => kvd.post("no-new", "x"),
                    "UPDATE" => kvd.put("/items/no", "x"),
                    _ => kvd.delete("/items/no"),
                };
                assert_database_refused(&write.await);
                let drop = format!("DROP TRIGGER {name}");
                env.database().execute(&drop).await;
                assert_unchanged(&env, "no").await;
            }
        }
    }
    let stored: i64 = env.database().value("SELECT count(*) FROM items").await;
    assert_eq!(stored, 1);
    let _stored = kvd.post("yes", "x").await.expect(201);
}

async fn a_write_that_a_constraint_refuses_is_database_refused(env: Env) {
    let sql = match env.engine() {
        Engine::Postgres | Engine::Mysql => {
            "ALTER TABLE items ADD CONSTRAINT secret_rule CHECK (value <> 'bad')"
        }
        // SQLite adds no constraint to a table that is there.
        Engine::Sqlite => {
            "PRAGMA writable_schema = on; UPDATE sqlite_master SET sql = replace(sql, 'value TEXT NOT NULL', \
             'value TEXT NOT NULL CHECK (value <> ''bad'')') WHERE name = 'items'; PRAGMA writable_schema = reset"
        }
    };
    env.database().execute(sql).await;
    let kvd = start(&env).await;
    for write in [
        kvd.post("new", "bad"),
        kvd.put("/items/no", "bad"),
        kvd.put("/items/no?upsert=true", "bad"),
    ] {
        assert_database_refused(&write.await);
    }
    let _good = kvd.post("new", "good").await.expect(201);
}

async fn a_refused_member_of_a_batch_fails_no_other_write(env: Env) {
    let kvd = on_one_connection(&env).await;
    let _created = kvd.create("no", "old-no").await;
    trigger(&env, Does::Raise).await;
    slow_down(&env).await;
    let answers = together(40, |n| {
        let client = Client::clone(&kvd);
        async move {
            let answer = match n {
                0 => client.post("slow", "x").await,
                n if n % 4 == 0 => client.post(&format!("no-{n}"), "x").await,
                n => client.post(&format!("yes-{n}"), "x").await,
            };
            (n, answer)
        }
    });
    for (n, answer) in answers.await {
        match n {
            0 => drop(answer.expect(201)),
            n if n % 4 == 0 => assert_database_refused(&answer),
            _ => drop(answer.expect(201)),
        }
    }
}

/// Writes gather behind a slow one.
pub(crate) async fn on_one_connection(env: &Env) -> Kvd {
    let time = setting(stretched(Duration::from_secs(5)));
    let kvd = env.kvd().arg("--database-max-connections", "1");
    kvd.arg("--request-timeout", time).start().await
}

/// Two keys become one by a trigger: the write whose key it was is told what it did, the other that it was refused.
async fn a_key_that_a_trigger_makes_anothers_is_refused(env: Env) {
    let kvd = on_one_connection(&env).await;
    kvd.create_all((0..10).map(|n| format!("UP-{n}"))).await;
    match env.engine() {
        Engine::Postgres => postgres_trigger(&env, "NEW.key = lower(NEW.key);").await,
        Engine::Mysql | Engine::Sqlite => {
            for event in ["INSERT", "UPDATE"] {
                let sql = format!(
                    "CREATE TRIGGER lower_{event} BEFORE {event} ON items FOR EACH ROW SET NEW.`key` = LOWER(NEW.`key`)"
                );
                env.database().execute(&sql).await;
            }
        }
    }
    slow_down(&env).await;
    let answers = together(81, |n| write_either_case(Client::clone(&kvd), n));
    for (kind, value, answer) in answers.await {
        match kind {
            0 | 1 | 4 | 5 => assert_database_refused(&answer),
            2 | 3 => drop(answer.problem(404, "item-not-found")),
            _ if answer.status == 409 => {}
            _ => {
                let told = answer.expect(201).json();
                assert_eq!(told["value"], value);
                let stored = kvd.get(&item(told["key"].as_str().expect("a key"))).await;
                assert_eq!(stored.expect(200).json(), told);
            }
        }
    }
}

async fn write_either_case(kvd: Client, n: usize) -> (usize, String, tests::Answer) {
    let (kind, of, value) = (n / 10, n % 10, n.to_string());
    let answer = match kind {
        0 | 1 => kvd.put(&format!("/items/UP-{of}"), &value).await,
        2 | 3 => kvd.put(&format!("/items/up-{of}"), &value).await,
        4 | 5 => kvd.post(&format!("NEW-{of}"), &value).await,
        6 | 7 => kvd.post(&format!("new-{of}"), &value).await,
        _ => kvd.post("slow", &value).await,
    };
    (kind, value, answer)
}

/// A session goes on, whatever becomes of the triggers that it has met.
async fn a_trigger_that_is_replaced_refuses_nothing(env: Env) {
    let kvd = env.start().await;
    kvd.create_all((0..10).map(|n| format!("k-{n}"))).await;
    for table in ["first", "second", "third"] {
        for sql in [
            format!("CREATE TABLE {table}_seen (value LONGTEXT)"),
            format!(
                "CREATE OR REPLACE TRIGGER seen AFTER UPDATE ON items FOR EACH ROW \
                 INSERT INTO {table}_seen VALUES (NEW.value)"
            ),
        ] {
            env.database().execute(&sql).await;
        }
        let writes = together(10, |n| {
            let client = Client::clone(&kvd);
            async move { client.put(&format!("/items/k-{n}"), "x").await }
        });
        for answer in writes.await {
            let _written = answer.expect(200);
        }
        let seen = format!("SELECT count(*) FROM {table}_seen");
        assert_eq!(env.database().value::<i64>(&seen).await, 10, "{table}");
    }
}

/// Storing the key `slow` takes its time.
async fn slow_down(env: &Env) {
    let sql = match env.engine() {
        Engine::Mysql => {
            "CREATE TRIGGER a_slow BEFORE INSERT ON items FOR EACH ROW \
             IF NEW.`key` = 'slow' THEN DO SLEEP(0.3); END IF"
        }
        Engine::Postgres | Engine::Sqlite => {
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF NEW.key = 'slow' THEN PERFORM pg_sleep(0.3); END IF; RETURN NEW; END $$; \
             CREATE TRIGGER a_slow BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION slow()"
        }
    };
    env.database().execute(sql).await;
}

async fn a_trigger_meets_each_of_many_new_rows_once(env: Env) {
    for sql in [
        "CREATE TABLE seen (key TEXT)",
        "CREATE TRIGGER see BEFORE INSERT ON items BEGIN INSERT INTO seen VALUES (NEW.key); END",
    ] {
        env.database().execute(sql).await;
    }
    let kvd = env.start().await;
    let creations = together(100, |n| {
        let client = Client::clone(&kvd);
        async move { client.post(&format!("k-{n}"), "x").await }
    });
    for answer in creations.await {
        let _created = answer.expect(201);
    }
    let seen = "SELECT count(*) FROM seen";
    assert_eq!(env.database().value::<i64>(seen).await, 100);
}
