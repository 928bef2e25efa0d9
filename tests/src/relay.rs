//! A relay between kvd and its database server, or between a proxy and kvd, which tells what passes, and can lose or
//! refuse it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Url;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::sleep,
};

use crate::database::Database;

/// Listens on a port of its own and passes everything on to a server, until it is dropped.
pub struct Relay {
    address: SocketAddr,
    /// The database's, if the server has one.
    url: Option<Url>,
    line: Arc<Line>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Line {
    /// What is counted of all that is sent to the server; and how often it was sent so far.
    watched: Mutex<Option<&'static str>>,
    counted: AtomicU64,
    /// Answers to what contains this are lost.
    lost: Mutex<Option<&'static str>>,
    /// How often all connections were cut.
    cuts: watch::Sender<u64>,
    /// Answers that were lost.
    losses: watch::Sender<u64>,
    refused: Mutex<Option<Refused>>,
    /// Whether nothing passes; and how often that was so before.
    hole: watch::Sender<(bool, u64)>,
}

/// What is not passed on, on connections that are older than this.
struct Refused {
    text: &'static str,
    answer: Vec<u8>,
    since: Instant,
}

impl Relay {
    /// To the server of a database.
    ///
    /// # Panics
    ///
    /// If the database is a file, or its server has no address.
    pub async fn to(database: &Database) -> Self {
        let relay = Self::on(Ipv4Addr::LOCALHOST.into(), database).await;
        relay.expect("a loopback port")
    }

    /// The same on this address of the machine, if it has it.
    ///
    /// # Panics
    ///
    /// As [`Self::to`].
    pub async fn on(address: IpAddr, database: &Database) -> io::Result<Self> {
        let mut url = Url::parse(&database.url()).expect("the database has a URL");
        let host = url.host_str().expect("the database has a server");
        let port = url.port().expect("the tests name the server's port");
        let server = tokio::net::lookup_host((host, port)).await;
        let server = server.ok().and_then(|mut found| found.next());
        let mut relay = Self::between(address, server.expect("the server has an address")).await?;
        let port = relay.address.port();
        url.set_port(Some(port)).expect("a URL with a host");
        url.set_ip_host(address).expect("a URL with a host");
        relay.url = Some(url);
        Ok(relay)
    }

    /// # Panics
    ///
    /// If there is no port left.
    pub async fn before(server: SocketAddr) -> Self {
        let relay = Self::between(Ipv4Addr::LOCALHOST.into(), server).await;
        relay.expect("a loopback port")
    }

    async fn between(address: IpAddr, server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((address, 0)).await?;
        let address = listener.local_addr()?;
        let line = Arc::new(Line::default());
        let accepting = tokio::spawn(accept(listener, server, Arc::clone(&line)));
        Ok(Self {
            address,
            url: None,
            line,
            accepting,
        })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The database's URL by way of this relay.
    ///
    /// # Panics
    ///
    /// If the server is none of a database.
    #[must_use]
    pub fn url(&self) -> String {
        let url = self.url.as_ref();
        url.expect("a relay to a database").to_string()
    }

    /// Counts from now on how often something with this text is sent to the server.
    pub fn count(&self, text: &'static str) {
        let watched = self.line.watched.lock();
        *watched.unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    /// How often it was sent so far.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.line.counted.load(Ordering::SeqCst)
    }

    /// On the connections there are now, what contains this text gets this answer, and the server never sees it.
    pub fn refuse(&self, text: &'static str, answer: Vec<u8>) {
        let since = Instant::now();
        let refused = Refused {
            text,
            answer,
            since,
        };
        let mut place = self
            .line
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *place = Some(refused);
    }

    /// Ends all connections.
    pub fn cut(&self) {
        self.line.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// From now on nothing passes, on no connection, as if the network were gone: neither side is told.
    pub fn swallow(&self) {
        self.line.hole.send_modify(|(open, _)| *open = true);
    }

    /// New connections work again. Those that were open never will, and neither side is told that either.
    pub fn pass_again(&self) {
        self.line.hole.send_modify(|(open, times)| {
            *open = false;
            *times += 1;
        });
    }

    /// Passes on what is asked, but of what contains this text (all, if it is empty) loses the answers, and in the end
    /// the connections: the work has been done, and its client was not told.
    pub async fn lose_answers(&self, to: &'static str, time: Duration) {
        self.line.lose(Some(to));
        sleep(time).await;
        self.cut();
        self.line.lose(None);
    }

    /// The same until one answer has been lost, however long that takes.
    pub async fn lose_an_answer(&self, to: &'static str) {
        let mut losses = self.line.losses.subscribe();
        losses.mark_unchanged();
        self.line.lose(Some(to));
        // The sender lives as long as this relay.
        let _lost = losses.changed().await;
        self.cut();
        self.line.lose(None);
    }
}

impl Line {
    fn lose(&self, answers_to: Option<&'static str>) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = answers_to;
    }

    fn watch(&self, request: &[u8]) {
        let watched = *self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.is_some_and(|text| contains(request, text)) {
            self.counted.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn loses_answer_to(&self, request: &[u8]) -> bool {
        let lost = *self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.is_some_and(|text| contains(request, text))
    }

    fn refusal(&self, opened: Instant, request: &[u8]) -> Option<Vec<u8>> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = refused.as_ref()?;
        let refuses = opened < refused.since && contains(request, refused.text);
        refuses.then(|| refused.answer.clone())
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    text.is_empty()
        || bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, line: Arc<Line>) {
    while let Ok((client, _)) = listener.accept().await {
        let line = Arc::clone(&line);
        // It ends when either side does, and what that means is the business of the two.
        tokio::spawn(async move {
            let (mut cuts, mut hole) = (line.cuts.subscribe(), line.hole.subscribe());
            let (swallows, before) = *hole.borrow_and_update();
            let mut client = client;
            if swallows {
                forget(client).await;
            } else if let Ok(mut server) = TcpStream::connect(server).await {
                tokio::select! {
                    biased;
                    _ = cuts.changed() => {}
                    () = swallowed(&mut hole, before) => {
                        // The server does not hear that its client has gone, as long as it has not.
                        forget(client).await;
                    }
                    () = pass(&mut client, &mut server, &line) => {}
                }
            }
        });
    }
}

/// Until nothing passes, or that was so since.
async fn swallowed(hole: &mut watch::Receiver<(bool, u64)>, before: u64) {
    // The sender lives as long as the line.
    let _swallowed = hole
        .wait_for(|(open, times)| *open || *times > before)
        .await;
}

/// Takes whatever the client sends until it gives up, and never says a word.
async fn forget(mut client: TcpStream) {
    let _all_lost = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
}

async fn pass(client: &mut TcpStream, server: &mut TcpStream, line: &Line) {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let lost = AtomicBool::new(false);
    let opened = Instant::now();
    let (refuse, mut refusals) = mpsc::unbounded_channel();
    let requests = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(n @ 1..) = from_client.read(&mut buffer).await {
            line.watch(&buffer[..n]);
            lost.fetch_or(line.loses_answer_to(&buffer[..n]), Ordering::SeqCst);
            if let Some(refusal) = line.refusal(opened, &buffer[..n]) {
                // The other half takes it for as long as this one runs.
                let _ = refuse.send(refusal);
            } else if to_server.write_all(&buffer[..n]).await.is_err() {
                break;
            }
        }
    };
    let answers = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let answer = tokio::select! {
                Ok(n @ 1..) = from_server.read(&mut buffer) => &buffer[..n],
                Some(refusal) = refusals.recv() => &refusal.clone(),
                else => break,
            };
            if lost.load(Ordering::SeqCst) || line.loses_answer_to(&[]) {
                line.losses.send_modify(|losses| *losses += 1);
            } else if to_client.write_all(answer).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = requests => {}
        () = answers => {}
    }
}
