//! Database servers: private throw-away ones, or those of one's own.

mod faults;
mod mariadb;
mod postgres;

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::Mutex,
};

use nix::{
    sys::signal::Signal,
    unistd::{Uid, User},
};
use reqwest::Url;
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, DbErr, Statement};

use crate::{
    engine::{Choice, Engine},
    pace::{PATIENCE, Stopwatch, stretched},
    process::{self, wait_for},
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

/// What a private server is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Many tests at a time: as fast as can be, with nothing to lose.
    Sharing,
    /// Tests that break it, one at a time: durable, and on a port that nobody takes while it is down.
    Breaking,
}

/// A server of ours.
pub(crate) struct Private {
    /// To start it once more.
    command: Command,
    pub(crate) child: Child,
    /// The signal on which it ends at once; its data is thrown away.
    stop: Signal,
    log: PathBuf,
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

    /// Runs a statement as the one who may create databases. Nothing to do on SQLite.
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

type Start = fn(&Path, u16, Purpose) -> Result<(String, Private), String>;

/// Makes the directory, gives it to the unprivileged user, and starts the server on a free port.
fn start(
    start: Start,
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

/// The database servers refuse to run as root: then one of these users runs them.
pub(crate) fn unprivileged(preferred: &str) -> Result<Option<User>, String> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    [preferred, "nobody"]
        .iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .map(Some)
        .ok_or_else(|| format!("neither a user '{preferred}' nor 'nobody' to run the server as"))
}

/// Lets `user` own `directory` and run `command`.
pub(crate) fn run_as(
    user: Option<&User>,
    directory: &Path,
    command: &mut Command,
) -> Result<(), String> {
    use std::os::unix::process::CommandExt;

    command.current_dir(directory);
    let Some(user) = user else { return Ok(()) };
    command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    chown(directory, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
        .and_then(|()| fs::set_permissions(directory, fs::Permissions::from_mode(0o700)))
        .map_err(|e| format!("{}: {e}", directory.display()))
}

/// Writes a file into the server's directory that only the server's user can read.
pub(crate) fn write(user: Option<&User>, file: &Path, content: &str) -> Result<(), String> {
    let owner = user.map(|user| user.uid.as_raw());
    fs::write(file, content)
        .and_then(|()| chown(file, owner, None))
        .and_then(|()| fs::set_permissions(file, fs::Permissions::from_mode(0o600)))
        .map_err(|e| format!("{}: {e}", file.display()))
}

/// Others on this machine must not get in, not even while a test runs.
fn password() -> String {
    std::iter::repeat_with(fastrand::alphanumeric)
        .take(20)
        .collect()
}

/// Starts the server itself; its output goes to `log`.
pub(crate) fn spawn(mut command: Command, log: PathBuf, stop: Signal) -> Result<Private, String> {
    let fail = |e: std::io::Error| format!("{}: {e}", log.display());
    let file = File::create(&log).map_err(fail)?;
    let child = command
        .stdout(file.try_clone().map_err(fail)?)
        .stderr(file)
        .spawn()
        .map_err(|e| format!("{:?}: {e}", command.get_program()))?;
    Ok(Private {
        command,
        child,
        stop,
        log,
    })
}

/// Runs a set-up command to its end.
fn run(mut command: Command, what: &str) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{what}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{what}: {}", String::from_utf8_lossy(&said).trim()))
}

fn tail(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}
