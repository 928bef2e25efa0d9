//! The listeners, the limit of connections, and how the service ends.
//!
//! A loop of our own around hyper, because Poem's server holds half-sent requests for ever and
//! spins when descriptors run out.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use poem::{
    Endpoint, Request, Response,
    endpoint::BoxEndpoint,
    http::uri::Scheme,
    web::{LocalAddr, RemoteAddr},
};
use prometheus::IntGauge;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};

use crate::{
    connection::{self, Pace},
    metrics::InFlight,
    repoll::repoll,
};

/// How long to wait when a connection cannot be accepted, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How far the service is on its way to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Serving,
    /// Still serving, but not ready: whoever sends us clients should stop.
    Leaving,
    /// No new connections; requests under way are answered.
    Closing,
}

/// One listener with what it serves.
pub struct Server {
    pub listener: TcpListener,
    pub endpoint: Arc<BoxEndpoint<'static, Response>>,
    pub max_connections: usize,
    /// Counts the open connections.
    pub open: IntGauge,
}

impl Server {
    /// Serves until `phase` is closing and then until every connection is done, or `grace` is over.
    pub async fn serve(self, mut phase: watch::Receiver<Phase>, grace: Duration) {
        let connections = Connections {
            endpoint: self.endpoint,
            free: Arc::new(Semaphore::new(self.max_connections)),
            open: self.open,
            paces: Arc::default(),
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
            tracing::warn!(connections = left, "the grace period is over");
        }
    }
}

/// The connections of one listener.
struct Connections {
    endpoint: Arc<BoxEndpoint<'static, Response>>,
    free: Arc<Semaphore>,
    open: IntGauge,
    paces: Arc<Mutex<HashMap<u64, Pace>>>,
    phase: watch::Receiver<Phase>,
}

impl Connections {
    /// Until the phase is closing; then gives back a connection for which there was no room yet.
    async fn accept(
        &self,
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
                    permit = self.room() => self.spawn(stream, peer, permit?),
                    _ = phase.wait_for(|phase| *phase == Phase::Closing) => {
                        return Some((stream, peer));
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    self.dismiss_idlest();
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Room for one more connection, in the place of the one that has been idle for the longest
    /// time if there is no other.
    async fn room(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = self.free.clone().try_acquire_owned() {
            return Some(permit);
        }
        loop {
            self.dismiss_idlest();
            let permit = self.free.clone().acquire_owned();
            if let Ok(permit) = timeout(ACCEPT_PAUSE, permit).await {
                return permit.ok();
            }
        }
    }

    fn dismiss_idlest(&self) {
        let paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = paces
            .values()
            .filter_map(|pace| Some((pace.idle_since()?, pace)));
        if let Some((_, pace)) = idle.min_by_key(|(since, _)| *since) {
            pace.dismiss();
        }
    }

    fn spawn(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let (endpoint, phase) = (self.endpoint.clone(), self.phase.clone());
        let open = (
            InFlight::enter(&self.open),
            Registered::new(&self.paces),
            permit,
        );
        tokio::spawn(async move {
            // Only an optimisation, and the next read or write tells what is wrong with the socket.
            let _ = stream.set_nodelay(true);
            let local = LocalAddr(stream.local_addr().map(Into::into).unwrap_or_default());
            let answer = move |request: hyper::Request<hyper::body::Incoming>| {
                let (endpoint, local) = (endpoint.clone(), local.clone());
                let remote = RemoteAddr(peer.into());
                async move {
                    let request = Request::from((request, local, remote, Scheme::HTTP));
                    let answer = endpoint.call(request).await;
                    answer.unwrap_or_else(poem::Error::into_response).into()
                }
            };
            let pace = open.1.pace.clone();
            repoll(connection::serve(stream, answer, phase, pace)).await;
            drop(open);
        });
    }
}

/// A connection on the list of those that could be sent away.
struct Registered {
    paces: Arc<Mutex<HashMap<u64, Pace>>>,
    number: u64,
    pace: Pace,
}

impl Registered {
    fn new(paces: &Arc<Mutex<HashMap<u64, Pace>>>) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let pace = Pace::default();
        let mut list = paces.lock().unwrap_or_else(PoisonError::into_inner);
        list.insert(number, pace.clone());
        drop(list);
        Self {
            paces: paces.clone(),
            number,
            pace,
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut list = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        list.remove(&self.number);
    }
}

/// Takes what the kernel has accepted for us already, because its clients believe they are served,
/// and closes the listener. Asks the kernel itself: the runtime may not have heard yet.
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
