//! What a test is given.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    database::Database,
    engine::Engine,
    kvctl::{self, Kvctl},
    kvd::{Kvd, Processes, Start},
    secrets,
    server::Server,
};

/// A test's database, its directory and its processes. All of it is gone when the test ends.
#[derive(Clone)]
pub struct Env(Arc<Inner>);

struct Inner {
    server: Arc<Server>,
    database: Database,
    directory: PathBuf,
    processes: Processes,
    extra: Mutex<Vec<Arc<Database>>>,
    notes: Mutex<Vec<String>>,
}

impl Env {
    pub(crate) async fn new(server: &Arc<Server>, directory: PathBuf) -> Result<Self, String> {
        fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
        Ok(Self(Arc::new(Inner {
            server: Arc::clone(server),
            database: Database::migrated(server).await?,
            directory,
            processes: Processes::default(),
            extra: Mutex::default(),
            notes: Mutex::default(),
        })))
    }

    #[must_use]
    pub fn engine(&self) -> Engine {
        self.0.server.engine
    }

    /// The server of the test's database. Only tests of `Faults` may do something to it.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.0.server
    }

    /// The test's own database, migrated.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.0.database
    }

    /// One more database, without any table.
    ///
    /// # Panics
    ///
    /// If it cannot be created.
    pub async fn empty_database(&self) -> Arc<Database> {
        let database = Database::empty(&self.0.server).await;
        let database = Arc::new(database.unwrap_or_else(|e| panic!("{e}")));
        lock(&self.0.extra).push(Arc::clone(&database));
        database
    }

    /// An empty directory: the working directory of `kvd` and `kvctl`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// A running `kvd` on the test's database.
    pub async fn start(&self) -> Kvd {
        self.kvd().start().await
    }

    /// A `kvd` on the test's database, to be given more settings.
    #[must_use]
    pub fn kvd(&self) -> Start {
        self.kvd_on(&self.0.database)
    }

    /// A `kvd` on another database.
    #[must_use]
    pub fn kvd_on(&self, database: &Database) -> Start {
        Start::on(&self.0.processes, &self.0.directory, database)
    }

    /// A `kvd` with no setting at all.
    #[must_use]
    pub fn kvd_bare(&self) -> Start {
        Start::bare(&self.0.processes, &self.0.directory)
    }

    /// A `kvctl` on the test's database.
    #[must_use]
    pub fn kvctl<const N: usize>(&self, args: [&str; N]) -> Kvctl {
        self.kvctl_on(&self.0.database, args)
    }

    /// A `kvctl` on another database.
    #[must_use]
    pub fn kvctl_on<const N: usize>(&self, database: &Database, args: [&str; N]) -> Kvctl {
        kvctl::on(&database.url())
            .directory(&self.0.directory)
            .args(args)
    }

    /// A new token of `kvctl token create` with these words: its name, and what it allows.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub async fn token<const N: usize>(&self, words: [&str; N]) -> String {
        let created = self.kvctl(["token", "create"]).args(words).await.expect(0);
        created.text().trim_end().to_owned()
    }

    /// A `kvctl` with no setting at all.
    #[must_use]
    pub fn kvctl_bare<const N: usize>(&self, args: [&str; N]) -> Kvctl {
        kvctl::bare().directory(&self.0.directory).args(args)
    }

    /// Random numbers whose seed is told when the test fails; `KVD_TEST_SEED` repeats it.
    #[must_use]
    pub fn random(&self) -> fastrand::Rng {
        let given = std::env::var("KVD_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| fastrand::u64(..));
        self.note(format!("to repeat it: KVD_TEST_SEED={seed}"));
        fastrand::Rng::with_seed(seed)
    }

    /// Something to know when the test fails.
    pub fn note(&self, note: String) {
        lock(&self.0.notes).push(note);
    }

    /// Stops and removes everything; what went wrong meanwhile.
    pub(crate) async fn finish(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for process in self.0.processes.all() {
            wrong.extend(process.finish().await.err());
        }
        wrong.extend(secrets::told_by_files(&self.0.directory));
        self.0.database.remove().await;
        let extra = lock(&self.0.extra).clone();
        for database in extra {
            database.remove().await;
        }
        // Whatever remains goes with the suite's directory.
        let _removed = fs::remove_dir_all(&self.0.directory);
        wrong
    }

    /// Notes and logs, for the report of a failure.
    pub(crate) fn story(&self) -> String {
        let mut story = lock(&self.0.notes).join("\n");
        for process in self.0.processes.all() {
            let log = process.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(40)..];
            story.push_str("\n--- log of kvd\n");
            story.push_str(&last.join("\n"));
        }
        story
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
