//! The sessions of a server, shared by its requests.
//!
//! The driver's pool is not used, for three reasons. It pings every session that is given back and waits
//! for the answer without end, so a lost network takes its places for ever. It keeps sessions that were
//! idle before the database restarted. And it fails if the database allows no further session, although
//! one of its own is about to be free.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sea_orm::{DbErr, RuntimeErr, error::ConnAcquireErr, sqlx};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{connector::Connector, failure::Failure, session::Session};

/// Sessions idle for longer are pinged before they are used again: in that time a server, a proxy
/// or a firewall may have dropped them, and a write sent on such a session has no known outcome.
const PING_AFTER_IDLE: Duration = Duration::from_millis(500);

/// Sessions are pinged after this time in any case, since with a ping [`Session::ping`] has old plans forgotten.
const PING_AGAIN: Duration = Duration::from_secs(1);

/// The most time for a session to answer a ping, or to end.
const PING_TIME: Duration = Duration::from_secs(1);

/// Sessions idle for longer are ended.
const MAX_IDLE: Duration = Duration::from_mins(10);

/// Older sessions are ended when they are given back: behind a proxy or a name that changed, new
/// ones may reach another server.
const MAX_AGE: Duration = Duration::from_mins(30);

/// How long a session counts as new.
const NEW: Duration = Duration::from_secs(5);

/// The pauses between tries to open a session.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
];

/// A bounded number of sessions, opened as they are needed.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    connector: Connector,
    /// How long to wait for a session, a new one included.
    time: Duration,
    size: u32,
    places: Arc<Semaphore>,
    /// The session that was used last is at the end.
    idle: Mutex<Vec<Idle>>,
    /// Every open session holds a clone, so the clones count the sessions.
    open: Arc<()>,
}

struct Open {
    session: Session,
    since: Instant,
    /// When it last answered a ping.
    pinged: Instant,
    count: Arc<()>,
}

struct Idle {
    open: Open,
    since: Instant,
}

/// A session that one request has to itself. It ends when it is dropped; see
/// [`PooledSession::give_back`].
pub struct PooledSession {
    open: Open,
    pool: Arc<Inner>,
    _place: OwnedSemaphorePermit,
}

impl Deref for PooledSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.open.session
    }
}

impl PooledSession {
    /// Lets other requests use the session, which must be sound and have nothing under way.
    pub fn give_back(self) {
        self.pool.take_back(self.open);
    }

    /// The same, but has it pinged before it is used again, as if it had been idle.
    pub fn give_back_unused(self) {
        let before = Instant::now().checked_sub(PING_AFTER_IDLE);
        self.pool.take_back_since(self.open, before);
    }

    /// Ends the session and the idle ones, although they are sound: new ones may reach another server.
    /// A session that is new itself is given back instead.
    pub fn replace(self) {
        if self.open.since.elapsed() < NEW {
            self.give_back();
        } else {
            self.pool.retire_idle();
            retire(self.open);
        }
    }
}

impl Pool {
    pub fn new(connector: Connector, size: u32, time: Duration) -> Self {
        Self(Arc::new(Inner {
            connector,
            time,
            size,
            places: Arc::new(Semaphore::new(size as usize)),
            idle: Mutex::default(),
            open: Arc::default(),
        }))
    }

    /// Waits for a session that is idle, or opens one. Takes one that [plans once](crate::Postgres::plan_once), or not,
    /// if there is such a one: to change that takes a round trip.
    ///
    /// # Errors
    /// No session could be had in time, or the database refuses for a reason that does not pass.
    pub async fn acquire(&self, plans_once: bool) -> Result<PooledSession, DbErr> {
        let pool = self.0.clone();
        let deadline = Instant::now() + pool.time;
        let place = timeout_at(deadline, pool.places.clone().acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            return Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout));
        };
        let open = pool.open(deadline, plans_once).await?;
        Ok(PooledSession {
            open,
            pool,
            _place: place,
        })
    }

    /// A session broke or fell silent. A restart, a failover or a lost network does that to all at
    /// once, so what is idle is not used again.
    pub fn distrust_idle(&self) {
        self.0.retire_idle();
    }

    /// The most sessions.
    pub fn size(&self) -> u32 {
        self.0.size
    }

    /// How many sessions are open, and how many of them are idle.
    pub fn sessions(&self) -> (usize, usize) {
        let idle = self.0.idle().len();
        (Arc::strong_count(&self.0.open) - 1, idle)
    }

    /// Waits until all sessions are given back, and ends them.
    pub async fn close(&self) {
        let _all = self.0.places.acquire_many(self.0.size).await;
        let idle: Vec<Idle> = self.0.idle().drain(..).collect();
        for Idle { open, .. } in idle {
            // The session ends even if the server could not be told.
            let _ = timeout(PING_TIME, open.session.close()).await;
        }
    }
}

impl Inner {
    async fn open(&self, deadline: Instant, plans_once: bool) -> Result<Open, DbErr> {
        let mut pauses = PAUSES.iter().chain(PAUSES.last().into_iter().cycle());
        let mut reason = None;
        loop {
            if let Some(open) = self.take_idle(deadline, plans_once).await {
                return Ok(open);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let error = match self.connector.open(left).await {
                Ok(session) => {
                    let now = Instant::now();
                    return Ok(Open {
                        session,
                        since: now,
                        pinged: now,
                        count: self.open.clone(),
                    });
                }
                // An attempt that ran out of time does not say why there is none.
                Err(error) if is_timeout(&error) => reason.take().unwrap_or(error),
                Err(error) => error,
            };
            let pause = pauses.next().copied().unwrap_or_default();
            if !may_pass(&error) || Instant::now() + pause >= deadline {
                return Err(error);
            }
            reason = Some(error);
            sleep(pause).await;
        }
    }

    async fn take_idle(&self, deadline: Instant, plans_once: bool) -> Option<Open> {
        let Idle { mut open, since } = self.last_idle(plans_once)?;
        if since.elapsed() < PING_AFTER_IDLE && open.pinged.elapsed() < PING_AGAIN {
            return Some(open);
        }
        let time = if self.connector.pools_transactions() {
            // A pooler may keep its clients waiting for a connection of the server.
            deadline.saturating_duration_since(Instant::now()) / 2
        } else {
            PING_TIME.min(self.time / 4)
        };
        if let Ok(Ok(())) = timeout(time, open.session.ping()).await {
            open.pinged = Instant::now();
            return Some(open);
        }
        // The other sessions have been idle for longer, so they are no better.
        self.retire_idle();
        None
    }

    /// The session that was used last, of those that plan so if there are any.
    fn last_idle(&self, plans_once: bool) -> Option<Idle> {
        let mut idle = self.idle();
        let fits = |idle: &mut Idle| idle.open.session.plans_once() == plans_once;
        match idle.iter_mut().rposition(fits) {
            Some(place) => Some(idle.remove(place)),
            None => idle.pop(),
        }
    }

    fn take_back(&self, open: Open) {
        self.take_back_since(open, None);
    }

    /// Takes back a session that is idle since then, or from now on.
    fn take_back_since(&self, mut open: Open, since: Option<Instant>) {
        if open.since.elapsed() > MAX_AGE || open.session.has_begun_pooled() {
            return retire(open);
        }
        let mut idle = self.idle();
        idle.push(Idle {
            open,
            since: since.unwrap_or_else(Instant::now),
        });
        if idle[0].since.elapsed() > MAX_IDLE {
            retire(idle.remove(0).open);
        }
    }

    fn retire_idle(&self) {
        for idle in self.idle().drain(..) {
            retire(idle.open);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the same may succeed a moment later.
fn may_pass(error: &DbErr) -> bool {
    let DbErr::Conn(RuntimeErr::SqlxError(cause)) = error else {
        return false;
    };
    // Fewer than Failure::may_pass: a call that waits here holds a place that others need.
    matches!(
        Failure::of_cause(cause),
        Failure::NoConnection | Failure::Unknown
    )
}

/// Whether there was no answer in time.
fn is_timeout(error: &DbErr) -> bool {
    let DbErr::Conn(RuntimeErr::SqlxError(cause)) = error else {
        return false;
    };
    matches!(**cause, sqlx::Error::PoolTimedOut)
}

/// Ends a session in the background. The server is told, since it logs clients that vanish.
fn retire(open: Open) {
    let Open { session, count, .. } = open;
    tokio::spawn(async move {
        // The session ends even if the server could not be told, and is counted until then.
        let _ = timeout(PING_TIME, session.close()).await;
        drop(count);
    });
}
