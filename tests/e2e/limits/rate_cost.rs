//! A request refused by the limiter costs no database work, seen by what reaches the server.

use tests::{Engine, Env, relay::Relay};

tests::list! {
    Only(Engine::Postgres) => a_refusal_costs_no_work_of_postgresql;
    Only(Engine::Mysql) => a_refusal_costs_no_work_of_mysql
}

async fn a_refusal_costs_no_work_of_postgresql(env: Env) {
    a_refusal_costs_no_database_work(env).await;
}

async fn a_refusal_costs_no_work_of_mysql(env: Env) {
    a_refusal_costs_no_database_work(env).await;
}

/// Counts how often the key reaches the server, which a request that is let in shows to work. What kvd sends by itself
/// has no key.
async fn a_refusal_costs_no_database_work(env: Env) {
    const KEY: &str = "the-key-that-is-counted";
    let relay = Relay::to(env.database()).await;
    relay.count(KEY);
    let kvd = env.kvd().env("DATABASE_URL", relay.url());
    let kvd = kvd.arg("--rate-limit", "4").start().await;
    let path = tests::item(KEY);
    let list = format!("/items/?prefix={KEY}");
    let mut counted = 0;
    for (let_in, status) in [
        (kvd.post(KEY, "b"), 201),
        (kvd.get(&path), 200),
        (kvd.put(&path, "c"), 200),
        (kvd.get(&list), 200),
    ] {
        let _let_in = let_in.await.expect(status);
        assert!(relay.counted() > counted, "the relay counts");
        counted = relay.counted();
    }
    for _ in 0..20 {
        for refused in [
            kvd.get(&path).await,
            kvd.get(&list).await,
            kvd.put(&path, "c").await,
            kvd.post(KEY, "c").await,
            kvd.delete(&path).await,
        ] {
            refused.problem(429, "rate-limited");
        }
    }
    assert_eq!(relay.counted(), counted, "keys sent to the database");
}
