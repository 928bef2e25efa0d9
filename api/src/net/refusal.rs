//! The answer to a request head that cannot be read.
//!
//! hyper writes one of its own, a status line without a body, and gives no sign of it. It is recognized as it is
//! written, and a better one goes out in its place.

use std::{
    fmt::Write,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::{Response, StatusCode};
use tokio::io::AsyncWrite;

/// What hyper's own answers say about their body.
const NO_BODY: &str = "content-length: 0\r\n";

/// Makes the answer for a status.
pub(crate) type Refuse = fn(StatusCode) -> Response<Bytes>;

/// The better answer, on its way.
pub(super) struct Refusal {
    text: Vec<u8>,
    sent: usize,
}

impl Refusal {
    /// The answer in place of these bytes, if they are an answer of hyper's own: ours have a body. That is left
    /// out of an answer to a `HEAD`.
    pub(super) fn instead_of(bytes: &[u8], refuse: Refuse, has_body: bool) -> Option<Self> {
        // `HTTP/1.1 400 …` or `HTTP/1.0 400 …`
        if !bytes.starts_with(b"HTTP/1.") || bytes.get(8..10) != Some(b" 4") {
            return None;
        }
        let head = str::from_utf8(bytes.strip_suffix(b"\r\n")?).ok()?;
        let (before, after) = head.split_once(NO_BODY)?;
        let status = StatusCode::from_bytes(bytes.get(9..12)?).ok()?;
        if head.contains("\r\n\r\n") {
            return None;
        }
        let (parts, body) = refuse(status).into_parts();
        let mut text = format!("{before}{after}content-length: {}\r\n", body.len());
        for (name, value) in &parts.headers {
            let value = value.to_str().unwrap_or_default();
            // Writing to a text does not fail.
            let _ = write!(text, "{name}: {value}\r\n");
        }
        let mut text = text.into_bytes();
        text.extend_from_slice(b"\r\n");
        if has_body {
            text.extend_from_slice(&body);
        }
        Some(Self { text, sent: 0 })
    }

    /// Sends it, or what is left of it.
    pub(super) fn poll_send(
        &mut self,
        mut stream: impl AsyncWrite + Unpin,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.text.len() {
            let rest = &self.text[self.sent..];
            match ready!(Pin::new(&mut stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{CONTENT_TYPE, HeaderValue};

    use super::*;

    fn refuse(status: StatusCode) -> Response<Bytes> {
        let mut answer = Response::new(format!("no: {}", status.as_u16()).into());
        let kind = HeaderValue::from_static("text/plain");
        answer.headers_mut().insert(CONTENT_TYPE, kind);
        answer
    }

    fn instead_of(text: &str, has_body: bool) -> Option<String> {
        let refusal = Refusal::instead_of(text.as_bytes(), refuse, has_body)?;
        Some(String::from_utf8(refusal.text).unwrap())
    }

    #[test]
    fn an_answer_without_a_body_gets_one() {
        let own = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
                   content-length: 0\r\ndate: now\r\n\r\n";
        let head = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ndate: now\r\n\
                    content-length: 7\r\ncontent-type: text/plain\r\n\r\n";
        assert_eq!(instead_of(own, true).unwrap(), format!("{head}no: 431"));
        assert_eq!(instead_of(own, false).unwrap(), head, "to a HEAD");
    }

    #[test]
    fn everything_else_is_sent_as_it_is() {
        for text in [
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 1\r\n\r\n{",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 10\r\n\r\n",
            "HTTP/1.1 404",
            "{\"value\":\"HTTP/1.1 404\"}",
            "",
        ] {
            assert_eq!(instead_of(text, true), None, "{text}");
        }
    }
}
