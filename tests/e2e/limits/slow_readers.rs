//! A client that reads its answer slowly is busy, not idle.

use std::time::{Duration, Instant};

use tests::{Client, Env, Wire, certified::Certified, pace::PATIENCE};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::sleep,
};

tests::list! {
    Once =>
        an_answer_that_is_read_slowly_is_not_cut_off,
        an_answer_that_is_not_taken_in_its_time_is_cut_off,
        over_tls_an_answer_that_is_read_slowly_is_not_cut_off,
        over_tls_an_answer_that_is_not_taken_in_its_time_is_cut_off
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
    let filling = env.start().await;
    fill(&filling, FEW_ITEMS).await;
    let kvd = env.kvd().arg("--request-timeout", "300s").start().await;
    take_too_little(kvd.wire().await, connect(&kvd).await).await;
}

async fn over_tls_an_answer_that_is_not_taken_in_its_time_is_cut_off(env: Env) {
    let certified = Certified::new(&env);
    let filling = env.start().await;
    fill(&filling, FEW_ITEMS).await;
    let start = certified.kvd(&env).arg("--admin-listen", "127.0.0.1:0");
    let kvd = start.arg("--request-timeout", "300s").start().await;
    let stream = certified.client().connect_small(kvd.address()).await;
    let watching = Wire::connect(kvd.admin().address()).await;
    take_too_little(watching, stream.expect("a handshake")).await;
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), text: &str) {
    stream.write_all(text.as_bytes()).await.expect("sent");
    stream.flush().await.expect("sent");
}

/// Large items.
async fn fill(kvd: &Client, count: usize) {
    let value = "x".repeat(262_144);
    for n in 0..count {
        let _created = kvd.create(&format!("big-{n}"), &value).await;
    }
}

/// There is no other connection than these two.
async fn take_too_little(mut watching: Wire, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let list = "GET /items/?page_size=100 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let begun = Instant::now();
    send(&mut stream, list).await;
    let mut part = [0; 4096];
    let read = stream.read(&mut part).await.expect("the answer begins");
    assert!(part[..read].starts_with(b"HTTP/1.1 200 "), "a page");
    let answered = Instant::now();
    while connections(&mut watching).await > 1 {
        // Nothing, if it has just been cut off.
        let _some = stream.read(&mut part).await;
        sleep(Duration::from_millis(500)).await;
        let late = answered.elapsed() > TIME + PATIENCE;
        assert!(!late, "it is not cut off");
    }
    assert!(begun.elapsed() >= TIME, "cut after {:?}", begun.elapsed());
}

/// How many there are, this one included.
async fn connections(watching: &mut Wire) -> u32 {
    let metrics = watching.ask("GET", "/metrics", "").await.expect(200);
    let value = |line: &str| line.strip_prefix("kvd_http_connections ")?.parse().ok();
    let found = metrics.text().lines().find_map(value);
    found.expect("the gauge")
}

async fn an_answer_that_is_read_slowly_is_not_cut_off(env: Env) {
    // Without optimisation, on a busy machine, it takes kvd long to make the list.
    let kvd = env.kvd().arg("--request-timeout", "50s").start().await;
    fill(&kvd, ITEMS).await;
    read_slowly(connect(&kvd).await).await;
}

async fn over_tls_an_answer_that_is_read_slowly_is_not_cut_off(env: Env) {
    let certified = Certified::new(&env);
    let filling = env.start().await;
    fill(&filling, ITEMS).await;
    let kvd = certified.kvd(&env).arg("--request-timeout", "50s");
    let kvd = kvd.start().await;
    let stream = certified.client().connect_small(kvd.address()).await;
    read_slowly(stream.expect("a handshake")).await;
}

async fn read_slowly(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let list = "GET /items/?page_size=100 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let half = "GET /livez HTTP/1.1\r\nHost: localhost\r\n";
    send(&mut stream, list).await;
    let mut answer = vec![0; 64 * 1024];
    // The answer is on its way, so what is sent now is the beginning of the next head.
    let mut read = stream.read(&mut answer[..]).await.expect("more");
    send(&mut stream, half).await;

    let begun = Instant::now();
    while begun.elapsed() < READING {
        read += stream.read(&mut answer[..]).await.expect("more");
        sleep(Duration::from_millis(100)).await;
    }
    assert!(read < ITEMS * 262_144, "all was read before the time");
    let rest = "Connection: close\r\n\r\n";
    send(&mut stream, rest).await;
    let mut last = Vec::new();
    read += stream.read_to_end(&mut last).await.expect("the end");
    assert!(read > ITEMS * 262_144, "cut off after {read} bytes");
    assert!(last.ends_with(b"{\"status\":\"ok\"}"), "the second answer");
}
