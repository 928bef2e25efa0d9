//! Clients that close their sending side: the end of their input is not their end.

use std::time::Duration;

use nix::sys::signal::Signal;
use sea_orm::{ConnectionTrait, DatabaseTransaction, TransactionTrait};
use tests::{
    Answer, Engine, Env, Kvd, Wire,
    kvd::setting,
    load::until,
    pace::{Stopwatch, stretched},
};
use tokio::{task::JoinSet, time::sleep};

tests::list! {
    EveryEngine => a_client_that_has_said_all_is_answered;
    Once =>
        all_pipelined_requests_are_answered_before_the_end,
        a_page_that_is_coming_comes_to_its_end,
        the_admin_address_answers_it_too,
        what_is_not_complete_ends_at_once;
    Only(Engine::Postgres) =>
        a_request_that_waits_is_answered_after_the_end_of_input,
        those_of_one_client_keep_no_other_waiting,
        those_without_a_turn_in_their_time_are_503,
        of_too_many_that_end_while_they_wait_the_oldest_is_given_up,
        those_that_are_gone_do_not_count,
        a_request_is_given_up_when_its_client_resets_the_connection
}

const IN_FLIGHT: &str = "kvd_http_requests_in_flight";

fn write(line: &str, body: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends it and closes the sending side; the answer, after which nothing may come but the end.
async fn said_all(mut wire: Wire, request: String) -> Answer {
    wire.send(request).await.shutdown().await;
    let answer = wire.answer().await;
    assert!(wire.rest().await.is_empty(), "{}: one answer", answer.asked);
    answer
}

async fn a_client_that_has_said_all_is_answered(env: Env) {
    let kvd = env.start().await;
    for n in 0..10 {
        let ask = async |request: String| said_all(kvd.wire().await, request).await;
        let item = format!("{{\"key\":\"{n}\",\"value\":\"a\"}}");
        let _created = ask(write("POST /items/", &item)).await.expect(201);
        let line = format!("PUT /items/{n}");
        let updated = ask(write(&line, "{\"value\":\"b\"}")).await.expect(200);
        assert_eq!(updated.member("value"), "b");
        let head = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: chunked\r\n\r\n"
        );
        let chunks = "a\r\n{\"value\":\"\r\n3\r\nc\"}\r\n0\r\n\r\n";
        let chunked = ask(head + chunks).await.expect(200);
        assert_eq!(chunked.member("value"), "c");
        let read = format!("GET /items/{n} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(ask(read).await.expect(200).member("value"), "c");
        let list = "GET /items/?page_size=100 HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let _page = ask(list.to_owned()).await.expect(200);
        let delete = format!("DELETE /items/{n} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let _deleted = ask(delete).await.expect(204);
        let mut checker = kvd.wire().await;
        checker.send("GET /livez HTTP/1.0\r\n\r\n").await;
        checker.shutdown().await;
        let said = checker.rest().await;
        assert!(said.starts_with(b"HTTP/1.0 200 "), "{n}: {said:?}");
    }
}

async fn all_pipelined_requests_are_answered_before_the_end(env: Env) {
    const REQUESTS: usize = 2000;
    let kvd = env.start().await;
    let mut wire = kvd.wire().await;
    let one = "GET /items/?count=none HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for _ in 0..REQUESTS / 100 {
        wire.send(one.repeat(100)).await;
        for _ in 0..50 {
            let _served = wire.answer().await.expect(200);
        }
    }
    wire.shutdown().await;
    for _ in 0..REQUESTS / 2 {
        let _served = wire.answer().await.expect(200);
    }
    assert!(wire.rest().await.is_empty());
}

async fn a_page_that_is_coming_comes_to_its_end(env: Env) {
    const ITEMS: usize = 40;
    // Without optimisation, on a busy machine, it takes kvd long.
    let kvd = env.kvd().arg("--request-timeout", "50s").start().await;
    let value = "x".repeat(262_144);
    for n in 0..ITEMS {
        let _created = kvd.create(&format!("k-{n}"), &value).await;
    }
    let mut wire = kvd.wire().await;
    wire.send("GET /items/?page_size=100 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    // More than this the kernel does not take in, so kvd has not sent all when the input ends.
    wire.arrived(64 * 1024).await;
    wire.shutdown().await;
    let page = wire.answer().await.expect(200);
    assert!(page.body.len() > ITEMS * value.len(), "{}", page.body.len());
    assert!(wire.rest().await.is_empty());
}

async fn the_admin_address_answers_it_too(env: Env) {
    let start = env.kvd().arg("--admin-listen", "127.0.0.1:0");
    let kvd = start.start().await;
    for path in ["/livez", "/readyz", "/metrics"] {
        let wire = Wire::connect(kvd.admin().address()).await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let _answered = said_all(wire, request).await.expect(200);
    }
}

/// There is no answer, or one that the request is not valid, long before a client with more to send would be
/// given up.
async fn what_is_not_complete_ends_at_once(env: Env) {
    let kvd = env.kvd().arg("--request-timeout", "50s").start().await;
    let body = write("PUT /items/a?upsert=true", "{\"value\":\"a\"}");
    let chunked = body.replace("Content-Length: 13", "Transfer-Encoding: chunked");
    let mut asked = JoinSet::new();
    for part in [
        "",
        "GET /items/ HTT",
        "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /items/ HTT",
        &body[..body.len() - 4],
        &chunked.replace("{\"value\":\"a\"}", "d\r\n{\"value\":"),
        &body.replace(
            "\r\n\r\n{\"value\":\"a\"}",
            "\r\nExpect: 100-continue\r\n\r\n",
        ),
    ] {
        let (mut wire, part) = (kvd.wire().await, part.to_owned());
        asked.spawn(async move {
            let watch = Stopwatch::start();
            wire.send(&part).await.shutdown().await;
            let said = String::from_utf8_lossy(&wire.rest().await).into_owned();
            assert!(watch.elapsed() < Duration::from_secs(8), "late: {part}");
            let last = said.rsplit("HTTP/1.1 ").next().unwrap_or_default();
            let refused = last.starts_with("400 ") && last.contains("connection: close");
            assert!(refused || !last.contains("\"code\""), "{part}: {said}");
        });
    }
    asked.join_all().await;
    kvd.get("/items/a").await.problem(404, "item-not-found");
}

/// A write that has been sent whole, of a key that a transaction has locked.
async fn waiting(kvd: &Kvd) -> Wire {
    let before = kvd.metric(IN_FLIGHT).await;
    let mut wire = kvd.wire().await;
    wire.send(write("PUT /items/locked", "{\"value\":\"b\"}"))
        .await;
    until("the request is under way", async || {
        kvd.metric(IN_FLIGHT).await > before
    })
    .await;
    wire
}

/// A kvd with this many sessions and this time for a request, and a transaction that has a key locked.
async fn locked(env: &Env, sessions: &str, time: &str) -> (Kvd, DatabaseTransaction) {
    let start = env.kvd().arg("--database-max-connections", sessions);
    let kvd = start.arg("--request-timeout", time).start().await;
    let _created = kvd.create("locked", "a").await;
    let begun = env.database().connection().await.begin().await;
    let lock = begun.expect("a transaction");
    let select = "SELECT id FROM items WHERE key = 'locked' FOR UPDATE";
    lock.execute_unprepared(select).await.expect("locked");
    (kvd, lock)
}

async fn a_request_that_waits_is_answered_after_the_end_of_input(env: Env) {
    let (kvd, lock) = locked(&env, "16", "50s").await;
    let mut wire = waiting(&kvd).await;
    wire.shutdown().await;
    // Too short a time would only make the test easier.
    sleep(Duration::from_millis(500)).await;
    lock.commit().await.expect("the lock goes");
    assert_eq!(wire.answer().await.expect(200).member("value"), "b");
    assert!(wire.rest().await.is_empty());
}

/// Of half-closed requests 64 are worked on with these, 16 of one client.
const SESSIONS: &str = "4";
const CROWD: usize = 80;

/// A crowd of writes of a locked key whose clients have closed their sending side before kvd has seen them.
async fn half_closed_crowd(kvd: &Kvd) -> Vec<Wire> {
    kvd.signal(Signal::SIGSTOP);
    let stat = format!("/proc/{}/stat", kvd.pid());
    until("it has stopped", async || {
        std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T "))
    })
    .await;
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let mut wire = kvd.wire().await;
        let request = write("PUT /items/locked", "{\"value\":\"b\"}");
        wire.send(request).await.shutdown().await;
        crowd.push(wire);
    }
    kvd.signal(Signal::SIGCONT);
    crowd
}

async fn those_of_one_client_keep_no_other_waiting(env: Env) {
    let (kvd, lock) = locked(&env, SESSIONS, "50s").await;
    let _free = kvd.create("free", "a").await;
    let crowd = half_closed_crowd(&kvd).await;
    until("they are under way", async || {
        kvd.metric(IN_FLIGHT).await > CROWD as f64
    })
    .await;
    for request in [
        "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET /items/free HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        write("PUT /items/free", "{\"value\":\"b\"}"),
    ] {
        let wire = kvd.wire_at("127.0.0.2").await;
        let _served = said_all(wire, request).await.expect(200);
    }
    assert!(
        kvd.metric(IN_FLIGHT).await > CROWD as f64,
        "the crowd waits"
    );
    lock.commit().await.expect("the lock goes");
    for mut wire in crowd {
        let _answered = wire.answer().await.expect(200);
    }
}

async fn those_without_a_turn_in_their_time_are_503(env: Env) {
    let time = setting(stretched(Duration::from_secs(3)));
    let (kvd, lock) = locked(&env, SESSIONS, &time).await;
    let mut told = Vec::new();
    for mut wire in half_closed_crowd(&kvd).await {
        told.push(wire.answer().await);
    }
    lock.rollback().await.expect("the lock goes");
    let of_turns = |answer: &&Answer| answer.text().contains("sending side");
    let (without_turn, others): (Vec<_>, Vec<_>) = told.iter().partition(of_turns);
    assert!(!without_turn.is_empty(), "all had their turn");
    for answer in without_turn {
        answer.problem(503, "overloaded");
    }
    for answer in others {
        assert!([503, 504].contains(&answer.status), "{answer:?}");
    }
}

async fn of_too_many_that_end_while_they_wait_the_oldest_is_given_up(env: Env) {
    const MOST: usize = 16;
    let (kvd, lock) = locked(&env, "1", "50s").await;
    let mut wires = Vec::new();
    for _ in 0..=MOST {
        let mut wire = waiting(&kvd).await;
        wire.shutdown().await;
        wires.push(wire);
    }
    let mut oldest = wires.remove(0);
    oldest.answer().await.problem(504, "outcome-unknown");
    assert!(oldest.rest().await.is_empty());
    lock.commit().await.expect("the lock goes");
    for mut wire in wires {
        let _answered = wire.answer().await.expect(200);
    }
}

async fn those_that_are_gone_do_not_count(env: Env) {
    const MOST: usize = 16;
    let (kvd, lock) = locked(&env, "1", "50s").await;
    for _ in 0..=MOST {
        waiting(&kvd).await.reset();
        until("it is given up", async || {
            kvd.metric(IN_FLIGHT).await <= 1.0
        })
        .await;
    }
    let mut wires = Vec::new();
    for _ in 0..MOST {
        let mut wire = waiting(&kvd).await;
        wire.shutdown().await;
        wires.push(wire);
    }
    // Too short a time would only make the test easier.
    sleep(Duration::from_millis(500)).await;
    lock.commit().await.expect("the lock goes");
    for mut wire in wires {
        let _answered = wire.answer().await.expect(200);
    }
}

async fn a_request_is_given_up_when_its_client_resets_the_connection(env: Env) {
    let (kvd, lock) = locked(&env, "16", "50s").await;
    let wire = waiting(&kvd).await;
    let watch = Stopwatch::start();
    wire.reset();
    until("it is given up", async || {
        kvd.metric(IN_FLIGHT).await <= 1.0
    })
    .await;
    // Far below the time that kvd waits for a lock.
    let taken = watch.elapsed();
    assert!(taken < stretched(Duration::from_secs(10)), "{taken:?}");
    lock.rollback().await.expect("the lock goes");
}
