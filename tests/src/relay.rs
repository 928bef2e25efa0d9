//! A relay between kvd and its database server, which tells what passes.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use reqwest::Url;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::database::Database;

/// Listens on a port of its own and passes everything on to the server of a database, until it is dropped.
pub struct Relay {
    url: Url,
    sent: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Relay {
    /// # Panics
    ///
    /// If the database is a file, or its server has no address.
    pub async fn to(database: &Database) -> Self {
        let mut url = Url::parse(&database.url()).expect("the database has a URL");
        let host = url.host_str().expect("the database has a server");
        let port = url.port().expect("the tests name the server's port");
        let server = tokio::net::lookup_host((host, port)).await;
        let server = server.ok().and_then(|mut found| found.next());
        let server = server.expect("the server has an address");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a loopback port");
        let port = listener.local_addr().expect("a bound port").port();
        url.set_port(Some(port)).expect("a URL with a host");
        url.set_host(Some("127.0.0.1")).expect("a URL with a host");
        let sent = Arc::new(AtomicU64::new(0));
        let accepting = tokio::spawn(accept(listener, server, Arc::clone(&sent)));
        Self {
            url,
            sent,
            accepting,
        }
    }

    /// The database's URL by way of this relay.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.to_string()
    }

    /// Bytes sent to the server so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, sent: Arc<AtomicU64>) {
    while let Ok((client, _)) = listener.accept().await {
        let sent = Arc::clone(&sent);
        // It ends when either side does, and what that means is the business of the two.
        tokio::spawn(async move {
            if let Ok(server) = TcpStream::connect(server).await {
                pass(client, server, &sent).await;
            }
        });
    }
}

async fn pass(client: TcpStream, server: TcpStream, sent: &AtomicU64) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(n @ 1..) = from_client.read(&mut buffer).await {
            sent.fetch_add(n as u64, Ordering::SeqCst);
            if to_server.write_all(&buffer[..n]).await.is_err() {
                break;
            }
        }
    };
    let answers = tokio::io::copy(&mut from_server, &mut to_client);
    tokio::select! {
        () = requests => {}
        _ = answers => {}
    }
}
