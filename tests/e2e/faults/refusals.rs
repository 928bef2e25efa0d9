//! A database that is there, but refuses.

use std::time::Duration;

use sea_orm::ConnectionTrait;
use tests::{
    Client, Engine, Env, item,
    load::{Load, Told, together, told, until},
    pace::stretched,
    relay::Relay,
};
use tokio::time::sleep;

use crate::faults::contract::{
    Written, assert_as_told, assert_back, assert_unavailable, in_time, key_column, kvd,
};

tests::list! {
    Faults =>
        a_read_only_database_refuses_writes_and_serves_reads,
        with_too_few_sessions_some_are_refused_and_the_others_go_on;
    FaultsOnly(Engine::Postgres) =>
        without_any_session_everybody_is_refused_in_time,
        a_write_rolled_back_for_the_sake_of_others_is_run_again_within_bounds;
    FaultsOnly(Engine::Mysql) =>
        a_commit_that_was_refused_is_not_made_by_the_next_write,
        after_a_failover_that_leaves_connections_open_writes_succeed_on_new_ones
}

async fn a_read_only_database_refuses_writes_and_serves_reads(env: Env) {
    let url = env
        .server()
        .url_of_ordinary_user(env.database().name())
        .await;
    let kvd = kvd(&env).env("DATABASE_URL", url).start().await;
    kvd.create_all(["a", "b"]).await;
    env.server().set_read_only(true).await;
    until("writes are refused", async || {
        kvd.put("/items/back?upsert=true", "x").await.status == 503
    })
    .await;
    let mut writes = Vec::new();
    for round in 0..15 {
        for (call, key) in [
            (kvd.put("/items/a", "refused"), "a"),
            (kvd.delete("/items/b"), "b"),
            (kvd.post("c", "refused"), "c"),
        ] {
            let told = told(call).await;
            told.expect_or_503(&[], in_time());
            let (key, value) = (key.to_owned(), "refused".to_owned());
            writes.push(Written { key, value, told });
        }
        let _read = kvd.get("/items/a").await.expect(200);
        let _page = kvd.get("/items/").await.expect(200);
        let ready = kvd.get("/readyz").await.status;
        assert_eq!(ready, 200, "/readyz in round {round}");
        // For longer than an answer of /readyz is cached.
        sleep(Duration::from_millis(100)).await;
    }
    env.server().set_read_only(false).await;
    assert_back(&kvd, Duration::from_secs(2)).await;
    let (created, missing): (Vec<_>, Vec<_>) = writes.into_iter().partition(|w| w.key != "c");
    assert_as_told(&env, 1, &created).await;
    assert_as_told(&env, 0, &missing).await;
}

/// The share of a kvd whose pool is larger than what the server allows.
async fn with_too_few_sessions_some_are_refused_and_the_others_go_on(env: Env) {
    let server = env.server();
    let url = server.url_of_ordinary_user(env.database().name()).await;
    server.limit_ordinary_user(Some(2)).await;
    let start = kvd(&env).env("DATABASE_URL", url);
    let kvd = start.arg("--database-max-connections", "8").start().await;
    let client = Client::clone(&kvd);
    let load = Load::start(16, move |n, round| {
        let path = item(&format!("k-{n}-{round}"));
        let call = match round % 2 {
            0 => client.put(&format!("{path}?upsert=true"), "x"),
            _ => client.get("/items/"),
        };
        told(call)
    });
    // Longer than a request takes that waits in vain.
    sleep(stretched(Duration::from_secs(5))).await;
    load.go_on(1).await;
    let all = load.stop().await;
    for told in &all {
        told.expect_or_503(&[200, 201], in_time());
    }
    let (done, refused): (Vec<&Told>, Vec<&Told>) = all.iter().partition(|told| told.is_done());
    env.note(format!("{} done, {} refused", done.len(), refused.len()));
    assert!(
        done.len() > 10 * refused.len(),
        "most are served by the two"
    );
    server.limit_ordinary_user(None).await;
    until("nobody is refused", async || {
        let all = together(50, |_| told(kvd.get("/items/"))).await;
        all.iter().all(Told::is_done)
    })
    .await;
}

async fn without_any_session_everybody_is_refused_in_time(env: Env) {
    let server = env.server();
    let url = server.url_of_ordinary_user(env.database().name()).await;
    let kvd = kvd(&env).env("DATABASE_URL", url).start().await;
    server.limit_ordinary_user(Some(0)).await;
    assert_unavailable(&kvd).await;
    server.limit_ordinary_user(None).await;
    assert_back(&kvd, Duration::from_secs(2)).await;
}

/// Serialization failures and deadlocks, which a trigger makes up.
async fn a_write_rolled_back_for_the_sake_of_others_is_run_again_within_bounds(env: Env) {
    let kvd = env.start().await;
    let connection = env.database().connection().await;
    let run = async |sql: String| {
        let done = connection.execute_unprepared(&sql).await;
        done.unwrap_or_else(|e| panic!("{sql}: {e}"));
    };
    // A sequence does not forget the attempts that were rolled back.
    let lose = |code: &str, attempts: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF {attempts} THEN RAISE EXCEPTION 'lost' USING ERRCODE = '{code}'; END IF; \
             RETURN NEW; END $$"
        )
    };
    run("CREATE SEQUENCE attempts".to_owned()).await;
    run(lose("40001", "nextval('attempts') % 4 <> 0")).await;
    let trigger = "CREATE TRIGGER lose BEFORE INSERT OR UPDATE ON items \
                   FOR EACH ROW EXECUTE FUNCTION lose()";
    run(trigger.to_owned()).await;
    let _created = kvd.post("a", "first").await.expect(201);
    run(lose("40P01", "nextval('attempts') % 4 <> 0")).await;
    let updated = kvd.put("/items/a", "second").await.expect(200);
    assert_eq!(updated.json()["version"], 2);
    for code in ["40001", "40P01"] {
        run(lose(code, "true")).await;
        let refused = told(kvd.put("/items/a", "third")).await;
        refused.expect_503();
        assert!(refused.taken < in_time(), "after {:?}", refused.taken);
    }
    let read = kvd.get("/items/a").await.expect(200);
    assert_eq!(read.member("value"), "second");
}

/// What a server answers to the first packet of a command.
fn mysql_error(number: u16, message: &str) -> Vec<u8> {
    let mut error = vec![0, 0, 0, 1, 0xff];
    error.extend(number.to_le_bytes());
    error.extend(format!("#HY000{message}").bytes());
    error[0] = u8::try_from(error.len() - 4).expect("a short message");
    error
}

/// As by a proxy, or a node of Galera that has left its cluster.
async fn a_commit_that_was_refused_is_not_made_by_the_next_write(env: Env) {
    let relay = Relay::to(env.database()).await;
    let kvd = kvd(&env).env("DATABASE_URL", relay.url());
    let kvd = kvd.arg("--database-max-connections", "1").start().await;
    kvd.create_all(["a", "b"]).await;
    relay.refuse(
        "COMMIT",
        mysql_error(1047, "WSREP has not yet prepared node"),
    );
    let refused = told(kvd.put("/items/a", "refused")).await;
    refused.expect_or_503(&[504], in_time());
    let read = kvd.get("/items/a").await.expect(200);
    assert_eq!(read.member("value"), "", "it is seen");
    for key in ["b", "a"] {
        let _written = kvd.put(&item(key), "x").await.expect(200);
    }
    let versions = format!("SELECT version FROM items ORDER BY {}", key_column(&env));
    assert_eq!(env.database().column::<i64>(&versions).await, [2, 2]);
}

/// The server before keeps its connections, and takes no writes any more.
async fn after_a_failover_that_leaves_connections_open_writes_succeed_on_new_ones(env: Env) {
    let relay = Relay::to(env.database()).await;
    let kvd = kvd(&env).env("DATABASE_URL", relay.url()).start().await;
    kvd.create_all((0..16).map(|n| format!("k-{n}"))).await;
    let read_only = "The MySQL server is running with the --read-only option";
    relay.refuse("COMMIT", mysql_error(1290, read_only));
    let first = told(kvd.put("/items/k-0", "x")).await;
    first.expect_or_503(&[], in_time());
    let taken = until("writes succeed", async || {
        let told = told(kvd.put("/items/k-0", "x")).await;
        told.expect_or_503(&[200], in_time());
        told.is_done()
    })
    .await;
    assert!(
        taken < stretched(Duration::from_secs(7)),
        "only after {taken:?}"
    );
    for told in together(16, |n| told(kvd.put(&item(&format!("k-{n}")), "y"))).await {
        told.expect_or_503(&[200], in_time());
        assert!(told.is_done(), "{told:?}");
    }
}
