//! Requests that arrive together and may be sent together: each gets its own answer, as if it had come alone.

use tests::{
    Answer, Client, Engine, Env, item,
    kvd::Kvd,
    load::{together, until},
};

use crate::http::refused::on_one_connection;

tests::list! {
    EveryEngine =>
        writes_that_arrive_together_have_each_its_own_outcome,
        plain_updates_have_each_its_own_outcome,
        plain_creations_have_each_its_own_outcome,
        reads_that_arrive_together_have_each_its_own_item,
        one_key_written_by_many_at_once_counts_every_write,
        a_value_that_the_database_refuses_fails_no_other_write;
    Only(Engine::Postgres) =>
        writes_of_every_kind_are_committed_together,
        items_of_a_table_that_has_grown_are_found_by_their_index
}

/// What is asked of a key that exists or not, and what must come of it: status, and the version that is then stored.
const KINDS: [(&str, bool, u16, i64); 13] = [
    ("create", false, 201, 1),
    ("create", true, 409, 1),
    ("update", true, 200, 2),
    ("update", false, 404, 0),
    ("upsert", true, 200, 2),
    ("upsert", false, 201, 1),
    ("update-if-match", true, 200, 2),
    ("update-if-other", true, 412, 1),
    ("upsert-if-match", false, 412, 0),
    ("create-only", true, 412, 1),
    ("create-only", false, 201, 1),
    ("delete", true, 204, 0),
    ("delete-if-other", true, 412, 1),
];
const OF_EACH: usize = 20;

fn key(n: usize) -> String {
    format!("k-{n}")
}

/// Each of hundreds of requests is answered, however long a slow machine takes for those before it.
async fn patient(env: &Env) -> Kvd {
    env.kvd().arg("--request-timeout", "50s").start().await
}

async fn writes_that_arrive_together_have_each_its_own_outcome(env: Env) {
    let kvd = patient(&env).await;
    let all = KINDS.len() * OF_EACH;
    let existing = (0..all).filter(|n| KINDS[n % KINDS.len()].1);
    kvd.create_all(existing.map(key)).await;
    let answers = together(all, |n| send(Client::clone(&kvd), n)).await;
    for (n, answer) in answers {
        let (kind, exists, status, version) = KINDS[n % KINDS.len()];
        assert_eq!(answer.status, status, "{kind}, exists: {exists}");
        if status == 412 && exists {
            assert_eq!(answer.header("etag"), Some(tag(&kvd, n).await.as_str()));
        }
        let stored = kvd.get(&item(&key(n))).await;
        match version {
            0 => stored.problem(404, "item-not-found"),
            version => {
                assert_eq!(stored.json()["version"], version, "{kind}");
                let written = matches!(status, 200 | 201);
                let value = if written {
                    n.to_string()
                } else {
                    String::new()
                };
                assert_eq!(stored.member("value"), value, "{kind}");
                if written {
                    assert_eq!(answer.json(), stored.json(), "{kind}");
                }
                stored.json()
            }
        };
    }
}

const PLAIN: usize = 200;

/// One of five plain writes has another outcome than the others.
fn is_odd(n: usize) -> bool {
    n.is_multiple_of(5)
}

async fn plain_updates_have_each_its_own_outcome(env: Env) {
    let kvd = patient(&env).await;
    kvd.create_all((0..PLAIN).filter(|n| !is_odd(*n)).map(key))
        .await;
    let updates = together(PLAIN, |n| {
        let put = kvd.put(&item(&key(n)), &n.to_string());
        async move { (n, put.await) }
    });
    for (n, answer) in updates.await {
        if is_odd(n) {
            answer.problem(404, "item-not-found");
        } else {
            let stored = kvd.get(&item(&key(n))).await.json();
            assert_eq!(answer.expect(200).json(), stored);
            assert_eq!(stored["version"], 2);
            assert_eq!(stored["value"], n.to_string());
        }
    }
}

async fn plain_creations_have_each_its_own_outcome(env: Env) {
    let kvd = patient(&env).await;
    kvd.create_all((0..PLAIN).filter(|n| is_odd(*n)).map(key))
        .await;
    let creations = together(PLAIN, |n| {
        let post = kvd.post(&key(n), &n.to_string());
        async move { (n, post.await) }
    });
    for (n, answer) in creations.await {
        let stored = kvd.get(&item(&key(n))).await;
        if is_odd(n) {
            answer.problem(409, "key-exists");
            assert_eq!(stored.member("value"), "");
        } else {
            assert_eq!(answer.expect(201).json(), stored.json());
            assert_eq!(stored.member("value"), n.to_string());
        }
    }
}

async fn tag(kvd: &Client, n: usize) -> String {
    let item = kvd.get(&item(&key(n))).await.expect(200);
    item.header("etag").expect("a tag").to_owned()
}

async fn send(kvd: Client, n: usize) -> (usize, Answer) {
    let (kind, ..) = KINDS[n % KINDS.len()];
    let (path, value) = (item(&key(n)), n.to_string());
    let upsert = format!("{path}?upsert=true");
    let answer = match kind {
        "create" => kvd.post(&key(n), &value).await,
        "update" => kvd.put(&path, &value).await,
        "upsert" => kvd.put(&upsert, &value).await,
        "update-if-match" => {
            let now = tag(&kvd, n).await;
            kvd.put(&path, &value).header("If-Match", &now).await
        }
        "update-if-other" => kvd.put(&path, &value).header("If-Match", "\"9-9\"").await,
        "upsert-if-match" => kvd.put(&upsert, &value).header("If-Match", "*").await,
        "create-only" => kvd.put(&path, &value).header("If-None-Match", "*").await,
        "delete" => kvd.delete(&path).await,
        _ => kvd.delete(&path).header("If-Match", "\"9-9\"").await,
    };
    (n, answer)
}

async fn reads_that_arrive_together_have_each_its_own_item(env: Env) {
    let kvd = patient(&env).await;
    kvd.create_all((0..100).map(key)).await;
    // Some keys are asked for several times, some do not exist, and some differ in case only.
    let answers = together(600, |n| {
        let kvd = Client::clone(&kvd);
        async move {
            let key = match n % 3 {
                0 => key(n % 100),
                1 => key(n),
                _ => key(n % 100).to_uppercase(),
            };
            (key.clone(), kvd.get(&item(&key)).await)
        }
    });
    for (key, answer) in answers.await {
        let number = key.strip_prefix("k-").and_then(|n| n.parse().ok());
        if number.is_some_and(|n: usize| n < 100) {
            assert_eq!(answer.expect(200).member("key"), key);
        } else {
            answer.problem(404, "item-not-found");
        }
    }
}

async fn one_key_written_by_many_at_once_counts_every_write(env: Env) {
    let kvd = patient(&env).await;
    let _created = kvd.create("hot", "0").await;
    let answers = together(100, |n| {
        let kvd = Client::clone(&kvd);
        async move { kvd.put("/items/hot", &n.to_string()).await }
    });
    let mut versions: Vec<i64> = answers
        .await
        .into_iter()
        .map(|answer| answer.expect(200).json()["version"].as_i64().unwrap_or(0))
        .collect();
    versions.sort_unstable();
    assert!(versions.into_iter().eq(2..=101), "each write has a version");
}

/// By a constraint, or a trigger, of its owner's.
async fn a_value_that_the_database_refuses_fails_no_other_write(env: Env) {
    let refused = match env.engine() {
        Engine::Postgres | Engine::Mysql => "ALTER TABLE items ADD CHECK (value <> 'refused')",
        Engine::Sqlite => {
            "CREATE TRIGGER refuse BEFORE INSERT ON items WHEN NEW.value = 'refused' \
             BEGIN SELECT RAISE(ABORT, 'refused'); END"
        }
    };
    env.database().execute(refused).await;
    let kvd = patient(&env).await;
    let answers = together(200, |n| {
        let value = if n % 20 == 0 { "refused" } else { "fine" };
        let put = kvd.put(&format!("{}?upsert=true", item(&key(n))), value);
        async move { (value, put.await) }
    });
    for (value, answer) in answers.await {
        if value == "refused" {
            answer.problem(500, "database-refused");
        } else {
            assert_eq!(answer.status, 201, "{}", answer.asked);
        }
    }
}

/// Rows of one transaction have its number.
async fn writes_of_every_kind_are_committed_together(env: Env) {
    const WRITES: usize = 60;
    let kvd = on_one_connection(&env).await;
    kvd.create_all((0..WRITES).filter(|n| n % 3 != 0).map(key))
        .await;
    // The first keeps the only connection until all others have arrived.
    for sql in [
        "CREATE TABLE gate (is_open boolean)",
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         WHILE NEW.key = 'first' AND NOT EXISTS (SELECT FROM gate) LOOP PERFORM pg_sleep(0.01); END LOOP; \
         RETURN NEW; END $$",
        "CREATE TRIGGER wait BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION wait()",
    ] {
        env.database().execute(sql).await;
    }
    let calls = async |count: usize| {
        until("so many calls have arrived", async || {
            kvd.metric("kvd_database_calls").await == count as f64
        })
        .await
    };
    let first = tokio::spawn(kvd.post("first", "y").into_future());
    calls(1).await;
    let client = Client::clone(&kvd);
    let others = tokio::spawn(together(WRITES, move |n| write_of_kind(client.clone(), n)));
    calls(WRITES + 1).await;
    env.database()
        .execute("INSERT INTO gate VALUES (true)")
        .await;
    let _created = first.await.expect("an answer").expect(201);
    for answer in others.await.expect("all") {
        assert!(matches!(answer.status, 200 | 201), "{}", answer.asked);
    }
    let transactions = "SELECT count(DISTINCT xmin::text) FROM items WHERE value = 'x'";
    assert_eq!(env.database().value::<i64>(transactions).await, 1);
}

async fn write_of_kind(kvd: Client, n: usize) -> Answer {
    let path = item(&key(n));
    match n % 3 {
        0 => kvd.post(&key(n), "x").await,
        1 => kvd.put(&path, "x").await,
        _ => kvd.put(&path, "x").header("If-Match", "*").await,
    }
}

/// What was planned while it was small would read the whole of it for each item.
async fn items_of_a_table_that_has_grown_are_found_by_their_index(env: Env) {
    let database = env.database();
    // PostgreSQL itself plans anew where it has looked at a table anew.
    for sql in [
        "ALTER TABLE items SET (autovacuum_enabled = off)",
        "INSERT INTO items (key, value) SELECT 'k-' || n, '' FROM generate_series(0, 9) n",
        "ANALYZE items",
    ] {
        let _done = database.execute(sql).await;
    }
    let kvd = patient(&env).await;
    read_and_write(&kvd).await;
    let whole = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'items'";
    let indexed = "SELECT idx_scan FROM pg_stat_user_tables WHERE relname = 'items'";
    until("the small table is read as a whole", async || {
        read_and_write(&kvd).await;
        database.value::<i64>(whole).await > 0
    })
    .await;
    let grow =
        "INSERT INTO items (key, value) SELECT 'more-' || n, '' FROM generate_series(1, 20000) n";
    let _done = database.execute(grow).await;
    until("the large one is not", async || {
        let before = (
            database.value::<i64>(whole).await,
            database.value::<i64>(indexed).await,
        );
        until("the server has counted more", async || {
            read_and_write(&kvd).await;
            database.value::<i64>(indexed).await > before.1
                || database.value::<i64>(whole).await > before.0
        })
        .await;
        database.value::<i64>(whole).await == before.0
    })
    .await;
}

/// Many at once, and one alone.
async fn read_and_write(kvd: &Kvd) {
    let answers = together(40, |n| {
        let (kvd, path) = (Client::clone(kvd), item(&key(n / 4)));
        async move {
            if n % 2 == 0 {
                kvd.get(&path).await
            } else {
                kvd.put(&path, "x").await
            }
        }
    });
    for answer in answers.await {
        let _done = answer.expect(200);
    }
    let _alone = kvd.put(&item(&key(0)), "x").await.expect(200);
    let _page = kvd.get("/items/?page_size=5&count=none").await.expect(200);
}
