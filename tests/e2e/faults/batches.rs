//! Batches under load while kvd or the database breaks: what was told is what is there.

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Client, Engine, Env, Kvd,
    load::{Load, Told, told, until},
    relay::Relay,
};
use tokio::time::sleep;

use crate::{
    faults::contract::{
        Written, assert_as_told, assert_back, assert_pool_whole, in_time, key_column, kvd, moment,
        settled,
    },
    http::batch::{atomic, batch, get, put, results, statuses},
};

tests::list! {
    Faults =>
        what_kvd_told_of_batches_before_kill_9_is_there,
        what_was_told_of_batches_when_the_database_is_killed_is_there,
        what_was_told_of_batches_when_the_database_is_frozen_is_there,
        while_answers_are_lost_each_operation_is_told_what_became_of_it,
        an_atomic_batch_that_only_reads_is_never_504;
    FaultsOnly(Engine::Mysql) => a_hundred_puts_are_one_commit;
    Only(Engine::Sqlite) => what_kvd_told_of_batches_before_kill_9_is_there
}

const CLIENTS: usize = 60;
const KEYS: usize = 10;

/// A batch, and what came of it.
struct Sent {
    client: usize,
    /// The values that it writes, each of its key.
    value: String,
    /// Whether the keys are in the other order.
    is_reversed: bool,
    told: Told,
}

fn is_atomic(client: usize) -> bool {
    client.is_multiple_of(2)
}

fn key(client: usize, n: usize) -> String {
    format!("c-{client:03}-{n}")
}

/// Each client writes all of its own keys again and again, half of the clients atomically.
fn writers(kvd: &Kvd) -> Load<Sent> {
    let kvd = Client::clone(kvd);
    Load::start(CLIENTS, move |client, round| {
        let value = format!("{client}-{round}");
        let mut operations: Vec<Value> = (0..KEYS).map(|n| put(&key(client, n), &value)).collect();
        let is_reversed = round % 3 == 1;
        if is_reversed {
            operations[0]["ttl"] = 3600.into();
            operations.reverse();
        }
        let body = json!({"atomic": is_atomic(client), "operations": operations});
        let call = kvd.request(Method::POST, "/batch").json(&body);
        async move {
            let told = told(call).await;
            if told.status() == 0 {
                // No kvd is there: the other tasks get the machine.
                moment().await;
            }
            Sent {
                client,
                value,
                is_reversed,
                told,
            }
        }
    })
}

/// What each operation was told, as if it had come alone.
fn each(sent: &[Sent]) -> Vec<Written> {
    let mut writes = Vec::new();
    for sent in sent {
        let told = &sent.told;
        for (key, status) in of_each_key(sent) {
            let answer = told.answer.clone().map(|mut answer| {
                answer.status = status;
                answer
            });
            let told = Told {
                asked: told.asked.clone(),
                answer,
                taken: told.taken,
                waited: told.waited,
            };
            let value = sent.value.clone();
            writes.push(Written { key, value, told });
        }
    }
    writes
}

fn of_each_key(sent: &Sent) -> Vec<(String, u16)> {
    let mut statuses = match &sent.told.answer {
        Some(answer) if [200, 207].contains(&answer.status) => statuses(answer),
        _ => vec![u64::from(sent.told.status()); KEYS],
    };
    assert_eq!(statuses.len(), KEYS);
    if sent.is_reversed {
        statuses.reverse();
    }
    let status = |status: u64| u16::try_from(status).expect("a status");
    let statuses = statuses.into_iter().map(status);
    (0..KEYS)
        .map(|n| key(sent.client, n))
        .zip(statuses)
        .collect()
}

/// The database holds what the clients were told of each key, and of no atomic batch a part.
async fn assert_told(env: &Env, sent: &[Sent]) {
    for Sent { client, told, .. } in sent {
        let Some(answer) = &told.answer else {
            continue;
        };
        assert!(
            !is_atomic(*client) || answer.status != 207,
            "a part of an atomic batch"
        );
        assert!([200, 207, 503, 504].contains(&answer.status), "{told:?}");
        assert!(
            is_atomic(*client) || answer.status < 300 || answer.status == 503,
            "{told:?}"
        );
        if answer.status == 207 {
            for result in results(answer) {
                let status = result["status"].as_u64();
                assert!(matches!(status, Some(200 | 201 | 503 | 504)), "{result}");
                assert_eq!(
                    status == Some(503),
                    result["retry_after"].is_number(),
                    "{result}"
                );
            }
        }
    }
    settled(env).await;
    assert_as_told(env, 0, &each(sent)).await;
    let column = key_column(env);
    for client in (0..CLIENTS).filter(|client| is_atomic(*client)) {
        let sql = format!("SELECT value FROM items WHERE {column} LIKE 'c-{client:03}-%'");
        let mut values: Vec<String> = env.database().column(&sql).await;
        assert!([0, KEYS].contains(&values.len()), "{client}: {values:?}");
        values.dedup();
        assert!(values.len() <= 1, "a part of an atomic batch: {values:?}");
    }
}

/// Enough were done, of both kinds, and some were caught.
fn assert_caught(env: &Env, sent: &[Sent]) {
    for atomic in [false, true] {
        let mut of_kind = sent.iter().filter(|sent| is_atomic(sent.client) == atomic);
        let done = of_kind
            .clone()
            .filter(|sent| sent.told.status() == 200)
            .count();
        // However busy the machine is; those that wait for too long are 503.
        assert!(done >= CLIENTS / 4, "only {done} were done");
        let cut = of_kind
            .clone()
            .filter(|sent| sent.told.status() != 200)
            .count();
        env.note(format!(
            "atomic {atomic}: {done} done, {cut} not or in part"
        ));
        assert!(
            of_kind.any(|sent| sent.told.status() != 200),
            "nobody was caught by it"
        );
    }
}

async fn what_kvd_told_of_batches_before_kill_9_is_there(env: Env) {
    let first = kvd(&env).start().await;
    let load = writers(&first);
    load.go_on(3).await;
    first.signal(Signal::SIGKILL);
    assert_eq!(first.end().await.code, -9);
    let sent = load.stop().await;
    assert_caught(&env, &sent);
    let second = kvd(&env).start().await;
    let _serves = second.get("/items/").await.expect(200);
    assert_told(&env, &sent).await;
}

async fn what_was_told_of_batches_when_the_database_is_killed_is_there(env: Env) {
    let kvd = kvd(&env).start().await;
    let load = writers(&kvd);
    load.go_on(3).await;
    env.server().kill().await;
    // While it is away, too.
    sleep(in_time() / 2).await;
    env.server().start().await;
    until("writes succeed", async || {
        batch(&kvd, &[put("x", "")]).await.status == 200
    })
    .await;
    load.go_on(1).await;
    let sent = load.stop().await;
    assert_caught(&env, &sent);
    assert_back(&kvd, in_time()).await;
    assert_told(&env, &sent).await;
    assert_pool_whole(&env, &kvd, 16).await;
}

async fn what_was_told_of_batches_when_the_database_is_frozen_is_there(env: Env) {
    let kvd = kvd(&env).start().await;
    let load = writers(&kvd);
    for _ in 0..2 {
        load.go_on(2).await;
        env.server().freeze().await;
        sleep(in_time()).await;
        env.server().thaw();
        until("writes succeed", async || {
            batch(&kvd, &[put("x", "")]).await.status == 200
        })
        .await;
    }
    load.go_on(1).await;
    let sent = load.stop().await;
    for sent in &sent {
        assert!(sent.told.taken < in_time(), "{:?}", sent.told);
    }
    assert_caught(&env, &sent);
    assert_told(&env, &sent).await;
    assert_pool_whole(&env, &kvd, 16).await;
}

/// What is asked when a write is done: of a transaction only its end, since before that nothing is.
fn deciding(env: &Env) -> &'static str {
    match env.engine() {
        Engine::Mysql => "COMMIT",
        Engine::Postgres | Engine::Sqlite => "",
    }
}

async fn while_answers_are_lost_each_operation_is_told_what_became_of_it(env: Env) {
    let relay = Relay::to(env.database()).await;
    let start = kvd(&env).env("DATABASE_URL", relay.url());
    let kvd = start.arg("--database-max-connections", "4").start().await;
    let load = writers(&kvd);
    load.go_on(1).await;
    for round in 0..16 {
        load.go_on(1).await;
        match round % 2 {
            0 => relay.lose_an_answer(deciding(&env)).await,
            _ => relay.cut(),
        }
    }
    load.go_on(1).await;
    let sent = load.stop().await;
    let unknown = each(&sent)
        .iter()
        .filter(|write| write.told.status() == 504)
        .count();
    assert!(unknown > 0, "no write was caught");
    assert_told(&env, &sent).await;
}

/// Nothing can have been written.
async fn an_atomic_batch_that_only_reads_is_never_504(env: Env) {
    let relay = Relay::to(env.database()).await;
    let kvd = kvd(&env).env("DATABASE_URL", relay.url()).start().await;
    kvd.create_all(["a", "b"]).await;
    let reads = [get("a"), get("b")];
    let _read = atomic(&kvd, &reads).await.expect(200);
    for _ in 0..3 {
        relay.swallow();
        let answer = atomic(&kvd, &reads).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        relay.pass_again();
        assert_back(&kvd, in_time()).await;
    }
}

/// On a server that nobody else uses meanwhile.
async fn a_hundred_puts_are_one_commit(env: Env) {
    let kvd = kvd(&env).start().await;
    let commits = async || {
        let sql = "SELECT CAST(variable_value AS SIGNED) FROM information_schema.global_status \
                   WHERE variable_name = 'COM_COMMIT'";
        env.database().value::<i64>(sql).await
    };
    for (round, end) in [None, None, Some(3600), Some(60)].into_iter().enumerate() {
        let puts: Vec<Value> = (0..100)
            .map(|n| {
                let key = format!("k-{}", n + 50 * round);
                json!({"op": "put", "key": key, "value": "v", "upsert": true, "ttl": end})
            })
            .collect();
        for together in [true, false] {
            let before = commits().await;
            let answer = match together {
                true => batch(&kvd, &puts).await,
                false => atomic(&kvd, &puts).await,
            };
            let _done = answer.expect(200);
            assert_eq!(commits().await - before, 1, "round {round}");
        }
    }
}
