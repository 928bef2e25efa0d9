//! Connections that are lost between a write and its answer.

use tests::{
    Client, Engine, Env, Kvd, item,
    load::{Load, told},
    relay::Relay,
};

use crate::faults::contract::{Written, assert_as_told, in_time, key_column, kvd, settled};

tests::list! {
    Faults =>
        a_write_whose_answer_is_lost_is_504_and_never_run_again,
        while_answers_are_lost_no_write_is_run_twice_and_none_that_is_503_at_all
}

/// What is asked when a write is done: of a transaction only its end, since before that nothing is.
fn deciding(env: &Env) -> &'static str {
    match env.engine() {
        Engine::Mysql => "COMMIT",
        Engine::Postgres | Engine::Sqlite => "",
    }
}

async fn start(env: &Env, relay: &Relay, connections: &str) -> Kvd {
    let start = kvd(env).env("DATABASE_URL", relay.url());
    let start = start.arg("--database-max-connections", connections);
    start.start().await
}

async fn a_write_whose_answer_is_lost_is_504_and_never_run_again(env: Env) {
    let relay = Relay::to(env.database()).await;
    let kvd = start(&env, &relay, "1").await;
    kvd.create_all(["put", "cas", "delete"]).await;
    let tag = kvd.get("/items/cas").await.expect(200).etag();
    for key in ["put", "cas", "upsert", "post", "delete"] {
        // The connection after the last one knows the statements then, and sends nothing but the write.
        let _known = kvd.post(&format!("{key}-warm"), "x").await.expect(201);
        let warm = item(&format!("{key}-warm"));
        for upsert in ["", "?upsert=true"] {
            let _known = kvd.put(&format!("{warm}{upsert}"), "y").await.expect(200);
        }
        let _known = kvd.delete(&warm).await.expect(204);
        let write = match key {
            "put" => kvd.put("/items/put", "lost"),
            "cas" => kvd.put("/items/cas", "lost").header("If-Match", &tag),
            "upsert" => kvd.put("/items/upsert?upsert=true", "lost"),
            "post" => kvd.post("post", "lost"),
            _ => kvd.delete("/items/delete"),
        };
        let losing = relay.lose_an_answer(deciding(&env));
        let ((), written) = tokio::join!(losing, told(write));
        written.expect_or_503(&[504], in_time());
        let answer = written.answer.expect("an answer");
        answer.problem(504, "outcome-unknown");
    }
    settled(&env).await;
    let key = key_column(&env);
    let all = format!("SELECT {key} FROM items WHERE value = 'lost' ORDER BY {key}");
    let lost: Vec<String> = env.database().column(&all).await;
    assert_eq!(lost, ["cas", "post", "put", "upsert"], "each was applied");
    let versions: Vec<i64> = env
        .database()
        .column(&format!("SELECT version FROM items ORDER BY {key}"))
        .await;
    assert_eq!(versions, [2, 1, 2, 1], "and once; what was deleted is gone");
}

async fn while_answers_are_lost_no_write_is_run_twice_and_none_that_is_503_at_all(env: Env) {
    let relay = Relay::to(env.database()).await;
    let kvd = start(&env, &relay, "4").await;
    kvd.create_all((0..8).map(|n| format!("w-{n}"))).await;
    let client = Client::clone(&kvd);
    let load = Load::start(8, move |client_number, round| {
        let (key, value) = (
            format!("w-{client_number}"),
            format!("{client_number}-{round}"),
        );
        let put = client.put(&item(&key), &value);
        async move {
            let told = told(put).await;
            Written { key, value, told }
        }
    });
    for round in 0..20 {
        load.go_on(1).await;
        match round % 2 {
            0 => relay.lose_an_answer(deciding(&env)).await,
            _ => relay.cut(),
        }
    }
    let writes = load.stop().await;
    for write in &writes {
        write.told.expect_or_503(&[200, 504], in_time());
    }
    let unknown = writes
        .iter()
        .filter(|write| write.told.status() == 504)
        .count();
    assert!(unknown > 0, "no write was caught");
    assert_as_told(&env, 1, &writes).await;
}
