//! The real `kvd`: started, asked, stopped.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::SocketAddr,
    ops::Deref,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::process::{Child, Command};

use crate::{
    binaries::binary,
    client::Client,
    collected::Collected,
    database::Database,
    pace::{PATIENCE, stretched, timeout},
    process::{self, Output},
    secrets,
    wire::Wire,
};

/// What kvd gives a request by default.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A time as kvd's settings have it.
#[must_use]
pub fn setting(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

/// How to start a `kvd`. Everything is in the environment, so that `.arg` overrides it.
pub struct Start {
    processes: Processes,
    directory: PathBuf,
    args: Vec<OsString>,
    variables: BTreeMap<String, OsString>,
    /// What a shell does before it becomes kvd.
    prepared: Vec<String>,
    stderr: Option<Stdio>,
}

impl Start {
    /// With nothing set at all.
    pub(crate) fn bare(processes: &Processes, directory: &Path) -> Self {
        Self {
            processes: processes.clone(),
            directory: directory.to_owned(),
            args: Vec::new(),
            variables: BTreeMap::new(),
            prepared: Vec::new(),
            stderr: None,
        }
    }

    /// On this database and a free port, without a rate limit; on a slow machine with more time for a request.
    pub(crate) fn on(processes: &Processes, directory: &Path, database: &Database) -> Self {
        let start = Self::bare(processes, directory)
            .env("DATABASE_URL", database.url())
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .env("RATE_LIMIT", "0")
            // With a line for each request.
            .env("RUST_LOG", "info,api::observe=debug");
        match stretched(REQUEST_TIMEOUT) {
            REQUEST_TIMEOUT => start,
            longer => start.env("REQUEST_TIMEOUT", setting(longer)),
        }
    }

    /// A flag with a value.
    #[must_use]
    pub fn arg(self, flag: &str, value: impl Into<OsString>) -> Self {
        let mut start = self.flag(flag);
        start.args.push(value.into());
        start
    }

    /// A flag alone.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.args.push(flag.into());
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    #[must_use]
    pub fn without_env(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    /// It may have no more open files than this, whatever it tries.
    #[must_use]
    pub fn descriptors(self, limit: u64) -> Self {
        self.prepared(&format!("ulimit -n {limit}"))
    }

    /// A command of the shell that then becomes kvd, such as `umask 000`.
    #[must_use]
    pub fn prepared(mut self, command: &str) -> Self {
        self.prepared.push(command.to_owned());
        self
    }

    /// Where its log goes instead of to the test.
    #[must_use]
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stderr = Some(stderr.into());
        self
    }

    /// Another working directory than the test's own.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = directory.into();
        self
    }

    /// Starts it and waits until it listens. The test's end stops it with `SIGTERM`, and fails unless it then exits 0.
    ///
    /// # Panics
    ///
    /// If it does not get that far.
    pub async fn start(self) -> Kvd {
        let with_admin = self.variables.contains_key("ADMIN_LISTEN_ADDR")
            || self.args.iter().any(|arg| arg == "--admin-listen");
        let process = self.spawn();
        let address = process.address("listening on ").await;
        let admin = match with_admin {
            true => Some(process.address("admin listening on ").await),
            false => None,
        };
        Kvd {
            client: Client::new(address, None),
            admin,
            process,
        }
    }

    /// Runs it to its end: for everything that makes it refuse to start.
    pub async fn run(self) -> Output {
        self.spawn().end().await
    }

    fn spawn(self) -> Arc<Process> {
        let program = binary("kvd").unwrap_or_else(|e| panic!("{e}"));
        let mut command = match self.prepared.is_empty() {
            false => {
                let mut shell = process::command(Path::new("/bin/sh"), Signal::SIGKILL);
                let script = format!("{} && exec \"$0\" \"$@\"", self.prepared.join(" && "));
                shell.arg("-c").arg(script).arg(&program);
                Command::from(shell)
            }
            true => Command::from(process::command(&program, Signal::SIGKILL)),
        };
        command
            .args(self.args)
            .envs(self.variables)
            .current_dir(self.directory)
            .stdout(Stdio::piped())
            .stderr(self.stderr.unwrap_or_else(Stdio::piped))
            .kill_on_drop(true);
        let process = Arc::new(Process::new(command.spawn().expect("kvd starts")));
        self.processes.watch(&process);
        process
    }
}

/// Every `kvd` that a test has started.
#[derive(Clone, Default)]
pub(crate) struct Processes(Arc<Mutex<Vec<Arc<Process>>>>);

impl Processes {
    fn watch(&self, process: &Arc<Process>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::clone(process));
    }

    pub(crate) fn all(&self) -> Vec<Arc<Process>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.clone()
    }
}

/// A `kvd` that listens. Also the [`Client`] of its public address.
pub struct Kvd {
    client: Client,
    admin: Option<SocketAddr>,
    process: Arc<Process>,
}

impl Deref for Kvd {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Kvd {
    /// A client of `--admin-listen`.
    ///
    /// # Panics
    ///
    /// If it was started without.
    #[must_use]
    pub fn admin(&self) -> Client {
        Client::new(self.admin.expect("started with --admin-listen"), None)
    }

    /// A client with another address of this machine, such as `127.0.0.2`.
    #[must_use]
    pub fn client_at(&self, local: &str) -> Client {
        let local = local.parse().expect("an IP address");
        Client::new(self.client.address(), Some(local))
    }

    /// A bare socket to the public address.
    pub async fn wire(&self) -> Wire {
        Wire::connect(self.client.address()).await
    }

    /// A bare socket to the public address, from another address of this machine.
    ///
    /// # Panics
    ///
    /// If that is none.
    pub async fn wire_at(&self, local: &str) -> Wire {
        let local = local.parse().expect("an IP address");
        Wire::connect_from(local, self.client.address()).await
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// What it has printed on standard output, as soon as that holds this.
    pub async fn printed(&self, text: &str) -> String {
        self.process.stdout.wait(|out| out.contains(text)).await
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.stderr.text()
    }

    /// Waits until the log holds this.
    pub async fn logged(&self, text: &str) {
        self.process.stderr.wait(|log| log.contains(text)).await;
    }

    pub fn signal(&self, signal: Signal) {
        process::send(self.process.pid, signal);
    }

    /// Waits for its end, after a signal; from now on the exit code is the test's business.
    pub async fn end(&self) -> Output {
        self.process.end().await
    }

    /// `SIGTERM`, and what it has left.
    pub async fn stop(&self) -> Output {
        self.signal(Signal::SIGTERM);
        self.end().await
    }
}

/// A running `kvd`, its output collected.
pub(crate) struct Process {
    pid: u32,
    child: tokio::sync::Mutex<Child>,
    stdout: Collected,
    stderr: Collected,
    /// The exit code, once the process has been waited for.
    ended: Mutex<Option<i32>>,
}

impl Process {
    fn new(mut child: Child) -> Self {
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take();
        Self {
            pid: child.id().expect("it has not been waited for"),
            child: tokio::sync::Mutex::new(child),
            stdout: Collected::from(stdout),
            stderr: stderr.map_or_else(Collected::nothing, Collected::from),
            ended: Mutex::new(None),
        }
    }

    async fn address(&self, before: &str) -> SocketAddr {
        let line = |out: &str| {
            let line = out
                .split_inclusive('\n')
                .find(|line| line.starts_with(before))?;
            let (_, address) = line.trim().split_once("://")?;
            line.ends_with('\n').then(|| address.to_owned())
        };
        let found = self.stdout.wait(|out| line(out).is_some()).await;
        let Some(address) = line(&found) else {
            let output = self.end().await;
            panic!(
                "kvd ended with {} before it listened\n{}",
                output.code, output.stderr
            );
        };
        address
            .parse()
            .unwrap_or_else(|e| panic!("kvd listens on '{address}': {e}"))
    }

    async fn end(&self) -> Output {
        let mut child = self.child.lock().await;
        let status = match timeout(PATIENCE, child.wait()).await {
            Ok(status) => status.expect("kvd can be waited for"),
            Err(_) => {
                child.kill().await.expect("kvd can be killed");
                panic!(
                    "kvd was still running after {PATIENCE:?}\n{}",
                    self.stderr.text()
                );
            }
        };
        let code = process::code(status);
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(code);
        Output {
            code,
            stdout: self.stdout.all().await.into_bytes(),
            stderr: self.stderr.all().await,
        }
    }

    /// Stops it unless the test has; `Err` if it ended by itself, or not as it should.
    pub(crate) async fn finish(&self) -> Result<(), String> {
        let by_the_test = self
            .ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some();
        if !by_the_test {
            process::send(self.pid, Signal::SIGTERM);
            let code = self.end().await.code;
            if code != 0 {
                return Err(format!("after SIGTERM kvd ended with {code} instead of 0"));
            }
        }
        let said = [self.stdout.text(), self.stderr.text()].concat();
        if said.contains("panicked at") {
            return Err("kvd panicked".to_owned());
        }
        match secrets::told(&said) {
            true => Err("what kvd says tells a secret".to_owned()),
            false => Ok(()),
        }
    }

    pub(crate) fn log(&self) -> String {
        self.stderr.text()
    }
}
