//! A client that reads its answer slowly is busy, not idle.

use std::time::{Duration, Instant};

use tests::{Env, pace::PATIENCE};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::sleep,
};

tests::list! {
    Once =>
        an_answer_that_is_read_slowly_is_not_cut_off,
        an_answer_that_is_not_taken_in_its_time_is_cut_off
}

/// Longer than a request head may take, which half of one has been waiting for.
const READING: Duration = Duration::from_secs(13);
/// More than the kernel takes in for a client that does not read.
const ITEMS: usize = 60;

/// A connection whose kernel holds little of what it has not read.
pub(super) async fn connect(kvd: &tests::Kvd) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(32 * 1024).expect("a size");
    socket.connect(kvd.address()).await.expect("a connection")
}

/// 8 MB, for which a client has a minute.
const FEW_ITEMS: usize = 30;
const TIME: Duration = Duration::from_secs(60);

/// To take a little now and then buys no time.
async fn an_answer_that_is_not_taken_in_its_time_is_cut_off(env: Env) {
    let kvd = env.kvd().arg("--request-timeout", "300s").start().await;
    let value = "x".repeat(262_144);
    for n in 0..FEW_ITEMS {
        let _created = kvd.create(&format!("big-{n}"), &value).await;
    }
    let mut stream = connect(&kvd).await;
    let list = "GET /items/?page_size=100 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let begun = Instant::now();
    stream.write_all(list.as_bytes()).await.expect("sent");
    let mut part = [0; 4096];
    let read = stream.read(&mut part).await.expect("the answer begins");
    assert!(part[..read].starts_with(b"HTTP/1.1 200 "), "a page");
    let answered = Instant::now();
    while kvd.metric("kvd_http_connections").await > 1.0 {
        // Nothing, if it has just been cut off.
        let _some = stream.read(&mut part).await;
        sleep(Duration::from_millis(500)).await;
        let late = answered.elapsed() > TIME + PATIENCE;
        assert!(!late, "it is not cut off");
    }
    assert!(begun.elapsed() >= TIME, "cut after {:?}", begun.elapsed());
}

async fn an_answer_that_is_read_slowly_is_not_cut_off(env: Env) {
    // Without optimisation, on a busy machine, it takes kvd long to make the list.
    let kvd = env.kvd().arg("--request-timeout", "50s").start().await;
    let value = "x".repeat(262_144);
    for n in 0..ITEMS {
        let _created = kvd.create(&format!("big-{n}"), &value).await;
    }
    let mut stream = connect(&kvd).await;
    let list = "GET /items/?page_size=100 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let half = "GET /livez HTTP/1.1\r\nHost: localhost\r\n";
    stream.write_all(list.as_bytes()).await.expect("sent");
    let mut answer = vec![0; 64 * 1024];
    // The answer is on its way, so what is sent now is the beginning of the next head.
    let mut read = stream.read(&mut answer[..]).await.expect("more");
    stream.write_all(half.as_bytes()).await.expect("sent");

    let begun = Instant::now();
    while begun.elapsed() < READING {
        read += stream.read(&mut answer[..]).await.expect("more");
        sleep(Duration::from_millis(100)).await;
    }
    assert!(read < ITEMS * value.len(), "all was read before the time");
    let rest = "Connection: close\r\n\r\n";
    stream.write_all(rest.as_bytes()).await.expect("sent");
    let mut last = Vec::new();
    read += stream.read_to_end(&mut last).await.expect("the end");
    assert!(read > ITEMS * value.len(), "cut off after {read} bytes");
    assert!(last.ends_with(b"{\"status\":\"ok\"}"), "the second answer");
}
