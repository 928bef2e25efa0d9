//! Database servers: private throw-away ones, or those of one's own.

mod faults;

mod mariadb;

mod postgres;
pub(crate) mod private;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use reqwest::Url;
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, DbErr, Statement};

pub use self::private::Purpose;
use crate::{
    engine::{Choice, Engine},
    pace::{PATIENCE, Stopwatch, stretched},
    process::{self, wait_for},
    secrets,
    server::private::{Private, tail},
};

/// A server ready for [`crate::database`] to make databases on.
pub struct Server {
    pub engine: Engine,
    /// As for the closing line: `PostgreSQL 15.18`.
    pub version: String,
    /// Where one may create databases; for SQLite the directory that will hold the files.
    place: Place,
    process: Mutex<Option<Private>>,
}

enum Place {
    Server { url: Url, admin: DatabaseConnection },
    Directory(PathBuf),
}

impl Server {
    /// Connects to the chosen server, or starts a private one that keeps everything below `directory`.
    ///
    /// # Errors
    ///
    /// One line that says what to install or to correct.
    pub async fn open(choice: &Choice, directory: &Path, purpose: Purpose) -> Result<Self, String> {
        let directory = directory.join(choice.name);
        let (url, private) = match (&choice.url, choice.engine) {
            (Some(url), _) => (url.clone(), None),
            (None, Engine::Postgres) => start(postgres::start, &directory, purpose)?,
            (None, Engine::Mysql) => start(mariadb::start, &directory, purpose)?,
            (None, Engine::Sqlite) => return Self::open_embedded(directory).await,
        };
        let process = Mutex::new(private);
        let url = Url::parse(&url).map_err(|e| format!("{}: bad URL: {e}", choice.name))?;
        secrets::keep(url.password().unwrap_or_default());
        let admin = connect_when_ready(&url, &process)
            .await
            .map_err(|e| format!("cannot test {}: {e}", choice.name))?;
        let version = version(choice.engine, &admin)
            .await
            .map_err(|e| format!("cannot test {}: {e}", choice.name))?;
        let place = Place::Server { url, admin };
        Ok(Self {
            engine: choice.engine,
            version,
            place,
            process,
        })
    }

    async fn open_embedded(directory: PathBuf) -> Result<Self, String> {
        let fail = |e: &dyn std::fmt::Display| format!("cannot test sqlite: {e}");
        fs::create_dir_all(&directory).map_err(|e| fail(&e))?;
        let memory = connect("sqlite::memory:").await.map_err(|e| fail(&e))?;
        let version = version(Engine::Sqlite, &memory)
            .await
            .map_err(|e| fail(&e))?;
        Ok(Self {
            engine: Engine::Sqlite,
            version,
            place: Place::Directory(directory),
            process: Mutex::new(None),
        })
    }

    /// The URL of a database by this name, whether it exists or not.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        match &self.place {
            Place::Directory(directory) => {
                format!("sqlite://{}?mode=rwc", directory.join(name).display())
            }
            Place::Server { url, .. } => {
                let mut url = url.clone();
                url.set_path(name);
                url.into()
            }
        }
    }

    /// Runs a statement as the user that may create databases. SQLite has none, and nothing to do.
    ///
    /// # Errors
    ///
    /// As the server says.
    pub async fn administrate(&self, sql: &str) -> Result<(), DbErr> {
        match &self.place {
            Place::Server { admin, .. } => admin.execute_unprepared(sql).await.map(drop),
            Place::Directory(_) => Ok(()),
        }
    }

    /// The directory of the files, on SQLite.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match &self.place {
            Place::Directory(directory) => Some(directory),
            Place::Server { .. } => None,
        }
    }

    /// Ends a private server; its directory goes with the suite's.
    pub fn stop(&self) {
        let Some(mut private) = self.process.lock().ok().and_then(|mut p| p.take()) else {
            return;
        };
        process::send(private.child.id(), private.stop);
        let ended = wait_for(|| match private.child.try_wait() {
            Ok(Some(_)) => Ok(()),
            _ => Err("still running".to_owned()),
        });
        if ended.is_err() {
            // It had a minute. Neither call can do anything about a failure.
            let _killed = private.child.kill();
            let _reaped = private.child.wait();
        }
    }
}

/// A pool of a few connections.
///
/// # Errors
///
/// As the server says.
pub async fn connect(url: &str) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(4)
        .acquire_timeout(stretched(PATIENCE))
        .sqlx_logging(false);
    sea_orm::Database::connect(options).await
}

type StartServer = fn(&Path, u16, Purpose) -> Result<(String, Private), String>;

/// Makes the directory, gives it to the unprivileged user, and starts the server on a free port.
fn start(
    start: StartServer,
    directory: &Path,
    purpose: Purpose,
) -> Result<(String, Option<Private>), String> {
    let port = match purpose {
        Purpose::Sharing => process::free_port(),
        Purpose::Breaking => process::lasting_port(),
    };
    let port = port.map_err(|e| format!("no loopback port: {e}"))?;
    fs::create_dir_all(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    start(directory, port, purpose).map(|(url, private)| (url, Some(private)))
}

/// Connects as soon as the server listens; gives up when its process ends.
async fn connect_when_ready(
    url: &Url,
    process: &Mutex<Option<Private>>,
) -> Result<DatabaseConnection, String> {
    let port = url.port();
    if let Some(private) = process.lock().map_err(|e| e.to_string())?.as_mut() {
        wait_for(|| match private.child.try_wait() {
            Ok(None) => std::net::TcpStream::connect(("127.0.0.1", port.unwrap_or_default()))
                .map(drop)
                .map_err(|e| format!("the server does not listen: {e}")),
            _ => Ok(()),
        })?;
        if let Ok(Some(status)) = private.child.try_wait() {
            return Err(format!(
                "the server ended ({status}): {}",
                tail(&private.log)
            ));
        }
    }
    let is_private = process.lock().map_err(|e| e.to_string())?.is_some();
    let watch = Stopwatch::start();
    loop {
        match connect(url.as_str()).await {
            Ok(connection) => return Ok(connection),
            Err(e) if !is_private || watch.elapsed() > PATIENCE => return Err(e.to_string()),
            // PostgreSQL listens before it is ready ("the database system is starting up").
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    }
}

async fn version(engine: Engine, on: &DatabaseConnection) -> Result<String, DbErr> {
    let sql = match engine {
        Engine::Postgres => "SELECT current_setting('server_version')",
        Engine::Mysql => "SELECT version()",
        Engine::Sqlite => "SELECT sqlite_version()",
    };
    let row = on
        .query_one_raw(Statement::from_string(on.get_database_backend(), sql))
        .await?;
    let full: String = row
        .ok_or_else(|| DbErr::Custom("no version".to_owned()))?
        .try_get_by_index(0)?;
    let number = full.split(['-', ' ']).next().unwrap_or(&full);
    Ok(match engine {
        Engine::Postgres => format!("PostgreSQL {number}"),
        Engine::Mysql if full.contains("MariaDB") => format!("MariaDB {number}"),
        Engine::Mysql => format!("MySQL {number}"),
        Engine::Sqlite => format!("SQLite {number} (embedded)"),
    })
}
