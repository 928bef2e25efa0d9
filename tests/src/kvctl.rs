//! The real `kvctl`.

use std::{
    future::{Future, IntoFuture},
    path::Path,
    pin::Pin,
    process::Stdio,
};

use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, Command},
    task::JoinHandle,
};

use crate::{
    binaries::binary,
    pace::{PATIENCE, timeout},
    process::{self, Output},
    secrets::{assert_no_password, assert_no_secret},
    server::private,
};

/// A call of `kvctl`; `.await` runs it.
pub struct Kvctl {
    command: Command,
    stdin: Vec<u8>,
}

/// `kvctl` with `DATABASE_URL` set.
#[must_use]
pub fn on(url: &str) -> Kvctl {
    bare().env("DATABASE_URL", url)
}

/// `kvctl` with nothing in its environment but `PATH`.
///
/// # Panics
///
/// If it is not built; the suite has looked before.
#[must_use]
pub fn bare() -> Kvctl {
    let program = binary("kvctl").unwrap_or_else(|e| panic!("{e}"));
    run(&program)
}

/// The same as a user whom permissions bind, if the tests are the superuser's: a copy in this directory, since
/// not everybody may reach the one that was built.
///
/// # Panics
///
/// If there is no such user, or no room for the copy.
#[must_use]
pub fn unprivileged(directory: &Path) -> Kvctl {
    let program = binary("kvctl").unwrap_or_else(|e| panic!("{e}"));
    let copy = directory.join("kvctl");
    std::fs::copy(program, &copy).expect("a copy of kvctl");
    let mut kvctl = run(&copy);
    let user = private::unprivileged("nobody").unwrap_or_else(|e| panic!("{e}"));
    if let Some(user) = user {
        let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
        kvctl.command.uid(uid).gid(gid);
    }
    kvctl.directory(Path::new("/"))
}

fn run(program: &Path) -> Kvctl {
    let mut command = Command::from(process::command(program, Signal::SIGKILL));
    command.kill_on_drop(true);
    Kvctl {
        command,
        stdin: Vec::new(),
    }
}

impl Kvctl {
    #[must_use]
    pub fn args<A: AsRef<std::ffi::OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    #[must_use]
    pub fn directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// What it reads; nothing if not given.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Runs it with a standard output that is closed at the other end.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub async fn nobody_reads(mut self) -> Output {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        self.command
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped());
        let child = self.command.spawn().expect("kvctl starts");
        // It has the only copy of the pipe's end.
        drop(self.command);
        let ended = timeout(PATIENCE, child.wait_with_output()).await;
        let ended = ended.expect("in time").expect("kvctl can be waited for");
        Output {
            code: process::code(ended.status),
            stdout: ended.stdout,
            stderr: String::from_utf8_lossy(&ended.stderr).into_owned(),
        }
    }

    /// Starts it and leaves its standard input open.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    #[must_use]
    pub fn spawn(mut self) -> RunningKvctl {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("kvctl starts");
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        RunningKvctl {
            child,
            stdin,
            stdout: tokio::spawn(read_all(stdout)),
            stderr: tokio::spawn(read_all(stderr)),
        }
    }

    /// Its program, arguments and environment, and what it reads: to be run in another way.
    pub(crate) fn into_parts(self) -> (Command, Vec<u8>) {
        (self.command, self.stdin)
    }

    async fn run(mut self) -> Output {
        let stdin = std::mem::take(&mut self.stdin);
        let mut running = self.spawn();
        running.send(&stdin).await;
        running.end().await
    }
}

async fn read_all(mut pipe: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes)
        .await
        .expect("the pipe can be read");
    bytes
}

/// A `kvctl` that runs.
pub struct RunningKvctl {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
}

impl RunningKvctl {
    /// Writes to its standard input.
    pub async fn send(&mut self, bytes: &[u8]) {
        if let Some(stdin) = &mut self.stdin {
            // A kvctl that does not read to the end closes the pipe: its exit code tells whether it should have.
            let _broken_pipe = timeout(PATIENCE, stdin.write_all(bytes)).await;
        }
    }

    /// Closes its standard input.
    pub fn close(&mut self) {
        self.stdin = None;
    }

    /// # Panics
    ///
    /// If it has ended and been waited for.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it was not waited for")
    }

    pub fn signal(&self, signal: Signal) {
        process::send(self.pid(), signal);
    }

    /// Closes its standard input and waits for its end.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub async fn end(mut self) -> Output {
        drop(self.stdin.take());
        self.ended().await
    }

    /// Waits for its end with its standard input open.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub async fn ended(mut self) -> Output {
        let all = async {
            let status = self.child.wait().await.expect("kvctl can be waited for");
            let stdout = self.stdout.await.expect("stdout is read");
            let stderr = self.stderr.await.expect("stderr is read");
            Output {
                code: process::code(status),
                stdout,
                stderr: String::from_utf8_lossy(&stderr).into_owned(),
            }
        };
        let output = timeout(PATIENCE, all).await.expect("kvctl comes to an end");
        assert_no_secret("stderr of kvctl", &output.stderr);
        // A new token is printed once.
        assert_no_password("kvctl", &String::from_utf8_lossy(&output.stdout));
        output
    }
}

impl IntoFuture for Kvctl {
    type Output = Output;
    type IntoFuture = Pin<Box<dyn Future<Output = Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
