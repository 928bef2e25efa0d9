//! Requests that arrive together and may be sent together: each gets its own answer, as if it had come alone.

use tests::{Answer, Client, Engine, Env, item, kvd::Kvd, load::together};

tests::list! {
    EveryEngine =>
        writes_that_arrive_together_have_each_its_own_outcome,
        reads_that_arrive_together_have_each_its_own_item,
        one_key_written_by_many_at_once_counts_every_write;
    Only(Engine::Postgres) =>
        a_value_that_the_database_refuses_fails_no_other_write
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
    let refused = "ALTER TABLE items ADD CHECK (value <> 'refused')";
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
