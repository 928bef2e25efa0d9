//! A database of its own for each test.

use std::{
    fs, io,
    path::Path,
    process::id,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use sea_orm::{ConnectionTrait, DatabaseConnection, Statement, TryGetable};
use tokio::sync::OnceCell;

use crate::{
    engine::Engine,
    kvctl,
    server::{Server, connect},
};

/// A database that only one test uses.
pub struct Database {
    server: Arc<Server>,
    name: String,
    connection: OnceCell<DatabaseConnection>,
}

/// Prepares what migrated databases are copied from, where the engine can copy one.
///
/// # Errors
///
/// If it cannot be created or migrated.
pub async fn prepare_template(server: &Arc<Server>) -> Result<(), String> {
    match server.engine {
        Engine::Mysql => Ok(()),
        Engine::Postgres | Engine::Sqlite => create_migrated(server, &template()).await,
    }
}

/// Removes the template again, for a server of one's own.
pub async fn remove_template(server: &Arc<Server>) {
    let sql = format!("DROP DATABASE IF EXISTS {}", template());
    // Best effort: private servers are thrown away, and on others the name says whose it was.
    let _dropped = server.administrate(&sql).await;
}

fn template() -> String {
    format!("kvd_test_{}_template", id())
}

async fn create(server: &Server, name: &str) -> Result<(), String> {
    let sql = format!("CREATE DATABASE {name}");
    server
        .administrate(&sql)
        .await
        .map_err(|e| format!("{sql}: {e}"))
}

async fn create_migrated(server: &Server, name: &str) -> Result<(), String> {
    create(server, name).await?;
    let output = kvctl::on(&server.url(name)).args(["migrate"]).await;
    match output.code {
        0 => Ok(()),
        code => Err(format!(
            "kvctl migrate ended with {code}: {}",
            output.stderr.trim()
        )),
    }
}

/// Copies a database that no program has open: its file, and its log if the last program to close it left one.
fn copy_file(directory: &Path, from: &str, to: &str) -> io::Result<()> {
    fs::copy(directory.join(from), directory.join(to))?;
    let log = directory.join(format!("{from}-wal"));
    if log.exists() {
        fs::copy(log, directory.join(format!("{to}-wal")))?;
    }
    Ok(())
}

impl Database {
    fn named(server: &Arc<Server>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self {
            server: Arc::clone(server),
            name: format!("kvd_test_{}_{number}", id()),
            connection: OnceCell::new(),
        }
    }

    /// A database without any table.
    ///
    /// # Errors
    ///
    /// As the server says.
    pub async fn empty(server: &Arc<Server>) -> Result<Self, String> {
        let database = Self::named(server);
        create(server, &database.name).await?;
        Ok(database)
    }

    /// A database as `kvctl migrate` leaves it.
    ///
    /// # Errors
    ///
    /// As the server or kvctl says.
    pub async fn migrated(server: &Arc<Server>) -> Result<Self, String> {
        let database = Self::named(server);
        let name = &database.name;
        match server.engine {
            Engine::Mysql => create_migrated(server, name).await?,
            Engine::Postgres => {
                let sql = format!("CREATE DATABASE {name} TEMPLATE {}", template());
                server
                    .administrate(&sql)
                    .await
                    .map_err(|e| format!("{sql}: {e}"))?;
            }
            Engine::Sqlite => {
                let directory = server.directory().ok_or("SQLite has a directory")?;
                copy_file(directory, &template(), name)
                    .map_err(|e| format!("copying the template: {e}"))?;
            }
        }
        Ok(database)
    }

    #[must_use]
    pub fn engine(&self) -> Engine {
        self.server.engine
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As for `DATABASE_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// A connection of the test's own, past kvd.
    ///
    /// # Panics
    ///
    /// If the database cannot be reached.
    pub async fn connection(&self) -> &DatabaseConnection {
        self.connection
            .get_or_init(|| async {
                connect(&self.url())
                    .await
                    .expect("the test's database can be reached")
            })
            .await
    }

    /// Runs SQL past kvd.
    ///
    /// # Panics
    ///
    /// If the database refuses it.
    pub async fn execute(&self, sql: &str) -> u64 {
        match self.connection().await.execute_unprepared(sql).await {
            Ok(result) => result.rows_affected(),
            Err(e) => panic!("{sql}: {e}"),
        }
    }

    /// The first column of all rows.
    ///
    /// # Panics
    ///
    /// If the database refuses it, or the column is of another type.
    pub async fn column<T: TryGetable>(&self, sql: &str) -> Vec<T> {
        let connection = self.connection().await;
        let statement = Statement::from_string(connection.get_database_backend(), sql);
        match connection.query_all_raw(statement).await {
            Ok(rows) => rows
                .iter()
                .map(|row| row.try_get_by_index(0).expect("a column of this type"))
                .collect(),
            Err(e) => panic!("{sql}: {e}"),
        }
    }

    /// The only value of the only row.
    ///
    /// # Panics
    ///
    /// As [`Self::column`], and if there is not exactly one row.
    pub async fn value<T: TryGetable>(&self, sql: &str) -> T {
        let mut rows = self.column(sql).await;
        assert_eq!(rows.len(), 1, "rows of {sql}");
        rows.remove(0)
    }

    /// Throws it away; best effort, since the server or the directory may go anyway.
    pub async fn remove(&self) {
        if let Some(connection) = self.connection.get() {
            let _closed = connection.close_by_ref().await;
        }
        let name = &self.name;
        let _removed = match self.server.engine {
            Engine::Postgres => {
                let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                self.server.administrate(&sql).await.is_ok()
            }
            Engine::Mysql => {
                let sql = format!("DROP DATABASE IF EXISTS {name}");
                self.server.administrate(&sql).await.is_ok()
            }
            Engine::Sqlite => self.server.directory().is_some_and(|directory| {
                ["", "-wal", "-shm"].iter().all(|end| {
                    fs::remove_file(directory.join(format!("{name}{end}"))).is_ok()
                        || !end.is_empty()
                })
            }),
        };
    }
}
