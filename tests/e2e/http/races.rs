//! Many clients at once: which of them wins, and what the others are told.

use std::{
    collections::BTreeSet,
    future::{Future, IntoFuture},
    sync::Arc,
    time::Duration,
};

use sea_orm::{ConnectionTrait, IsolationLevel, TransactionTrait};
use tests::{Answer, Client, Engine, Env, Kvd};
use tokio::{sync::Barrier, task::JoinSet, time::sleep};

tests::list! {
    EveryEngine =>
        of_40_compare_and_sets_one_wins_and_the_others_see_its_tag,
        of_40_creates_of_one_key_one_wins,
        of_40_create_only_puts_one_wins_and_the_others_see_its_tag,
        forty_updates_make_forty_versions,
        of_40_upserts_of_an_absent_key_one_creates,
        of_40_deletes_one_wins,
        of_40_deletes_under_one_tag_one_wins,
        updates_after_a_delete_find_nothing,
        compare_and_set_against_delete_has_one_winner,
        counting_with_compare_and_set_loses_nothing,
        two_servers_on_one_database_agree,
        a_key_created_and_deleted_again_and_again_never_repeats_a_tag,
        different_keys_do_not_hinder_each_other,
        an_item_that_others_replace_in_one_transaction_is_never_missing
}

const CLIENTS: usize = 40;

/// What is raced here is order, not speed: a slow machine must not turn waiting into 503.
async fn start(env: &Env) -> Kvd {
    env.kvd().arg("--request-timeout", "50s").start().await
}

/// Runs `act` for each number below [`CLIENTS`], all let go at the same moment.
async fn together<F, T>(act: impl Fn(usize) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let barrier = Arc::new(Barrier::new(CLIENTS));
    let mut tasks = JoinSet::new();
    for number in 0..CLIENTS {
        let (barrier, action) = (Arc::clone(&barrier), act(number));
        tasks.spawn(async move {
            barrier.wait().await;
            action.await
        });
    }
    tasks.join_all().await
}

/// The answers with this status and those with another; all of the others have `rest`.
#[track_caller]
fn split(answers: Vec<Answer>, winning: u16, rest: u16) -> (Vec<Answer>, Vec<Answer>) {
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|a| a.status == winning);
    for answer in &lost {
        assert_eq!(answer.status, rest, "{}: {:?}", answer.asked, answer.text());
    }
    (won, lost)
}

#[track_caller]
fn only(mut winners: Vec<Answer>) -> Answer {
    assert_eq!(winners.len(), 1, "winners");
    winners.remove(0)
}

async fn of_40_compare_and_sets_one_wins_and_the_others_see_its_tag(env: Env) {
    let kvd = start(&env).await;
    let mut sent = kvd.create("a", "start").await.etag();
    for round in 0..5 {
        let answers = together(|n| {
            let value = format!("{round}-{n}");
            kvd.put("/items/a", &value)
                .header("If-Match", &sent)
                .into_future()
        })
        .await;
        let (won, lost) = split(answers, 200, 412);
        let winner = only(won);
        assert_eq!(winner.json()["version"], round + 2);
        for refused in lost {
            refused.problem(412, "precondition-failed");
            assert_ne!(
                refused.etag(),
                sent,
                "a 412 carries the tag its sender sent"
            );
            assert_eq!(refused.etag(), winner.etag(), "nobody else wrote");
        }
        let read = kvd.get("/items/a").await.expect(200);
        assert_eq!(read.json(), winner.json());
        sent = winner.etag();
    }
}

async fn of_40_creates_of_one_key_one_wins(env: Env) {
    let kvd = start(&env).await;
    for key in ["a", "b", "c"] {
        let answers = together(|n| kvd.post(key, &n.to_string()).into_future()).await;
        let (won, lost) = split(answers, 201, 409);
        for refused in lost {
            refused.problem(409, "key-exists");
        }
        let read = kvd.get(&format!("/items/{key}")).await.expect(200);
        assert_eq!(read.json(), only(won).json());
    }
    let rows: i64 = env.database().value("SELECT count(*) FROM items").await;
    assert_eq!(rows, 3);
}

async fn of_40_create_only_puts_one_wins_and_the_others_see_its_tag(env: Env) {
    let kvd = start(&env).await;
    for path in ["/items/a", "/items/b?upsert=true"] {
        let put = |n: usize| {
            kvd.put(path, &n.to_string())
                .header("If-None-Match", "*")
                .into_future()
        };
        let (won, lost) = split(together(put).await, 201, 412);
        let winner = only(won);
        for refused in lost {
            refused.problem(412, "precondition-failed");
            assert_eq!(refused.etag(), winner.etag());
        }
    }
}

/// Versions are distinct and without a gap, and so are the tags distinct.
#[track_caller]
fn assert_versions(answers: &[Answer], first: u64) {
    let versions: BTreeSet<u64> = answers
        .iter()
        .filter_map(|a| a.json()["version"].as_u64())
        .collect();
    let tags: BTreeSet<String> = answers.iter().map(Answer::etag).collect();
    let expected: BTreeSet<u64> = (first..).take(answers.len()).collect();
    assert_eq!(versions, expected);
    assert_eq!(tags.len(), answers.len());
}

/// The item is as the answer with the highest version says.
async fn assert_last_is_current(kvd: &Client, answers: &[Answer]) {
    let last = answers.iter().max_by_key(|a| a.json()["version"].as_u64());
    let read = kvd.get("/items/a").await.expect(200);
    assert_eq!(Some(read.json()), last.map(Answer::json));
}

async fn forty_updates_make_forty_versions(env: Env) {
    let kvd = start(&env).await;
    let _created = kvd.create("a", "").await;
    let answers = together(|n| kvd.put("/items/a", &n.to_string()).into_future()).await;
    let (won, lost) = split(answers, 200, 200);
    assert!(lost.is_empty());
    assert_versions(&won, 2);
    assert_last_is_current(&kvd, &won).await;
    let mut values: Vec<String> = won.iter().map(|a| a.member("value")).collect();
    values.sort();
    values.dedup();
    assert_eq!(values.len(), CLIENTS, "each is answered with its own value");
}

async fn of_40_upserts_of_an_absent_key_one_creates(env: Env) {
    let kvd = start(&env).await;
    let put = |n: usize| {
        kvd.put("/items/a?upsert=true", &n.to_string())
            .into_future()
    };
    let answers = together(put).await;
    assert_versions(&answers, 1);
    assert_last_is_current(&kvd, &answers).await;
    let (created, _) = split(answers, 201, 200);
    assert_eq!(only(created).json()["version"], 1);
}

async fn of_40_deletes_one_wins(env: Env) {
    let kvd = start(&env).await;
    let _created = kvd.create("a", "").await;
    let answers = together(|_| kvd.delete("/items/a").into_future()).await;
    let (won, _) = split(answers, 204, 404);
    only(won);
}

async fn of_40_deletes_under_one_tag_one_wins(env: Env) {
    let kvd = start(&env).await;
    let tag = kvd.create("a", "").await.etag();
    let delete = |_| {
        kvd.delete("/items/a")
            .header("If-Match", &tag)
            .into_future()
    };
    let (won, _) = split(together(delete).await, 204, 404);
    only(won);
}

async fn updates_after_a_delete_find_nothing(env: Env) {
    let kvd = start(&env).await;
    let _created = kvd.create("a", "").await;
    let answers = together(|n| match n % 4 {
        0 => kvd.delete("/items/a").into_future(),
        _ => kvd.put("/items/a", &n.to_string()).into_future(),
    })
    .await;
    let (deletes, updates): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|a| a.asked.starts_with("DELETE"));
    let (won, _) = split(deletes, 204, 404);
    only(won);
    let (updated, _) = split(updates, 200, 404);
    assert_versions(&updated, 2);
    kvd.get("/items/a").await.problem(404, "item-not-found");
}

async fn compare_and_set_against_delete_has_one_winner(env: Env) {
    let kvd = start(&env).await;
    for _ in 0..5 {
        let tag = kvd.create("a", "").await.etag();
        let answers = together(|n| match n % 2 {
            0 => kvd
                .delete("/items/a")
                .header("If-Match", &tag)
                .into_future(),
            _ => kvd
                .put("/items/a", "x")
                .header("If-Match", &tag)
                .into_future(),
        })
        .await;
        let won: Vec<&Answer> = answers.iter().filter(|a| a.status < 300).collect();
        assert_eq!(won.len(), 1, "winners");
        let deleted = won[0].status == 204;
        for lost in answers.iter().filter(|a| a.status >= 300) {
            let expected = if deleted { 404 } else { 412 };
            assert_eq!(lost.status, expected, "{}", lost.asked);
            if !deleted {
                assert_eq!(lost.etag(), won[0].etag());
            }
        }
        let _cleared = kvd
            .delete("/items/a")
            .await
            .expect(if deleted { 404 } else { 204 });
    }
}

async fn counting_with_compare_and_set_loses_nothing(env: Env) {
    let kvd = start(&env).await;
    let _created = kvd.create("a", "0").await;
    together(|_| {
        let client = Client::clone(&kvd);
        async move { increment(&client).await }
    })
    .await;
    let read = kvd.get("/items/a").await.expect(200);
    assert_eq!(read.member("value"), CLIENTS.to_string());
    assert_eq!(read.json()["version"], CLIENTS + 1);
}

/// Adds one under the tag of what was read, again until it holds.
async fn increment(kvd: &Client) {
    loop {
        let read = kvd.get("/items/a").await.expect(200);
        let next: u64 = read.member("value").parse().expect("a number");
        let put = kvd.put("/items/a", &(next + 1).to_string());
        let answer = put.header("If-Match", &read.etag()).await;
        if answer.status == 200 {
            return;
        }
        answer.problem(412, "precondition-failed");
        assert_ne!(answer.etag(), read.etag());
    }
}

async fn two_servers_on_one_database_agree(env: Env) {
    let (one, two) = (start(&env).await, start(&env).await);
    let server = |n: usize| if n.is_multiple_of(2) { &one } else { &two };
    let created = together(|n| server(n).post("a", &n.to_string()).into_future()).await;
    let (won, _) = split(created, 201, 409);
    let sent = only(won).etag();
    let put = |n: usize| {
        server(n)
            .put("/items/a", &n.to_string())
            .header("If-Match", &sent)
            .into_future()
    };
    let (won, lost) = split(together(put).await, 200, 412);
    let winner = only(won);
    for refused in lost {
        assert_eq!(refused.etag(), winner.etag());
    }
    let updates = together(|n| server(n).put("/items/a", &n.to_string()).into_future()).await;
    assert_versions(&updates, 3);
    assert_last_is_current(&one, &updates).await;
    assert_last_is_current(&two, &updates).await;
}

async fn a_key_created_and_deleted_again_and_again_never_repeats_a_tag(env: Env) {
    let kvd = start(&env).await;
    let tags = together(|_| {
        let client = Client::clone(&kvd);
        async move {
            let mut tags = Vec::new();
            for _ in 0..5 {
                let created = client
                    .put("/items/a", "x")
                    .header("If-None-Match", "*")
                    .await;
                if created.status == 201 {
                    tags.push(created.etag());
                }
                let _deleted = client.delete("/items/a").await;
            }
            tags
        }
    })
    .await
    .concat();
    let distinct: BTreeSet<&String> = tags.iter().collect();
    assert!(!tags.is_empty());
    assert_eq!(distinct.len(), tags.len(), "{tags:?}");
}

async fn different_keys_do_not_hinder_each_other(env: Env) {
    let kvd = start(&env).await;
    let paths: Vec<String> = (0..CLIENTS)
        .map(|n| format!("/items/{n}?upsert=true"))
        .collect();
    for (status, version) in [(201, 1), (200, 2)] {
        let answers = together(|n| kvd.put(&paths[n], &n.to_string()).into_future()).await;
        for answer in answers {
            let answer = answer.expect(status);
            assert_eq!(answer.json()["version"], version);
            assert_eq!(answer.member("key"), answer.member("value"));
        }
    }
    assert_eq!(kvd.get("/items/").await.json()["total"], CLIENTS);
}

async fn an_item_that_others_replace_in_one_transaction_is_never_missing(env: Env) {
    let kvd = start(&env).await;
    kvd.create_all(["a", "b"]).await;
    let key = match env.engine() {
        Engine::Mysql => "`key`",
        Engine::Postgres | Engine::Sqlite => "key",
    };
    let connection = env.database().connection().await.clone();
    let theirs = tokio::spawn(async move {
        for _ in 0..150 {
            let both = connection.begin_with_config(Some(IsolationLevel::ReadCommitted), None);
            let both = both.await.expect("BEGIN");
            for sql in [
                format!("DELETE FROM items WHERE {key} = 'a'"),
                format!("INSERT INTO items ({key}, value) VALUES ('a', 'theirs')"),
            ] {
                both.execute_unprepared(&sql).await.expect(&sql);
            }
            sleep(Duration::from_millis(2)).await;
            both.commit().await.expect("COMMIT");
        }
    });
    let mut written = 0;
    while !theirs.is_finished() {
        // Alone, and with another one beside it.
        let (a, b) = tokio::join!(kvd.put("/items/a", "x"), kvd.put("/items/b", "x"));
        let _written = (a.expect(200), b.expect(200));
        let _alone = kvd.put("/items/a", "y").await.expect(200);
        written += 1;
    }
    theirs.await.expect("the transactions");
    env.note(format!("{written} times"));
}
