//! What a run is about, and what came of it so far.

use std::{
    iter,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};
use fastrand::Rng;
use tests::{
    Engine, Env, Kvd,
    history::{Expiry, Operation, Outcome, Record, Tag},
    kvd::setting,
    pace::stretched,
    relay::Relay,
};

pub(super) const KEYS: usize = 40;
/// Keys in use at a time, few enough that clients get in each other's way.
const BUSY_KEYS: usize = 4;
/// After this number of operations another key comes into use.
const OPERATIONS_OF_A_KEY: usize = 280;
pub(super) const CLIENTS: u64 = 10;
/// Clients that use kvctl: each call is a process of its own.
pub(super) const OPERATORS: u64 = 2;
/// What a run must reach.
const OPERATIONS: usize = 10_000;
const FAULTS: usize = 20;
/// Few, so that calls wait for each other when connections hang.
const CONNECTIONS: &str = "5";

fn request_timeout() -> Duration {
    stretched(Duration::from_secs(2))
}

/// What the run is about, and what came of it so far.
pub(super) struct Run {
    pub(super) env: Env,
    pub(super) services: Vec<Service>,
    pub(super) begun: Instant,
    /// The same moment by the clock that the database has too: it runs on this machine.
    begun_at: DateTime<Utc>,
    pub(super) histories: Vec<Mutex<Vec<Record>>>,
    /// Tags that clients were told, by key.
    pub(super) tags: Vec<Mutex<Vec<Tag>>>,
    pub(super) next_value: AtomicU64,
    /// Operations with an answer, and those of unknown outcome.
    pub(super) done: AtomicUsize,
    pub(super) faults: AtomicUsize,
    pub(super) over: AtomicBool,
    /// Answers that the contract does not know.
    pub(super) unexpected: Mutex<Vec<String>>,
}

/// A kvd and the line to its database. After a `kill -9` it is another process.
pub(super) struct Service {
    pub(super) name: String,
    /// `None` for SQLite, whose database is a file.
    pub(super) relay: Option<Relay>,
    pub(super) kvd: Mutex<Arc<Kvd>>,
}

impl Service {
    async fn start(env: &Env, name: &str) -> Self {
        let relay = match env.engine() {
            Engine::Postgres | Engine::Mysql => Some(Relay::to(env.database()).await),
            Engine::Sqlite => None,
        };
        let kvd = Mutex::new(Arc::new(start(env, relay.as_ref()).await));
        let name = name.to_owned();
        Self { name, relay, kvd }
    }

    pub(super) fn kvd(&self) -> Arc<Kvd> {
        Arc::clone(&lock(&self.kvd))
    }
}

pub(super) async fn start(env: &Env, relay: Option<&Relay>) -> Kvd {
    let kvd = env
        .kvd()
        .arg("--request-timeout", setting(request_timeout()))
        .arg("--database-max-connections", CONNECTIONS)
        // What went wrong, not ten thousand requests.
        .env("RUST_LOG", "warn");
    let kvd = match relay {
        Some(relay) => kvd.env("DATABASE_URL", relay.url()),
        None => kvd,
    };
    kvd.start().await
}

impl Run {
    pub(super) async fn new(env: &Env) -> Self {
        let services = vec![
            Service::start(env, "kvd 1").await,
            Service::start(env, "kvd 2").await,
        ];
        Self {
            env: env.clone(),
            services,
            begun: Instant::now(),
            begun_at: DateTime::<Utc>::from(SystemTime::now()).trunc_subsecs(6),
            histories: iter::repeat_with(Mutex::default).take(KEYS).collect(),
            tags: iter::repeat_with(Mutex::default).take(KEYS).collect(),
            next_value: AtomicU64::new(1),
            done: AtomicUsize::new(0),
            faults: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            unexpected: Mutex::default(),
        }
    }

    pub(super) fn key(number: usize) -> String {
        format!("k{number:02}")
    }

    pub(super) fn histories(&self) -> impl Iterator<Item = (String, &Mutex<Vec<Record>>)> {
        let named = |(number, history)| (Self::key(number), history);
        self.histories.iter().enumerate().map(named)
    }

    /// Mostly one of those in use just now, at times one that had its time or will have it.
    pub(super) fn choose_key(&self, random: &mut Rng) -> usize {
        let now = self.done.load(Ordering::SeqCst) / OPERATIONS_OF_A_KEY;
        match random.u8(..20) {
            0 => random.usize(..KEYS),
            _ => (now + random.usize(..BUSY_KEYS)) % KEYS,
        }
    }

    pub(super) fn choose_operation(&self, key: usize, random: &mut Rng) -> Operation {
        let value = self.next_value.fetch_add(1, Ordering::SeqCst);
        let tag = {
            let tags = lock(&self.tags[key]);
            // Now and then one that is surely old.
            let back = if random.u8(..8) == 0 { 4 } else { 1 };
            tags.len().checked_sub(back).map(|place| tags[place])
        };
        match (random.u8(..100), tag) {
            (0..38, _) => Operation::Read,
            (38..50, _) => Operation::Create(value),
            (50..62, _) => Operation::Update(value, None),
            (62..80, Some(tag)) => Operation::Update(value, Some(tag)),
            (80..90, _) | (62..80, None) => Operation::Upsert(value),
            (90..96, Some(tag)) => Operation::Delete(Some(tag)),
            (90.., _) => Operation::Delete(None),
        }
    }

    /// Mostly never; else at a time around which there are others that ask.
    pub(super) fn choose_expiry(&self, operation: Operation, random: &mut Rng) -> Expiry {
        match (operation, random.u8(..20)) {
            (Operation::Read | Operation::Delete(_), _) => Expiry::Never,
            (_, 0..3) => {
                // kvd takes no less than microseconds.
                let now = Duration::from_millis(self.begun.elapsed().as_millis() as u64);
                Expiry::At(now + milliseconds(random, 30..600))
            }
            (_, 3) => Expiry::After(Duration::from_secs(1)),
            (Operation::Update(..) | Operation::Upsert(_), 4 | 5) => Expiry::Keep,
            _ => Expiry::Never,
        }
    }

    /// A time since the beginning, as kvd takes it.
    pub(super) fn time(&self, since: Duration) -> String {
        (self.begun_at + since).to_rfc3339_opts(SecondsFormat::Micros, true)
    }

    /// The time since the beginning that kvd tells.
    pub(super) fn since(&self, time: &str) -> Option<Duration> {
        let time = DateTime::parse_from_rfc3339(time).ok()?;
        (time.to_utc() - self.begun_at).to_std().ok()
    }

    pub(super) fn write_down(&self, key: usize, record: Record) {
        if let Some(tag) = record.outcome.tag() {
            lock(&self.tags[key]).push(tag);
        }
        if record.outcome != Outcome::NotDone {
            self.done.fetch_add(1, Ordering::SeqCst);
        }
        lock(&self.histories[key]).push(record);
    }

    pub(super) fn has_done_enough(&self) -> bool {
        self.done.load(Ordering::SeqCst) >= OPERATIONS
            && self.faults.load(Ordering::SeqCst) >= FAULTS
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    pub(super) fn summary(&self) -> String {
        let mut counts = [0; 3];
        for history in &self.histories {
            for record in lock(history).iter() {
                counts[match record.outcome {
                    Outcome::NotDone => 0,
                    Outcome::Unknown => 1,
                    _ => 2,
                }] += 1;
            }
        }
        let [not_done, unknown, answered] = counts;
        let faults = self.faults.load(Ordering::SeqCst);
        format!(
            "{answered} operations answered, {unknown} of unknown outcome, {not_done} not done; \
             {faults} faults; {:?}",
            self.begun.elapsed()
        )
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn milliseconds(random: &mut Rng, range: Range<u64>) -> Duration {
    Duration::from_millis(random.u64(range))
}
