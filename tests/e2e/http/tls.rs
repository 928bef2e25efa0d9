//! TLS on the public address, and what a connection is with it.

use std::time::Duration;

use tests::{
    Answer, Env, Wire,
    certified::Certified,
    load::{together, until},
    pace::{PATIENCE, Stopwatch, timeout},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

tests::list! {
    EveryEngine => items_are_served_over_tls_1_2_and_1_3;
    Once =>
        http_1_1_is_what_is_spoken_inside,
        plain_http_is_told_to_use_tls_and_the_admin_address_stays_plain,
        a_handshake_that_never_ends_is_cut_and_keeps_no_other_waiting,
        handshakes_that_do_not_end_make_room,
        a_client_that_has_said_all_is_answered,
        a_client_that_has_said_all_gets_all_of_the_last_answer,
        an_idle_connection_is_ended_by_a_word_of_tls,
        a_connection_that_only_opens_and_closes_is_not_logged,
        an_answer_before_the_body_was_read_reaches_the_client,
        a_client_that_is_gone_takes_no_session_with_it
}

fn put(value: &str) -> String {
    let body = format!("{{\"value\":\"{value}\"}}");
    format!(
        "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn items_are_served_over_tls_1_2_and_1_3(env: Env) {
    let certified = Certified::new(&env);
    let kvd = certified.kvd(&env).start().await;
    let printed = kvd.printed("listening on").await;
    assert!(printed.contains("listening on https://"), "{printed}");
    for client in [certified.client(), certified.client().old()] {
        let mut wire = client.wire(kvd.address()).await.expect("a handshake");
        for n in 0..3 {
            let value = n.to_string().repeat(20_000);
            let head = "PUT /items/a?upsert=true HTTP/1.1\r\nHost: localhost\r\n";
            wire.send(format!("{head}{}", put(&value))).await;
            let stored = wire.answer().await;
            assert!(matches!(stored.status, 200 | 201), "{stored:?}");
            let read = wire.ask("GET", "/items/a", "").await.expect(200);
            assert_eq!(read.member("value"), value);
        }
        let _head = wire.ask("HEAD", "/items/a", "").await.expect(200);
        let ended = wire
            .ask("GET", "/livez", "Connection: close\r\n")
            .await
            .expect(200);
        assert_eq!(ended.header("connection"), Some("close"));
        assert!(wire.rest().await.is_empty());
    }
}

async fn http_1_1_is_what_is_spoken_inside(env: Env) {
    let certified = Certified::new(&env);
    let kvd = certified.kvd(&env).start().await;
    let mut client = certified.client();
    client.protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = client.connect(kvd.address()).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    client.protocols = vec![b"h2".to_vec()];
    let refused = client.connect(kvd.address()).await.expect_err("no h2");
    assert!(
        refused.to_string().contains("ApplicationProtocol"),
        "{refused}"
    );
}

async fn plain_http_is_told_to_use_tls_and_the_admin_address_stays_plain(env: Env) {
    let certified = Certified::new(&env);
    let start = certified.kvd(&env).arg("--admin-listen", "127.0.0.1:0");
    let kvd = start.env("RATE_LIMIT", "1").start().await;
    for _ in 0..3 {
        for path in ["/items/", "/livez", "/nothing"] {
            let refused = kvd.wire().await.ask("GET", path, "").await;
            assert_refused_as_plain(&refused);
        }
    }
    let mut wire = kvd.wire().await;
    // Its body is not read, and the answer comes nevertheless.
    let body = "x".repeat(300_000);
    let head = format!(
        "POST /items/ HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    wire.send(head + body.as_str()).await;
    assert_refused_as_plain(&wire.answer().await);
    assert!(wire.rest().await.is_empty());
    let _admin = kvd.admin().get("/livez").await.expect(200);
    let _served = certified
        .wire(&kvd)
        .await
        .ask("GET", "/items/", "")
        .await
        .expect(200);
}

#[track_caller]
fn assert_refused_as_plain(answer: &Answer) {
    let problem = answer.problem(400, "invalid-request");
    assert!(
        problem["detail"]
            .as_str()
            .expect("a text")
            .contains("https://")
    );
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(answer.header("ratelimit"), None, "it is not counted");
}

/// How a client may begin and never go on.
fn beginnings() -> [Vec<u8>; 3] {
    // The header of a record, of which the rest does not come.
    [Vec::new(), vec![22], vec![22, 3, 1, 2, 0, 1, 0]]
}

async fn a_handshake_that_never_ends_is_cut_and_keeps_no_other_waiting(env: Env) {
    let certified = Certified::new(&env);
    let kvd = certified.kvd(&env).start().await;
    let watch = Stopwatch::start();
    let mut stuck = Vec::new();
    for begin in beginnings() {
        let mut wire = kvd.wire().await;
        wire.send(begin).await;
        stuck.push(wire);
    }
    // The handshake counts into the time of the head.
    let mut secured = certified.wire(&kvd).await;
    secured.send("GET /items/ HTTP/1.1\r\nHost:").await;
    stuck.push(secured);
    for _ in 0..10 {
        let mut wire = certified.wire(&kvd).await;
        let _served = wire.ask("GET", "/items/", "").await.expect(200);
    }
    let others = watch.elapsed();
    assert!(others < Duration::from_secs(9), "others waited: {others:?}");
    for mut wire in stuck {
        let _nothing = wire.rest().await;
        let (wall, taken) = (watch.wall(), watch.elapsed());
        assert!(
            wall >= Duration::from_secs(9) && taken < Duration::from_secs(25),
            "{wall:?}"
        );
    }
    // What is no TLS at all ends at once.
    let mut garbage = kvd.wire().await;
    garbage.send([0x80, 0, 0, 0, 0, 0, 0, 0]).await;
    let _alert = garbage.rest().await;
    let mut silent = kvd.wire().await;
    silent.shutdown().await;
    assert!(silent.rest().await.is_empty());
}

async fn handshakes_that_do_not_end_make_room(env: Env) {
    let certified = Certified::new(&env);
    let start = certified.kvd(&env).arg("--max-connections", "20");
    let kvd = start.start().await;
    let mut stuck = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(kvd.address())
            .await
            .expect("a connection");
        stream.write_all(&[22, 3, 1]).await.expect("sent");
        stuck.push(stream);
    }
    let watch = Stopwatch::start();
    let mut wire = certified.wire(&kvd).await;
    let _served = wire.ask("GET", "/items/", "").await.expect(200);
    let waited = watch.elapsed();
    assert!(waited < Duration::from_secs(5), "it waited {waited:?}");
}

async fn a_client_that_has_said_all_is_answered(env: Env) {
    let certified = Certified::new(&env);
    let kvd = certified.kvd(&env).start().await;
    let ask = |n: usize| {
        let key = format!("{n}");
        format!(
            "PUT /items/{key}?upsert=true HTTP/1.1\r\nHost: localhost\r\n{}",
            put("x")
        )
    };
    for n in 0..10 {
        // With the word of TLS that nothing follows …
        let mut wire = certified.wire(&kvd).await;
        wire.send(ask(n)).await.shutdown().await;
        let _created = wire.answer().await.expect(201);
        assert!(wire.rest().await.is_empty());
        // … and without it, as many clients end.
        let mut stream = certified
            .client()
            .connect(kvd.address())
            .await
            .expect("a handshake");
        stream
            .write_all(ask(n + 10).as_bytes())
            .await
            .expect("sent");
        stream.flush().await.expect("sent");
        let (tcp, _) = stream.get_mut();
        tcp.shutdown().await.expect("ended");
        let _created = Wire::over_tls(stream).answer().await.expect(201);
    }
}

/// What says so in TLS are bytes that kvd does not read while it answers.
async fn a_client_that_has_said_all_gets_all_of_the_last_answer(env: Env) {
    const ITEMS: usize = 20;
    let certified = Certified::new(&env);
    let filling = env.start().await;
    for n in 0..ITEMS {
        let _created = filling.create(&format!("{n}"), &"x".repeat(262_144)).await;
    }
    let kvd = certified
        .kvd(&env)
        .arg("--request-timeout", "50s")
        .start()
        .await;
    let ask = "GET /items/?page_size=100 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for client in [certified.client(), certified.client().old()] {
        let mut stream = client
            .connect_small(kvd.address())
            .await
            .expect("a handshake");
        stream.write_all(ask.as_bytes()).await.expect("sent");
        stream.shutdown().await.expect("sent");
        let mut read = 0;
        let mut part = vec![0; 64 * 1024];
        loop {
            match stream.read(&mut part).await.expect("all of it") {
                0 => break,
                some => read += some,
            }
            sleep(Duration::from_millis(1)).await;
        }
        assert!(read > ITEMS * 262_144, "{read}");
    }
}

async fn an_idle_connection_is_ended_by_a_word_of_tls(env: Env) {
    let certified = Certified::new(&env);
    let kvd = certified
        .kvd(&env)
        .arg("--max-connections", "1")
        .start()
        .await;
    for client in [certified.client(), certified.client().old()] {
        let mut idle = client.connect(kvd.address()).await.expect("a handshake");
        idle.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .expect("sent");
        let mut answer = vec![0; 4096];
        let _answered = idle.read(&mut answer).await.expect("an answer");
        let _other = TcpStream::connect(kvd.address())
            .await
            .expect("a connection");
        // Without that word it is an error.
        let end = timeout(PATIENCE, idle.read(&mut answer))
            .await
            .expect("in time");
        assert_eq!(end.expect("a clean end"), 0);
    }
}

async fn a_connection_that_only_opens_and_closes_is_not_logged(env: Env) {
    let certified = Certified::new(&env);
    let kvd = certified.kvd(&env).start().await;
    for _ in 0..5 {
        let mut wire = kvd.wire().await;
        wire.shutdown().await;
        assert!(wire.rest().await.is_empty());
    }
    let mut garbage = kvd.wire().await;
    garbage.send([0x80, 0, 0, 0, 0, 0, 0, 0]).await;
    let _alert = garbage.rest().await;
    kvd.logged("no TLS with a client").await;
    assert_eq!(kvd.log().matches("no TLS with a client").count(), 1);
}

async fn an_answer_before_the_body_was_read_reaches_the_client(env: Env) {
    let certified = Certified::new(&env);
    let kvd = certified.kvd(&env).start().await;
    let body = "x".repeat(1_500_000);
    for client in [certified.client(), certified.client().old()] {
        for (line, status) in [("PATCH /items/a", 405), ("POST /nothing", 404)] {
            let head = |length: usize| {
                format!("{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")
            };
            let mut wire = client.wire(kvd.address()).await.expect("a handshake");
            wire.send(head(body.len()) + body.as_str()).await;
            let _refused = wire.answer().await.expect(status);
            let _served = wire.ask("GET", "/livez", "").await.expect(200);
            // Of this one the rest never comes.
            wire.send(head(2 * body.len()) + body.as_str()).await;
            let refused = wire.answer().await.expect(status);
            assert_eq!(refused.header("connection"), Some("close"));
            assert!(wire.rest().await.is_empty());
        }
    }
}

async fn a_client_that_is_gone_takes_no_session_with_it(env: Env) {
    let certified = Certified::new(&env);
    let start = certified.kvd(&env).arg("--admin-listen", "127.0.0.1:0");
    let kvd = start.arg("--database-max-connections", "2").start().await;
    let (client, address) = (certified.client(), kvd.address());
    together(40, |n| {
        let client = client.clone();
        async move {
            let mut wire = client.wire(address).await.expect("a handshake");
            let head = format!("PUT /items/{n}?upsert=true HTTP/1.1\r\nHost: localhost\r\n");
            wire.send(head + put("x").as_str()).await;
            wire.reset();
        }
    })
    .await;
    until("all are closed", async || {
        kvd.admin().metric("kvd_http_connections").await <= 1.0
    })
    .await;
    let mut wire = certified.wire(&kvd).await;
    let _served = wire.ask("GET", "/items/", "").await.expect(200);
}
