//! What the store is told, and how the time of a request is divided.

use std::time::Duration;

use database::{DatabaseUrl, Engine, SessionSettings};

/// How long one try of a call waits for a lock before it makes room for others; see
/// [`super::key_queues`].
const LOCK_TRY: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub(crate) struct StoreSettings {
    pub url: DatabaseUrl,
    /// The most connections to the database.
    pub connections: u32,
    pub max_value_bytes: usize,
    pub time: RequestTime,
}

impl StoreSettings {
    /// How the sessions are set up.
    pub(crate) fn session(&self) -> SessionSettings {
        SessionSettings {
            statement_timeout: Some(self.time.statement()),
            lock_timeout: match self.url.engine() {
                Engine::Postgres | Engine::Sqlite => LOCK_TRY,
                // In whole seconds.
                Engine::MySql => Duration::from_secs(1),
            },
            create_file: false,
            application_name: "kvd",
        }
    }
}

/// The time of one request, `REQUEST_TIMEOUT`, and every fraction of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestTime(pub Duration);

impl RequestTime {
    /// For one statement. It is shorter than the whole, so that the server ends a statement for which no
    /// request waits any more.
    pub(crate) fn statement(self) -> Duration {
        self.0.mul_f64(0.8)
    }

    /// To wait for a session. A call that waited longer would have no time left to be done.
    pub(crate) fn session(self) -> Duration {
        self.0.mul_f64(0.8)
    }

    /// What is left of a request that waited for its turn or for memory as long as it may. One that waited
    /// longer would have no time left to be done.
    pub(crate) fn after_waiting(self) -> Duration {
        self.0.mul_f64(0.2)
    }

    /// A count that takes longer keeps no other waiting.
    pub(super) fn late_count(self) -> Duration {
        self.0.mul_f64(0.2)
    }

    /// To wait for a lock of another session. It is shorter than the whole, so that the request can be
    /// answered.
    pub(crate) fn lock(self) -> Duration {
        self.0.mul_f64(0.6)
    }
}
