//! How a connection begins on a listener with TLS.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, sink},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::rustls::ServerConnection;

use super::{reloadable::Tls, socket::Socket};
use crate::net::activity_times::DRAINING_TIME;

/// So much of what a client that is turned away still sends is read, so that it sees why.
const MOST_DRAINED: u64 = 1024 * 1024;
/// How much of an answer a connection has ready beside what the kernel has taken: a record of TLS.
const BUFFERED: usize = 16 * 1024;

/// The connection once it is secured. One that begins as a line of text speaks plain HTTP: it is left as it is, and
/// its request can be told what is wrong. `None` if the client closes it before its first byte, as a probe does.
///
/// # Errors
/// Why there is no TLS with this client, which it was told.
pub(in crate::net) async fn accept(stream: TcpStream, tls: &Tls) -> io::Result<Option<Socket>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Ok(None);
    }
    if matches!(first[0], b'\r' | b'\n') || first[0].is_ascii_alphabetic() {
        return Ok(Some(Socket::Plain(stream)));
    }
    let buffered = |session: &mut ServerConnection| session.set_buffer_limit(Some(BUFFERED));
    let accepted = tls.acceptor().accept_with(stream, buffered);
    match accepted.into_fallible().await {
        Ok(stream) => Ok(Some(Socket::Tls(Box::new(stream)))),
        Err((error, stream)) => {
            let _ = timeout(DRAINING_TIME, drain(stream)).await;
            Err(error)
        }
    }
}

/// Closed at once, the socket would answer what comes with a reset, which takes the alert with it.
async fn drain(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    copy(&mut stream.take(MOST_DRAINED), &mut sink()).await?;
    Ok(())
}
