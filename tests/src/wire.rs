//! HTTP/1.1 by hand: for requests no client would send, and answers to the byte.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::client::TlsStream;

use crate::{
    answer::Answer,
    pace::{PATIENCE, timeout},
};

/// A connection's bytes, with or without TLS.
trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send + Sync {
    fn tcp(&self) -> &TcpStream;
}

impl ByteStream for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl ByteStream for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// One connection.
pub struct Wire {
    stream: Box<dyn ByteStream>,
    /// Read and not yet part of an answer.
    buffer: Vec<u8>,
    asked: String,
}

impl Wire {
    /// # Panics
    ///
    /// If the connection is refused.
    pub async fn connect(address: SocketAddr) -> Self {
        let connected = Self::attempt(address).await;
        connected.expect("kvd accepts a connection")
    }

    /// # Errors
    ///
    /// If the connection is refused.
    pub async fn attempt(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(address).await?)
    }

    /// A connection from this address of the machine.
    ///
    /// # Panics
    ///
    /// If it is refused, or the machine has no such address.
    pub async fn connect_from(local: IpAddr, address: SocketAddr) -> Self {
        let connected = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(local, 0))?;
            Self::over(socket.connect(address).await?)
        };
        connected.await.expect("kvd accepts a connection")
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self::new(stream))
    }

    /// A connection with TLS, once its handshake is done.
    #[must_use]
    pub fn over_tls(stream: TlsStream<TcpStream>) -> Self {
        Self::new(stream)
    }

    fn new(stream: impl ByteStream + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            buffer: Vec::new(),
            asked: String::new(),
        }
    }

    /// Sends bytes as they are: a request, several, or a part of one.
    ///
    /// # Panics
    ///
    /// If the connection is closed; see [`Self::try_send`].
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.try_send(bytes).await.expect("kvd still reads");
        self
    }

    /// Sends bytes to a kvd that may have closed already.
    ///
    /// # Errors
    ///
    /// If it has.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let bytes = bytes.as_ref();
        if self.asked.is_empty() {
            let line = bytes
                .split(|byte| *byte == b'\r')
                .next()
                .unwrap_or_default();
            self.asked = String::from_utf8_lossy(line).into_owned();
        }
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// A request without a body, on a connection that stays open.
    pub async fn ask(&mut self, method: &str, path: &str, headers: &str) -> Answer {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        self.asked.clear();
        self.send(head).await;
        match method {
            "HEAD" => self.answer_to_head().await,
            _ => self.answer().await,
        }
    }

    /// The next answer.
    ///
    /// # Panics
    ///
    /// If none comes, or it is not HTTP.
    pub async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        let chunked = answer.header("transfer-encoding") == Some("chunked");
        let length = answer
            .header("content-length")
            .map(|length| length.parse().expect("Content-Length is a number"));
        answer.body = match (chunked, length) {
            _ if matches!(answer.status, 100..=199 | 204 | 304) => Vec::new(),
            (true, None) => self.chunks().await,
            (false, Some(length)) => self.bytes(length).await,
            (false, None) => self.rest().await,
            (true, Some(_)) => panic!("{answer:?}: both lengths at once"),
        };
        answer
    }

    /// The next answer, if it is one to a `HEAD`.
    pub async fn answer_to_head(&mut self) -> Answer {
        self.head().await
    }

    /// Waits until kvd closes the connection; what it still sent.
    ///
    /// # Panics
    ///
    /// If it does not close.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await.unwrap_or(0) > 0 {}
        std::mem::take(&mut self.buffer)
    }

    /// Closes the sending half, as a client that has said all.
    ///
    /// # Panics
    ///
    /// If the connection is broken.
    pub async fn shutdown(&mut self) {
        self.stream
            .shutdown()
            .await
            .expect("the connection is open");
    }

    /// Gives the connection up without a word, as the kernel does for a client that has crashed.
    ///
    /// # Panics
    ///
    /// If it cannot be told to.
    pub fn reset(self) {
        let told = self.stream.tcp().set_zero_linger();
        told.expect("the connection is open");
    }

    /// Waits until this much of an answer has come.
    pub async fn arrived(&mut self, bytes: usize) {
        while self.buffer.len() < bytes {
            self.fill_or_fail().await;
        }
    }

    async fn head(&mut self) -> Answer {
        let head = self.until(b"\r\n\r\n").await;
        let head = String::from_utf8(head).expect("a head is text");
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap_or_default();
        let mut words = status.split(' ');
        assert_eq!(words.next(), Some("HTTP/1.1"), "{}: {head}", self.asked);
        let status = words.next().and_then(|code| code.parse().ok());
        let mut headers = HeaderMap::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").expect("name: value");
            let name: HeaderName = name.parse().expect("a header name");
            let value = HeaderValue::from_str(value).expect("a header value");
            headers.append(name, value);
        }
        Answer {
            asked: self.asked.clone(),
            status: status.unwrap_or_else(|| panic!("no status: {head}")),
            headers,
            body: Vec::new(),
        }
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = self.until(b"\r\n").await;
            let line = String::from_utf8(line).expect("the size of a chunk is text");
            let size = usize::from_str_radix(line.trim(), 16).expect("the size of a chunk");
            let mut chunk = self.bytes(size + 2).await;
            chunk.truncate(size);
            body.extend(chunk);
            if size == 0 {
                return body;
            }
        }
    }

    async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            let found = self
                .buffer
                .windows(end.len())
                .position(|window| window == end);
            if let Some(position) = found {
                return self.bytes(position + end.len()).await;
            }
            self.fill_or_fail().await;
        }
    }

    async fn bytes(&mut self, count: usize) -> Vec<u8> {
        self.arrived(count).await;
        self.buffer.drain(..count).collect()
    }

    async fn fill_or_fail(&mut self) {
        match self.fill().await {
            Ok(1..) => {}
            end => panic!(
                "{}: the connection ended ({end:?}) after: {}",
                self.asked,
                String::from_utf8_lossy(&self.buffer)
            ),
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        let reading = self.stream.read_buf(&mut self.buffer);
        match timeout(PATIENCE, reading).await {
            Ok(read) => read,
            Err(_) => panic!("{}: nothing came for {PATIENCE:?}", self.asked),
        }
    }
}
