//! The real `kvctl`, run to its end.

use std::{
    future::{Future, IntoFuture},
    path::Path,
    pin::Pin,
    process::{ExitStatus, Stdio},
};

use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    time::timeout,
};

use crate::process::{self, Output, PATIENCE, binary};

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
    let mut command = Command::from(process::command(&program, Signal::SIGKILL));
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

    async fn run(mut self) -> Output {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("kvctl starts");
        let mut input = child.stdin.take().expect("stdin is piped");
        let mut output = child.stdout.take().expect("stdout is piped");
        let mut errors = child.stderr.take().expect("stderr is piped");
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let feed = async {
            // A kvctl that does not read to the end closes the pipe: its exit code tells whether it should have.
            let _broken_pipe = input.write_all(&self.stdin).await;
            drop(input);
        };
        let all = async {
            let (_, out, err) = tokio::join!(
                feed,
                output.read_to_end(&mut stdout),
                errors.read_to_end(&mut stderr)
            );
            out.and(err).expect("the pipes can be read");
            child.wait().await.expect("kvctl can be waited for")
        };
        let status: ExitStatus = timeout(PATIENCE, all).await.expect("kvctl comes to an end");
        Output {
            code: process::code(status),
            stdout,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }
}

impl IntoFuture for Kvctl {
    type Output = Output;
    type IntoFuture = Pin<Box<dyn Future<Output = Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
