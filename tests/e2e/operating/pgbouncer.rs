//! Behind PgBouncer, as the handbook has it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use reqwest::Url;
use sea_orm::{ConnectionTrait, TransactionTrait};
use tests::{
    Client, Engine, Env, Kvd,
    handbook::{Block, block},
    item,
    load::{together, told, until},
    pace::stretched,
    process::free_port,
    program::{Program, RunningProgram},
};

use crate::{
    faults::{
        contract::{
            AT_ONCE, assert_as_told, assert_back, assert_pool_whole, assert_unavailable, in_time,
            kvd as quick_to_give_up,
        },
        sessions::writers,
    },
    operating::session_variables::{OTHERWISE, assert_items, set_otherwise},
};

tests::list! {
    Only(Engine::Postgres) =>
        in_transaction_mode_many_share_few_sessions,
        in_session_mode_too,
        what_a_database_has_set_changes_no_answer_there_either,
        a_locked_key_keeps_only_its_own_writers_waiting,
        a_session_that_was_idle_keeps_its_place_among_those_that_wait,
        without_the_parameter_kvd_is_refused_and_says_why,
        without_the_parameter_nor_the_refusal_statements_get_lost,
        kvctl_and_migrations_ask_for_the_server_itself;
    FaultsOnly(Engine::Postgres) =>
        writes_are_honest_when_sessions_are_killed_behind_it,
        while_the_database_is_down_behind_it_everybody_gets_503_in_time,
        a_write_that_never_got_a_session_is_503
}

/// Sessions of PgBouncer's with PostgreSQL: fewer than kvd's with it.
const SESSIONS: i64 = 3;

struct PgBouncer {
    /// The database by way of it, as the handbook writes it.
    url: String,
    running: RunningProgram,
}

fn pgbouncer(env: &Env, shown: Block) -> PgBouncer {
    let server = Url::parse(&env.database().url()).expect("the database has a URL");
    let (name, user) = (env.database().name(), server.username());
    let password = server.password().unwrap_or_default();
    let port = free_port().expect("a port");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let program = Program::new(env, "pgbouncer");
    let host = server.host_str().unwrap_or_default();
    let config = shown
        .with(
            "host=127.0.0.1 port=5432",
            &format!("host={host} port={}", server.port().unwrap_or(5432)),
        )
        .with("dbname=kvd", &format!("dbname={name}"))
        .with(
            "listen_port = 6432",
            &format!("listen_port = {port}\nunix_socket_dir ="),
        )
        .with("/etc/pgbouncer/userlist.txt", &program.path("userlist.txt"))
        .with(
            "default_pool_size = 20",
            &format!("default_pool_size = {SESSIONS}"),
        );
    let url = block("# /etc/kvd/kvd.env, behind PgBouncer")
        .with("kvd:password", &format!("{user}:{password}"))
        .with(":6432", &format!(":{port}"))
        .text();
    let url = url.split('"').nth(1).expect("the URL is in quotes");
    let running = program
        .file("pgbouncer.ini", config.text())
        .file("userlist.txt", format!("\"{user}\" \"{password}\"\n"))
        .start("postgres", ["pgbouncer.ini"], address);
    PgBouncer {
        url: url.to_owned(),
        running,
    }
}

/// On a slow machine with more time, as kvd has.
fn shown() -> Block {
    waiting(stretched(Duration::from_secs(3)))
}

/// A client of this one waits for a session no longer than this.
fn waiting(time: Duration) -> Block {
    let time = format!("query_wait_timeout = {}", time.as_secs());
    block("; /etc/pgbouncer/pgbouncer.ini").with("query_wait_timeout = 3", &time)
}

fn in_session_mode() -> Block {
    shown().with("pool_mode = transaction", "pool_mode = session")
}

async fn kvd(env: &Env, url: &str) -> Kvd {
    let kvd = env.kvd().env("DATABASE_URL", url).start().await;
    kvd.ready().await;
    kvd
}

/// Many clients that write one key wait for each other, and on a slow machine for long.
async fn patient(env: &Env, url: &str) -> Kvd {
    let kvd = env.kvd().env("DATABASE_URL", url);
    let kvd = kvd.arg("--request-timeout", "50s").start().await;
    kvd.ready().await;
    kvd
}

async fn in_transaction_mode_many_share_few_sessions(env: Env) {
    let pgbouncer = pgbouncer(&env, waiting(Duration::from_secs(30)));
    let fleet = [
        patient(&env, &pgbouncer.url).await,
        patient(&env, &pgbouncer.url).await,
    ];
    all_is_right(&env, &fleet).await;
}

/// There a session is lent for as long as kvd keeps it.
async fn in_session_mode_too(env: Env) {
    let pgbouncer = pgbouncer(&env, in_session_mode());
    let kvd = env.kvd().env("DATABASE_URL", &pgbouncer.url);
    let kvd = kvd
        .arg("--database-max-connections", SESSIONS.to_string())
        .arg("--request-timeout", "50s");
    all_is_right(&env, &[kvd.start().await]).await;
}

/// Each transaction sets what a session of its own would have.
async fn what_a_database_has_set_changes_no_answer_there_either(env: Env) {
    let pgbouncer = pgbouncer(&env, shown());
    set_otherwise(&env, env.database(), &OTHERWISE).await;
    // Time to say otherwise: until then a statement has what the database gives it.
    let time = [("statement_timeout", "10s"), ("lock_timeout", "10s")];
    set_otherwise(&env, env.database(), &time).await;
    let kvd = patient(&env, &pgbouncer.url).await;
    assert_items(&kvd).await;
}

/// Forty clients at once, through all of these.
async fn all_is_right(env: &Env, fleet: &[Kvd]) {
    let fleet: Arc<[Client]> = fleet.iter().map(|kvd| Client::clone(kvd)).collect();
    let clients = together(40, |client| {
        let fleet = Arc::clone(&fleet);
        async move {
            for round in 0..5 {
                let one = &fleet[client % fleet.len()];
                let other = &fleet[(client + 1) % fleet.len()];
                one_item(one, other, &format!("k-{client}-{round}")).await;
            }
        }
    });
    clients.await;
    let database = env.database();
    let items: i64 = database.value("SELECT count(*) FROM items").await;
    assert_eq!(items, 201);
    let hot: i64 = database
        .value("SELECT version FROM items WHERE key = 'hot'")
        .await;
    assert_eq!(hot, 400);
    let sessions = "SELECT count(*) FROM pg_stat_activity \
                    WHERE datname = current_database() AND application_name = 'kvd'";
    let sessions: i64 = database.value(sessions).await;
    assert!((1..=SESSIONS).contains(&sessions), "{sessions} sessions");
}

/// Leaves the item, and two more versions of one that all write.
async fn one_item(one: &Client, other: &Client, key: &str) {
    let path = item(key);
    let created = one.create(key, "0").await;
    let read = other.get(&path).await.expect(200);
    assert_eq!(read.json(), created.json(), "{key}");
    let put = |kvd: &Client, value| kvd.put(&path, value).header("If-Match", &read.etag());
    let updated = put(one, "1").await.expect(200);
    let stale = put(other, "2").await;
    stale.problem(412, "precondition-failed");
    assert_eq!(stale.etag(), updated.etag(), "{key}");
    one.post(key, "3").await.problem(409, "key-exists");
    let page = other.get(&format!("/items/?prefix={key}&count=exact"));
    assert_eq!(page.await.expect(200).json()["total"], 1, "{key}");
    for kvd in [one, other] {
        let hot = kvd.put("/items/hot?upsert=true", key).await;
        assert!(matches!(hot.status, 200 | 201), "{}", hot.status);
    }
    let _deleted = one.delete(&path).await.expect(204);
    let _created = other.create(key, "4").await;
}

/// kvd's timeouts hold although PgBouncer takes no settings for a session; no other client inherits them.
async fn a_locked_key_keeps_only_its_own_writers_waiting(env: Env) {
    let pgbouncer = pgbouncer(&env, shown());
    let kvd = kvd(&env, &pgbouncer.url).await;
    kvd.create_all(["locked", "free"]).await;
    let locks = env.database().connection().await.begin().await;
    let locks = locks.expect("a transaction");
    let lock = "SELECT 1 FROM items WHERE key = 'locked' FOR UPDATE";
    let _locked = locks.execute_unprepared(lock).await.expect("a lock");
    let waiting = told(kvd.put("/items/locked", "x"));
    let others = together(100, |n| told(kvd.put("/items/free", &n.to_string())));
    let (waited, others) = tokio::join!(waiting, others);
    waited.expect_503();
    assert!(
        waited.waited > Duration::from_secs(2),
        "{:?}",
        waited.waited
    );
    for told in others {
        assert_eq!(told.status(), 200);
    }
    drop(locks);
    let _written = kvd.put("/items/locked", "y").await.expect(200);
}

/// PgBouncer lets sessions wait for one of the server's in turn, so a new one would go to the end.
async fn a_session_that_was_idle_keeps_its_place_among_those_that_wait(env: Env) {
    let mode = "pool_mode = transaction";
    let ignoring = format!("{mode}\nignore_startup_parameters = extra_float_digits");
    let pgbouncer = pgbouncer(&env, shown().with(mode, &ignoring));
    let kvd = kvd(&env, &pgbouncer.url).await;
    let _created = kvd.create("a", "b").await;
    let logins = || pgbouncer.running.log().matches("login attempt").count();
    // Two sessions, as kvd looks for expired items meanwhile.
    let locks = env.database().connection().await.begin().await;
    let locks = locks.expect("a transaction");
    let lock = "LOCK TABLE items IN ACCESS EXCLUSIVE MODE";
    let _locked = locks.execute_unprepared(lock).await.expect("a lock");
    let waiting = [
        tokio::spawn(told(kvd.put("/items/a", "b"))),
        tokio::spawn(told(kvd.get("/items/a"))),
        tokio::spawn(told(kvd.get("/items/?count=none"))),
    ];
    until("it has two sessions", async || logins() >= 2).await;
    drop(locks);
    for waiting in waiting {
        let _told = waiting.await.expect("an answer");
    }
    let (plain, _) = pgbouncer.url.split_once('?').expect("parameters");
    let others = sea_orm::Database::connect(plain).await.expect("sessions");
    let mut lent = Vec::new();
    for _ in 0..SESSIONS {
        lent.push(others.begin().await.expect("a session"));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = logins();
    let read = tokio::spawn(told(kvd.get("/items/a")));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!read.is_finished(), "there is no session for it");
    drop(lent);
    assert_eq!(read.await.expect("an answer").status(), 200);
    assert_eq!(logins(), before);
}

async fn without_the_parameter_kvd_is_refused_and_says_why(env: Env) {
    let pgbouncer = pgbouncer(&env, shown());
    let (plain, _) = pgbouncer.url.split_once('?').expect("parameters");
    // However busy the machine is, the first attempt has time to be refused.
    let start = env.kvd().arg("--request-timeout", "50s");
    let kvd = start.env("DATABASE_URL", plain).start().await;
    let _not_ready = kvd.get("/readyz").await.expect(503);
    kvd.logged("unsupported startup parameter").await;
}

async fn without_the_parameter_nor_the_refusal_statements_get_lost(env: Env) {
    let mode = "pool_mode = transaction";
    let ignoring = format!("{mode}\nignore_startup_parameters = extra_float_digits,options");
    let pgbouncer = pgbouncer(&env, shown().with(mode, &ignoring));
    let (plain, _) = pgbouncer.url.split_once('?').expect("parameters");
    let kvd = env.kvd().env("DATABASE_URL", plain).start().await;
    let asked = together(50, |n| told(kvd.post(&n.to_string(), "")));
    let lost = asked
        .await
        .iter()
        .filter(|told| told.status() != 201)
        .count();
    assert!(
        lost > 0,
        "this PgBouncer prepares statements in transaction mode"
    );
}

async fn kvctl_and_migrations_ask_for_the_server_itself(env: Env) {
    let pgbouncer = pgbouncer(&env, shown());
    let kvctl = env
        .kvctl_bare(["migrate"])
        .env("DATABASE_URL", &pgbouncer.url);
    let refused = kvctl.await.expect(2).stderr;
    assert!(refused.contains("pool_mode=transaction"), "{refused}");
    let kvd = env
        .kvd()
        .env("DATABASE_URL", &pgbouncer.url)
        .flag("--migrate");
    let refused = kvd.run().await.expect(2).stderr;
    assert!(refused.contains("kvctl migrate"), "{refused}");
    let _migrated = env.kvctl(["migrate"]).await.expect(0);
}

async fn writes_are_honest_when_sessions_are_killed_behind_it(env: Env) {
    let pgbouncer = pgbouncer(&env, shown());
    let kvd = quick_to_give_up(&env)
        .env("DATABASE_URL", &pgbouncer.url)
        .start()
        .await;
    kvd.create_all((0..8).map(|n| format!("w-{n}"))).await;
    let writers = writers(Client::clone(&kvd));
    for _ in 0..20 {
        let _killed = env.server().end_sessions(env.database().name()).await;
        writers.go_on(2).await;
    }
    let writes = writers.stop().await;
    for write in &writes {
        write.told.expect_or_503(&[200, 504], in_time());
    }
    assert_as_told(&env, 1, &writes).await;
    assert_pool_whole(&env, &kvd, 16).await;
}

async fn while_the_database_is_down_behind_it_everybody_gets_503_in_time(env: Env) {
    let pgbouncer = pgbouncer(&env, waiting(stretched(Duration::from_secs(1))));
    let kvd = quick_to_give_up(&env)
        .env("DATABASE_URL", &pgbouncer.url)
        .start()
        .await;
    let _created = kvd.create("a", "b").await;
    env.server().shut_down().await;
    assert_unavailable(&kvd).await;
    env.server().start().await;
    assert_back(&kvd, AT_ONCE * 5).await;
}

async fn a_write_that_never_got_a_session_is_503(env: Env) {
    let pgbouncer = pgbouncer(&env, waiting(Duration::from_secs(60)));
    let kvd = quick_to_give_up(&env)
        .env("DATABASE_URL", &pgbouncer.url)
        .start()
        .await;
    kvd.create_all(["a", "b"]).await;
    env.server().freeze().await;
    let writes = together(20, |n| {
        told(kvd.put(if n % 2 == 0 { "/items/a" } else { "/items/b" }, "x"))
    });
    let writes = writes.await;
    env.server().thaw();
    for told in writes {
        told.expect_or_503(&[], in_time());
    }
    assert_back(&kvd, AT_ONCE * 5).await;
    for key in ["a", "b"] {
        let read = kvd.get(&item(key)).await.expect(200);
        assert_eq!(read.member("value"), "", "{key}");
    }
    assert_pool_whole(&env, &kvd, 16).await;
}
