//! The listeners, the limit of connections, and how the service ends.
//!
//! It is a loop of our own around hyper, because Poem's server holds half-sent requests for ever and spins
//! when descriptors run out.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use poem::{
    Endpoint, Request, Response,
    endpoint::BoxEndpoint,
    http::uri::Scheme,
    web::{LocalAddr, RemoteAddr},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep_until, timeout},
};

use super::{
    activity::Activity,
    connection,
    open_connections::{Dismissals, OpenConnections, Registered},
    phase::Phase,
    refusal::Refuse,
    self_wakes::absorb_self_wakes,
    stream::TrackedStream,
    tls::{self, Socket, Tls},
};
use crate::telemetry::target;

/// How long to wait when a connection cannot be accepted, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a connection that makes room may take to close, before another one has to make room too.
const DISMISSAL_TIME: Duration = Duration::from_millis(100);
/// How long to wait for one to close by itself, where none can make room.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How many connections make room at once when descriptors are used up: the database needs some as well.
const DISMISSED_AT_ONCE: usize = 16;

/// One listener with what it serves.
pub(crate) struct Server {
    pub listener: TcpListener,
    pub endpoint: Arc<BoxEndpoint<'static, Response>>,
    /// `None`: it speaks plain HTTP.
    pub tls: Option<Arc<Tls>>,
    /// Answers a request whose head cannot be read.
    pub refuse: Refuse,
    pub max_connections: usize,
    /// The connections of all listeners.
    pub open: OpenConnections,
}

impl Server {
    /// Serves until `phase` is closing and then until every connection is done, or `grace` is over.
    pub(crate) async fn serve(self, mut phase: watch::Receiver<Phase>, grace: Duration) {
        let Ok(address) = self.listener.local_addr() else {
            return;
        };
        let mut connections = Connections {
            address,
            endpoint: self.endpoint,
            tls: self.tls,
            refuse: self.refuse,
            free: Arc::new(Semaphore::new(self.max_connections)),
            open: self.open,
            dismissals: Dismissals::new(),
            phase: phase.clone(),
        };
        let in_hand = connections.accept(&self.listener, &mut phase).await;
        let waiting = in_hand.into_iter().chain(accept_waiting(self.listener));
        let all = u32::try_from(self.max_connections).unwrap_or(u32::MAX);
        let last = async {
            for (stream, peer) in waiting {
                if let Ok(permit) = connections.free.clone().acquire_owned().await {
                    connections.spawn(stream, peer, permit);
                }
            }
            connections.free.acquire_many(all).await.is_ok()
        };
        if timeout(grace, last).await.is_err() {
            let left = self.max_connections - connections.free.available_permits();
            tracing::warn!(target: target::SERVER, connections = left, "the grace period is over");
        }
    }
}

/// The connections of one listener.
struct Connections {
    address: SocketAddr,
    endpoint: Arc<BoxEndpoint<'static, Response>>,
    tls: Option<Arc<Tls>>,
    refuse: Refuse,
    free: Arc<Semaphore>,
    open: OpenConnections,
    dismissals: Dismissals,
    phase: watch::Receiver<Phase>,
}

impl Connections {
    /// Accepts connections until the phase is closing, and then returns one for which there was no room yet.
    async fn accept(
        &mut self,
        listener: &TcpListener,
        phase: &mut watch::Receiver<Phase>,
    ) -> Option<(TcpStream, SocketAddr)> {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = phase.wait_for(|phase| *phase == Phase::Closing) => return None,
            };
            match accepted {
                Ok((stream, peer)) => tokio::select! {
                    permit = self.room() => self.spawn(stream, peer, permit),
                    _ = phase.wait_for(|phase| *phase == Phase::Closing) => {
                        return Some((stream, peer));
                    }
                },
                // The client gave up before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(target: target::SERVER, %error, "cannot accept a connection");
                    self.make_descriptors_free().await;
                }
            }
        }
    }

    /// Waits for room for one more connection, and ends another one for it if need be.
    async fn room(&mut self) -> OwnedSemaphorePermit {
        loop {
            let open = self.open.clone();
            let mut closed = pin!(open.closed());
            closed.as_mut().enable();
            let enough = self.open.has_descriptors();
            if enough && let Ok(permit) = self.free.clone().try_acquire_owned() {
                return permit;
            }
            // Descriptors are for all listeners.
            let listener = enough.then_some(self.address);
            let patience = match self.dismissals.dismiss_one(&self.open, listener) {
                true => DISMISSAL_TIME,
                false => LOOK_AGAIN,
            };
            // Whether one has closed or the time is over: the loop looks again.
            let _ = timeout(patience, closed).await;
        }
    }

    async fn make_descriptors_free(&mut self) {
        let open = self.open.clone();
        let mut closed = pin!(open.closed());
        closed.as_mut().enable();
        for _ in 0..DISMISSED_AT_ONCE {
            if !self.dismissals.dismiss_one(&self.open, None) {
                break;
            }
        }
        let _ = timeout(ACCEPT_PAUSE, closed).await;
    }

    fn spawn(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let (endpoint, tls, phase) = (self.endpoint.clone(), self.tls.clone(), self.phase.clone());
        let open = ServedConnection {
            _permit: permit,
            registered: self.open.enter(self.address, peer),
        };
        let refuse = self.refuse;
        tokio::spawn(async move {
            // Only an optimisation, and the next read or write tells what is wrong with the socket.
            let _ = stream.set_nodelay(true);
            let local = LocalAddr(stream.local_addr().map(Into::into).unwrap_or_default());
            let activity = open.registered.activity.clone();
            let end_of_input = open.registered.end_of_input.clone();
            let Some(socket) = secured(stream, tls.as_deref(), peer, &activity).await else {
                return;
            };
            let scheme = match socket {
                Socket::Plain(_) => Scheme::HTTP,
                Socket::Tls(_) => Scheme::HTTPS,
            };
            let stream = TrackedStream::new(socket, activity.clone(), refuse, end_of_input.clone());
            let answer = move |request: hyper::Request<hyper::body::Incoming>| {
                let (endpoint, local, scheme) = (endpoint.clone(), local.clone(), scheme.clone());
                let remote = RemoteAddr(peer.into());
                let end_of_input = end_of_input.clone();
                async move {
                    let mut request = Request::from((request, local, remote, scheme));
                    request.set_data(end_of_input);
                    let answer = endpoint.call(request).await;
                    answer.unwrap_or_else(poem::Error::into_response).into()
                }
            };
            let serve = connection::serve(stream, answer, phase, activity);
            absorb_self_wakes(serve).await;
            drop(open);
        });
    }
}

/// The connection with TLS, if the listener speaks that. `None` if there is none with this client, or not in the time
/// of its first request's head, or if the connection had to make room.
async fn secured(
    stream: TcpStream,
    tls: Option<&Tls>,
    peer: SocketAddr,
    activity: &Activity,
) -> Option<Socket> {
    let Some(tls) = tls else {
        return Some(Socket::Plain(stream));
    };
    let accepted = tokio::select! {
        accepted = tls::accept(stream, tls) => accepted,
        () = sleep_until(activity.deadline()) => return None,
        () = activity.dismissed() => return None,
    };
    let failed = |error| {
        tracing::info!(target: target::SERVER, client = %peer.ip(), %error, "no TLS with a client");
    };
    accepted.map_err(failed).ok().flatten()
}

/// What a connection holds while it is open. The permit is given back first, so that a task that is told of the
/// closing finds it free.
struct ServedConnection {
    _permit: OwnedSemaphorePermit,
    registered: Registered,
}

/// Takes the connections that the kernel has accepted already, whose clients believe that they are served, and
/// closes the listener. It asks the kernel itself, of whose connections the runtime may not know yet.
fn accept_waiting(listener: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    let mut waiting = Vec::new();
    let Ok(listener) = listener.into_std() else {
        return waiting;
    };
    while let Ok((stream, peer)) = listener.accept() {
        let stream = stream
            .set_nonblocking(true)
            .and_then(|()| TcpStream::from_std(stream));
        waiting.extend(stream.map(|stream| (stream, peer)));
    }
    waiting
}
