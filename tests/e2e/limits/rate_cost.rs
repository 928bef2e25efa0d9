//! A request refused by the limiter costs no database work, seen by what reaches the server.

use std::time::Duration;

use tests::{Engine, Env, relay::Relay};
use tokio::time::sleep;

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

/// Waits until nothing more is sent, since the driver pings a connection that it puts back; what was sent by then.
async fn settled(relay: &Relay) -> u64 {
    loop {
        let sent = relay.sent();
        sleep(Duration::from_millis(300)).await;
        if relay.sent() == sent {
            return sent;
        }
    }
}

/// Counts what reaches the server, which a request that is let in shows to work.
async fn a_refusal_costs_no_database_work(env: Env) {
    let relay = Relay::to(env.database()).await;
    let kvd = env.kvd().env("DATABASE_URL", relay.url());
    let kvd = kvd.arg("--rate-limit", "4").start().await;
    let _connected = kvd.create("a", "b").await;
    let _prepared = kvd.get("/items/a").await.expect(200);
    let before = relay.sent();
    let _let_in = kvd.get("/items/a").await.expect(200);
    let _let_in = kvd.put("/items/a", "c").await.expect(200);
    let after = settled(&relay).await;
    assert!(after > before, "the relay counts");
    for _ in 0..20 {
        for refused in [
            kvd.get("/items/a").await,
            kvd.get("/items/").await,
            kvd.put("/items/a", "c").await,
            kvd.post("b", "c").await,
            kvd.delete("/items/a").await,
        ] {
            refused.problem(429, "rate-limited");
        }
    }
    assert_eq!(relay.sent(), after, "bytes sent to the database");
}
