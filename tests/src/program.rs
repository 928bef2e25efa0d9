//! A program of others, such as a proxy, that runs for one test and ends with it.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Child,
    sync::atomic::{AtomicU32, Ordering},
};

use nix::sys::signal::Signal;

use crate::{
    env::Env,
    process::{self, command, find, wait_for},
    server::private,
};

/// Debian keeps servers out of an ordinary user's path.
const SBIN: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// How to start it.
pub struct Program {
    name: &'static str,
    directory: PathBuf,
    files: Vec<(String, String)>,
}

impl Program {
    /// With a directory of its own below the test's.
    #[must_use]
    pub fn new(env: &Env, name: &'static str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self {
            name,
            directory: env.directory().join(format!("{name}-{number}")),
            files: Vec::new(),
        }
    }

    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The path of a file in its directory.
    #[must_use]
    pub fn path(&self, file: &str) -> String {
        self.directory.join(file).display().to_string()
    }

    /// A file of its directory that only its user can read.
    #[must_use]
    pub fn file(mut self, name: &str, content: impl Into<String>) -> Self {
        self.files.push((name.to_owned(), content.into()));
        self
    }

    /// Starts it in its directory, if the tests are root's as `user`, and waits until it listens.
    ///
    /// # Panics
    ///
    /// If it is not installed, or ends, or does not listen.
    #[must_use]
    pub fn start<const N: usize>(
        self,
        user: &str,
        arguments: [&str; N],
        listens: SocketAddr,
    ) -> RunningProgram {
        let name = self.name;
        let program = find(name, &SBIN);
        let program =
            program.unwrap_or_else(|| panic!("{name} is missing (apt-get install {name})"));
        let user = private::unprivileged(user).unwrap_or_else(|e| panic!("{e}"));
        let user = user.as_ref();
        let mut command = command(&program, Signal::SIGKILL);
        command.args(arguments);
        let prepared = fs::create_dir_all(&self.directory)
            .map_err(|e| e.to_string())
            .and_then(|()| private::run_as(user, &self.directory, &mut command))
            .and_then(|()| {
                let mut files = self.files.iter();
                files.try_for_each(|(name, content)| {
                    private::write(user, &self.directory.join(name), content)
                })
            });
        prepared.unwrap_or_else(|e| panic!("{name}: {e}"));
        let log = self.directory.join("log");
        let started = private::spawn(command, log.clone(), Signal::SIGTERM);
        let child = started.unwrap_or_else(|e| panic!("{name}: {e}")).child;
        let mut running = RunningProgram { child, log };
        let waited = wait_for(|| match running.child.try_wait() {
            Ok(None) => TcpStream::connect(listens).map_err(|e| e.to_string()),
            _ => panic!("{name} ended: {}", running.log()),
        });
        waited.unwrap_or_else(|e| panic!("{name} does not listen: {e}: {}", running.log()));
        running
    }
}

/// It ends when this is dropped.
pub struct RunningProgram {
    child: Child,
    log: PathBuf,
}

impl RunningProgram {
    /// What it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for RunningProgram {
    fn drop(&mut self) {
        process::send(self.child.id(), Signal::SIGTERM);
        let ended = wait_for(|| match self.child.try_wait() {
            Ok(Some(_)) => Ok(()),
            _ => Err(String::new()),
        });
        if ended.is_err() {
            // It had a minute. Neither call can do anything about a failure.
            let _killed = self.child.kill();
            let _reaped = self.child.wait();
        }
    }
}
