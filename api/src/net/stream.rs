//! The stream of a connection: it tells the activity what comes and goes, notices a reset, and reads what a
//! client still sends when the connection ends.

use std::{
    io,
    mem::{self, MaybeUninit},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::FutureExt;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::{
    activity::Activity,
    half_closed::EndOfInput,
    refusal::{Refusal, Refuse},
    tls::Socket,
};

/// Head and body of an answer of at most this many bytes are sent as one piece: copying them costs less
/// than telling the kernel of two pieces.
const JOINED: usize = 1024;
/// The most that is read after the last answer.
const MOST_DRAINED: usize = 2 * 1024 * 1024;
/// The most that is read of it at a time.
const DRAINED: usize = 16 * 1024;
/// How HTTP/2 begins. hyper ends the connection without a word when it sees what always follows, but answers
/// this alone as any other head that it cannot read.
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

pub(super) struct TrackedStream {
    socket: Socket,
    activity: Activity,
    refuse: Refuse,
    refusal: Option<Refusal>,
    /// Whether what was read since the last answer begins with the method `HEAD`; `None` if nothing was read.
    asks_head: Option<bool>,
    /// Nothing has been read yet.
    is_new: bool,
    end_of_input: EndOfInput,
    /// The client does not take what TLS has ready for it.
    unflushed: bool,
    /// How much may still be drained, once the last answer has been sent.
    draining: Option<usize>,
}

impl TrackedStream {
    pub(super) fn new(
        socket: Socket,
        activity: Activity,
        refuse: Refuse,
        end_of_input: EndOfInput,
    ) -> Self {
        Self {
            socket,
            activity,
            refuse,
            refusal: None,
            asks_head: None,
            is_new: true,
            end_of_input,
            unflushed: false,
            draining: None,
        }
    }

    /// Whether the client is gone. The end of its input does not say so, a reset does, and hyper reads nothing
    /// that would tell while it waits for an answer of ours.
    fn is_reset(&self, context: &mut Context<'_>) -> bool {
        // The task is woken when input, its end or a reset comes; after the end nothing wakes it.
        if self.socket.tcp().poll_read_ready(context).is_pending() {
            return false;
        }
        let ready = self.socket.tcp().ready(Interest::WRITABLE);
        let ready = ready.now_or_never();
        let is_reset = matches!(ready, Some(Ok(ready)) if ready.is_write_closed());
        if !is_reset && self.has_ended() {
            self.end_of_input.tell();
        }
        is_reset
    }

    /// Whether the client has closed its sending side, though not all may have been read.
    fn has_ended(&self) -> bool {
        let ready = self.socket.tcp().ready(Interest::READABLE);
        let ready = ready.now_or_never();
        matches!(ready, Some(Ok(ready)) if ready.is_read_closed())
    }

    /// Whether nothing follows what has been read of a new connection. The runtime takes a new socket for ready, so
    /// the first read may come before the kernel has told it of the end of input.
    fn ended_with_the_first_bytes(&mut self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        mem::replace(&mut self.is_new, false)
            && matches!(SockRef::from(self.socket.tcp()).peek(&mut byte), Ok(0))
    }

    /// Looks at bytes that may begin a request, and says how many of them hyper is to see. It knows a beginning only
    /// where all of it comes in one read.
    fn begin(&mut self, bytes: &[u8]) -> usize {
        if self.asks_head.is_some() || self.activity.awaits_answer() {
            return bytes.len();
        }
        self.asks_head = Some(bytes.starts_with(b"HEAD "));
        match bytes.starts_with(HTTP_2) {
            true => HTTP_2.len(),
            false => bytes.len(),
        }
    }

    /// Reads until the client has sent all, or more than is read of it. What TLS would say it is does not matter.
    fn poll_drain(&mut self, mut left: usize, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; DRAINED];
        loop {
            self.draining = Some(left);
            let mut buffer = ReadBuf::new(&mut bytes);
            ready!(Pin::new(self.socket.tcp_mut()).poll_read(context, &mut buffer))?;
            let read = buffer.filled().len();
            if read == 0 || read >= left {
                return Poll::Ready(Ok(()));
            }
            left -= read;
        }
    }
}

impl AsyncRead for TrackedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(context, buffer);
        if polled.is_pending() {
            self.activity.waits_for_input();
        } else if buffer.filled().len() > before {
            let seen = self.begin(&buffer.filled()[before..]);
            buffer.set_filled(before + seen);
            self.activity.received();
            if self.ended_with_the_first_bytes() || self.has_ended() {
                self.end_of_input.tell();
            }
        }
        polled
    }
}

impl AsyncWrite for TrackedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.refusal.is_none() {
            // What was read together with an earlier request does not tell the method: the answer has a body.
            let has_body = this.asks_head.take() != Some(true);
            this.refusal = Refusal::instead_of(bytes, this.refuse, has_body);
            if this.refusal.is_some() {
                this.activity.refuses();
            }
        }
        let polled = match &mut this.refusal {
            Some(refusal) => {
                let sent = refusal.poll_send(&mut this.socket, context);
                sent.map_ok(|()| bytes.len())
            }
            None => Pin::new(&mut this.socket).poll_write(context, bytes),
        };
        this.activity.sent(polled.is_ready());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut joined = [0; JOINED];
        if let Some(bytes) = join(slices, &mut joined) {
            return self.poll_write(context, bytes);
        }
        self.asks_head = None;
        let polled = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.activity.sent(polled.is_ready());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// hyper flushes whenever it is polled, and so learns of a reset. Only TLS has something to flush.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_reset(context) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let flushed = Pin::new(&mut self.socket).poll_flush(context);
        let was_unflushed = mem::replace(&mut self.unflushed, flushed.is_pending());
        if was_unflushed || self.unflushed {
            self.activity.sent(!self.unflushed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(left) = self.draining {
            return self.poll_drain(left, context);
        }
        let shut_down = Pin::new(&mut self.socket).poll_shutdown(context);
        if shut_down.is_pending() {
            // Only with TLS, which has something to say first.
            self.activity.sent(false);
        }
        ready!(shut_down)?;
        // Closed at once, the socket would answer what comes with a reset, which takes the answer with it. With TLS
        // even a client that sends no more has said so in bytes.
        if matches!(self.socket, Socket::Tls(_)) {
            self.activity.will_drain();
        }
        match self.activity.drains() {
            true => self.poll_drain(MOST_DRAINED, context),
            false => Poll::Ready(Ok(())),
        }
    }
}

/// The slices in one, if they fit.
fn join<'a>(slices: &[io::IoSlice<'_>], into: &'a mut [u8; JOINED]) -> Option<&'a [u8]> {
    let mut end = 0;
    for slice in slices {
        let begin = end;
        end += slice.len();
        into.get_mut(begin..end)?.copy_from_slice(slice);
    }
    Some(&into[..end])
}

#[cfg(test)]
mod tests {
    use io::IoSlice;

    use super::*;

    #[test]
    fn slices_are_joined_in_their_order_if_they_fit() {
        let joined = |slices: &[&[u8]]| {
            let slices: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
            join(&slices, &mut [0; JOINED]).map(<[u8]>::to_vec)
        };
        assert_eq!(joined(&[b"head", b"", b"body"]).unwrap(), b"headbody");
        assert_eq!(joined(&[]).unwrap(), b"");
        assert_eq!(joined(&[b"h", &[0; JOINED - 1]]).unwrap().len(), JOINED);
        assert_eq!(joined(&[b"h", &[0; JOINED]]), None);
    }
}
