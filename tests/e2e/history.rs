//! Two kvd and kvctl on one database while things break: what each client was told must have an explanation.

mod clients;
mod faults;
mod lies;

use std::{
    iter,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use fastrand::Rng;
use tests::{
    Engine, Env, Kvd,
    history::{Operation, Outcome, Record, Tag, check},
    process::PATIENCE,
    relay::Relay,
};
use tokio::{task::JoinSet, time::sleep};

use self::{
    clients::{Ask, be_a_client},
    faults::break_things,
    lies::lies_about,
};

tests::list! {
    EveryEngine => every_history_has_an_explanation_whatever_breaks
}

const KEYS: usize = 40;
/// Keys in use at a time, few enough that clients get in each other's way.
const BUSY_KEYS: usize = 4;
/// After so many operations another key comes into use.
const OPERATIONS_OF_A_KEY: usize = 280;
const CLIENTS: u64 = 10;
/// Clients that use kvctl: each call is a process of its own.
const OPERATORS: u64 = 2;

/// What a run must reach.
const OPERATIONS: usize = 10_000;
const FAULTS: usize = 20;
/// A run that has not got there by now never will.
const LIMIT: Duration = Duration::from_mins(4);

/// Few, so that calls wait for each other when connections hang.
const CONNECTIONS: &str = "5";
const REQUEST_TIMEOUT: &str = "2s";

async fn every_history_has_an_explanation_whatever_breaks(env: Env) {
    let mut random = env.random();
    let run = Arc::new(Run::new(&env).await);
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS + OPERATORS {
        clients.spawn(be_a_client(Arc::clone(&run), number, random.fork()));
    }
    break_things(&run, &mut random).await;
    clients.join_all().await;
    run.look_at_every_key().await;
    env.note(run.summary());

    let mut wrong = lock(&run.unexpected).clone();
    let mut lies = 0;
    for (key, history) in run.histories() {
        let history = lock(history);
        if let Err(refusal) = check(&key, &history) {
            wrong.push(refusal);
            continue;
        }
        for lie in lies_about(&history) {
            let told = check(&key, &lie);
            assert!(told.is_err(), "the checker believes a lie about {key}");
            lies += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", shortened(wrong));
    assert!(
        run.done.load(Ordering::SeqCst) >= OPERATIONS,
        "{}",
        run.summary()
    );
    assert!(
        run.faults.load(Ordering::SeqCst) >= FAULTS,
        "{}",
        run.summary()
    );
    // Unless others see what one does, nothing is proved.
    assert!(
        lies >= KEYS,
        "only {lies} lies: hardly anybody saw what others did"
    );
}

/// Several of the same kind say no more than a few.
fn shortened(mut wrong: Vec<String>) -> String {
    const MOST: usize = 5;
    let more = wrong.len().saturating_sub(MOST);
    wrong.truncate(MOST);
    format!("{}\n({more} more like these)", wrong.join("\n\n"))
}

/// What the run is about, and what came of it so far.
struct Run {
    env: Env,
    services: Vec<Service>,
    begun: Instant,
    histories: Vec<Mutex<Vec<Record>>>,
    /// Tags that clients were told, by key.
    tags: Vec<Mutex<Vec<Tag>>>,
    next_value: AtomicU64,
    /// Operations with an answer, and those whose outcome nobody knows.
    done: AtomicUsize,
    faults: AtomicUsize,
    over: AtomicBool,
    /// Answers that the contract does not know.
    unexpected: Mutex<Vec<String>>,
}

/// A kvd and the line to its database. After a `kill -9` it is another process.
struct Service {
    name: String,
    /// `None` for SQLite, whose database is a file.
    relay: Option<Relay>,
    kvd: Mutex<Arc<Kvd>>,
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

    fn kvd(&self) -> Arc<Kvd> {
        Arc::clone(&lock(&self.kvd))
    }
}

async fn start(env: &Env, relay: Option<&Relay>) -> Kvd {
    let kvd = env
        .kvd()
        .arg("--request-timeout", REQUEST_TIMEOUT)
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
    async fn new(env: &Env) -> Self {
        let services = vec![
            Service::start(env, "kvd 1").await,
            Service::start(env, "kvd 2").await,
        ];
        Self {
            env: env.clone(),
            services,
            begun: Instant::now(),
            histories: iter::repeat_with(Mutex::default).take(KEYS).collect(),
            tags: iter::repeat_with(Mutex::default).take(KEYS).collect(),
            next_value: AtomicU64::new(1),
            done: AtomicUsize::new(0),
            faults: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            unexpected: Mutex::default(),
        }
    }

    fn key(number: usize) -> String {
        format!("k{number:02}")
    }

    fn histories(&self) -> impl Iterator<Item = (String, &Mutex<Vec<Record>>)> {
        let named = |(number, history)| (Self::key(number), history);
        self.histories.iter().enumerate().map(named)
    }

    /// Mostly one of those in use just now, at times one that had its time or will have it.
    fn choose_key(&self, random: &mut Rng) -> usize {
        let now = self.done.load(Ordering::SeqCst) / OPERATIONS_OF_A_KEY;
        match random.u8(..20) {
            0 => random.usize(..KEYS),
            _ => (now + random.usize(..BUSY_KEYS)) % KEYS,
        }
    }

    fn choose_operation(&self, key: usize, random: &mut Rng) -> Operation {
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

    fn write_down(&self, key: usize, record: Record) {
        if let Some(tag) = record.outcome.tag() {
            lock(&self.tags[key]).push(tag);
        }
        if record.outcome != Outcome::NotDone {
            self.done.fetch_add(1, Ordering::SeqCst);
        }
        lock(&self.histories[key]).push(record);
    }

    /// So that a write that vanished, or came about late, is seen.
    async fn look_at_every_key(&self) {
        for number in 0..KEYS {
            for service in &self.services {
                let ask = Ask {
                    run: self,
                    key: number,
                    operation: Operation::Read,
                };
                let begun = Instant::now();
                while !ask.is_answered_by(service).await {
                    assert!(begun.elapsed() < PATIENCE, "{} is lost", service.name);
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn summary(&self) -> String {
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn milliseconds(random: &mut Rng, range: Range<u64>) -> Duration {
    Duration::from_millis(random.u64(range))
}
