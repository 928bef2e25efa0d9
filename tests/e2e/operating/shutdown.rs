//! How kvd ends: not ready first, then nothing new, then what is under way is answered.

use std::time::Duration;

use nix::sys::signal::Signal;
use tests::{
    Env, Kvd, Wire,
    kvd::setting,
    load::until,
    pace::{Stopwatch, stretched},
};
use tokio::{net::TcpStream, time::sleep};

tests::list! {
    EveryEngine => a_request_under_way_is_answered_and_its_write_is_there;
    Once =>
        sigterm_and_sigint_end_it_with_exit_code_0,
        during_the_delay_it_is_not_ready_and_serves_everything_else,
        readiness_of_the_admin_address_turns_too,
        after_that_no_new_connection_is_taken,
        connections_the_kernel_has_accepted_are_served,
        connections_that_wait_for_room_are_served_too,
        idle_connections_do_not_hold_it_up,
        the_grace_bounds_a_request_that_never_ends,
        a_half_sent_head_does_not_outlast_the_grace,
        it_ends_while_its_database_is_out_of_reach
}

/// Requests being answered, the one that asks included.
const IN_FLIGHT: &str = "kvd_http_requests_in_flight";

/// A `PUT` whose head and half of whose body kvd has.
async fn half_sent(kvd: &Kvd) -> Wire {
    let mut wire = kvd.wire().await;
    let before = kvd.metric(IN_FLIGHT).await;
    wire.send(
        "PUT /items/slow?upsert=true HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"value\":",
    )
    .await;
    until("the request is under way", async || {
        kvd.metric(IN_FLIGHT).await > before
    })
    .await;
    wire
}

async fn closed(kvd: &Kvd) {
    let address = kvd.address();
    until("no connection is taken", async || {
        TcpStream::connect(address).await.is_err()
    })
    .await;
}

/// Time enough to ask for everything while it lasts.
fn delay() -> Duration {
    stretched(Duration::from_secs(3))
}

/// Patient enough that the tests decide when a request is over.
fn patient(env: &Env) -> tests::kvd::Start {
    let start = env.kvd().env("REQUEST_TIMEOUT", "40s");
    start.env("SHUTDOWN_GRACE", "40s")
}

async fn sigterm_and_sigint_end_it_with_exit_code_0(env: Env) {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let kvd = env.start().await;
        let _served = kvd.get("/items/").await.expect(200);
        kvd.signal(signal);
        let _ended = kvd.end().await.expect(0);
    }
}

async fn during_the_delay_it_is_not_ready_and_serves_everything_else(env: Env) {
    let start = env.kvd().arg("--shutdown-delay", setting(delay()));
    let kvd = start.start().await;
    let mut old = kvd.wire().await;
    let _ready = old.ask("GET", "/readyz", "").await.expect(200);
    let watch = Stopwatch::start();
    kvd.signal(Signal::SIGTERM);
    until("it is not ready", async || {
        kvd.get("/readyz").await.status == 503
    })
    .await;
    let _live = old.ask("GET", "/livez", "").await.expect(200);
    let _not_ready = old.ask("GET", "/readyz", "").await.expect(503);
    let _old_connection = old.ask("GET", "/items/", "").await.expect(200);
    let mut new = kvd.wire().await;
    let _new_connection = new.ask("GET", "/items/", "").await.expect(200);
    let _created = kvd.client_at("127.0.0.2").create("a", "b").await;
    let _metrics = kvd.get("/metrics").await.expect(200);
    let _ended = kvd.end().await.expect(0);
    assert!(watch.wall() >= delay(), "the delay");
}

async fn readiness_of_the_admin_address_turns_too(env: Env) {
    let start = env.kvd().arg("--shutdown-delay", setting(delay()));
    let kvd = start.arg("--admin-listen", "127.0.0.1:0").start().await;
    let admin = kvd.admin();
    let _ready = admin.get("/readyz").await.expect(200);
    kvd.signal(Signal::SIGTERM);
    until("it is not ready", async || {
        admin.get("/readyz").await.status == 503
    })
    .await;
    let _live = admin.get("/livez").await.expect(200);
    let _served = kvd.get("/items/").await.expect(200);
    let _ended = kvd.end().await.expect(0);
}

async fn a_request_under_way_is_answered_and_its_write_is_there(env: Env) {
    let kvd = patient(&env).start().await;
    let mut slow = half_sent(&kvd).await;
    kvd.signal(Signal::SIGTERM);
    closed(&kvd).await;
    slow.send("\"done\"}").await;
    let answer = slow.answer().await.expect(201);
    assert_eq!(answer.member("value"), "done");
    assert!(slow.rest().await.is_empty(), "and its connection is closed");
    let _ended = kvd.end().await.expect(0);
    assert_eq!(env.kvctl(["get", "slow"]).await.expect(0).text(), "done");
}

async fn after_that_no_new_connection_is_taken(env: Env) {
    let start = patient(&env).arg("--admin-listen", "127.0.0.1:0");
    let kvd = start.start().await;
    let admin = kvd.admin();
    let mut under_way = kvd.wire().await;
    under_way
        .send("PUT /items/a?upsert=true HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nContent-Type: application/json\r\n\r\n")
        .await;
    until("it is under way", async || {
        admin.metric(IN_FLIGHT).await > 1.0
    })
    .await;
    kvd.signal(Signal::SIGTERM);
    closed(&kvd).await;
    for _ in 0..5 {
        let refused = TcpStream::connect(kvd.address()).await;
        assert!(refused.is_err(), "a connection after the closing");
    }
    drop(under_way);
    let _ended = kvd.end().await.expect(0);
}

/// The kernel completes connections on its own, while kvd sleeps; their clients believe they are served.
async fn connections_the_kernel_has_accepted_are_served(env: Env) {
    let kvd = env.start().await;
    let _connected = kvd.get("/items/").await.expect(200);
    kvd.signal(Signal::SIGSTOP);
    let mut waiting = Vec::new();
    for _ in 0..60 {
        let mut wire = kvd.wire().await;
        wire.send("GET /items/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        waiting.push(wire);
    }
    kvd.signal(Signal::SIGTERM);
    kvd.signal(Signal::SIGCONT);
    for mut wire in waiting {
        let _served = wire.answer().await.expect(200);
    }
    let _ended = kvd.end().await.expect(0);
}

/// The kernel holds them, because kvd has as many as it may have.
async fn connections_that_wait_for_room_are_served_too(env: Env) {
    let start = patient(&env).arg("--max-connections", "3");
    let kvd = start.arg("--admin-listen", "127.0.0.1:0").start().await;
    let head = "PUT /items/a?upsert=true HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\
                Content-Type: application/json\r\nContent-Length: 13\r\n\r\n";
    let mut under_way = Vec::new();
    for _ in 0..3 {
        let mut wire = kvd.wire().await;
        let _asked_for_its_body = wire.send(head).await.answer().await.expect(100);
        under_way.push(wire);
    }
    let mut waiting = Vec::new();
    for _ in 0..10 {
        let mut wire = kvd.wire().await;
        wire.send("GET /items/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        waiting.push(wire);
    }
    kvd.signal(Signal::SIGTERM);
    // Nothing can be seen of it from outside; too short a time would only make the test easier.
    sleep(Duration::from_millis(300)).await;
    for mut wire in under_way {
        wire.send("{\"value\":\"b\"}").await;
        let _written = wire.answer().await;
    }
    for mut wire in waiting {
        let _served = wire.answer().await.expect(200);
    }
    let _ended = kvd.end().await.expect(0);
}

async fn idle_connections_do_not_hold_it_up(env: Env) {
    let kvd = patient(&env).start().await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        let mut wire = kvd.wire().await;
        let _served = wire.ask("GET", "/items/", "").await.expect(200);
        idle.push(wire);
    }
    let watch = Stopwatch::start();
    let _ended = kvd.stop().await.expect(0);
    assert!(watch.elapsed() < Duration::from_secs(20), "held up");
    for mut wire in idle {
        assert!(wire.rest().await.is_empty());
    }
}

async fn the_grace_bounds_a_request_that_never_ends(env: Env) {
    let start = patient(&env).env("SHUTDOWN_GRACE", "1s");
    let kvd = start.start().await;
    let _never_completed = half_sent(&kvd).await;
    let watch = Stopwatch::start();
    let _ended = kvd.stop().await.expect(0);
    let waited = watch.wall();
    assert!(
        waited >= Duration::from_secs(1),
        "it had {waited:?} of its second"
    );
    assert!(watch.elapsed() < Duration::from_secs(20), "held up");
    assert_eq!(
        env.kvctl(["get", "slow"]).await.code,
        1,
        "nothing was written"
    );
}

async fn a_half_sent_head_does_not_outlast_the_grace(env: Env) {
    let start = env.kvd().arg("--shutdown-grace", "1s");
    let kvd = start.start().await;
    let mut wire = kvd.wire().await;
    let _served = wire.ask("GET", "/livez", "").await.expect(200);
    wire.send("GET /items/ HTTP/1.1\r\nHos").await;
    let _silent = kvd.wire().await;
    let watch = Stopwatch::start();
    let _ended = kvd.stop().await.expect(0);
    assert!(watch.elapsed() < Duration::from_secs(20), "held up");
}

async fn it_ends_while_its_database_is_out_of_reach(env: Env) {
    for url in [
        "postgres://kvd@127.0.0.1:1/kvd",
        "mysql://kvd@127.0.0.1:1/kvd",
    ] {
        for with in ["MIGRATE", "UNUSED"] {
            let start = env.kvd().env("DATABASE_URL", url).env(with, "true");
            let kvd = start.arg("--request-timeout", "200ms").start().await;
            let _live = kvd.get("/livez").await.expect(200);
            let _not_ready = kvd.get("/readyz").await.expect(503);
            kvd.get("/items/")
                .await
                .problem(503, "database-unavailable");
            let _ended = kvd.stop().await.expect(0);
        }
    }
}
