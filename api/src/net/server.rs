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

use super::{activity::Activity, connection, phase::Phase, self_wakes::absorb_self_wakes};
use crate::telemetry::{InFlight, Metrics, target};

/// How long to wait when a connection cannot be accepted, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// One listener with what it serves.
pub(crate) struct Server {
    pub listener: TcpListener,
    pub endpoint: Arc<BoxEndpoint<'static, Response>>,
    pub max_connections: usize,
    /// Counts the open connections.
    pub open: IntGauge,
}

impl Server {
    /// The gauge of open connections, which all listeners share.
    pub(crate) fn open_connections(metrics: &Metrics) -> IntGauge {
        metrics.gauge("kvd_http_connections", "Client connections that are open.")
    }

    /// Serves until `phase` is closing and then until every connection is done, or `grace` is over.
    pub(crate) async fn serve(self, mut phase: watch::Receiver<Phase>, grace: Duration) {
        let connections = Connections {
            endpoint: self.endpoint,
            free: Arc::new(Semaphore::new(self.max_connections)),
            open: self.open,
            activities: Arc::default(),
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

/// What the open connections of a listener are doing, by a number for each.
type Activities = Arc<Mutex<HashMap<u64, Activity>>>;

/// The connections of one listener.
struct Connections {
    endpoint: Arc<BoxEndpoint<'static, Response>>,
    free: Arc<Semaphore>,
    open: IntGauge,
    activities: Activities,
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
                    tracing::warn!(target: target::SERVER, %error, "cannot accept a connection");
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
        let activities = self
            .activities
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let idle = activities
            .values()
            .filter_map(|activity| Some((activity.idle_since()?, activity)));
        if let Some((_, idlest)) = idle.min_by_key(|(since, _)| *since) {
            idlest.dismiss();
        }
    }

    fn spawn(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let (endpoint, phase) = (self.endpoint.clone(), self.phase.clone());
        let open = OpenConnection {
            registered: Registered::new(&self.activities),
            _counted: InFlight::enter(&self.open),
            _permit: permit,
        };
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
            let activity = open.registered.activity.clone();
            absorb_self_wakes(connection::serve(stream, answer, phase, activity)).await;
            drop(open);
        });
    }
}

/// What a connection holds while it is open.
struct OpenConnection {
    registered: Registered,
    _counted: InFlight,
    _permit: OwnedSemaphorePermit,
}

/// A connection on the list of those that could be dismissed.
struct Registered {
    activities: Activities,
    number: u64,
    activity: Activity,
}

impl Registered {
    fn new(activities: &Activities) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let activity = Activity::default();
        let mut list = activities.lock().unwrap_or_else(PoisonError::into_inner);
        list.insert(number, activity.clone());
        drop(list);
        Self {
            activities: activities.clone(),
            number,
            activity,
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut list = self
            .activities
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
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
