//! Programs started by the tests: found, started so that none outlives the suite, and stopped.

use std::{
    env, fs, io,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::OnceLock,
    time::Duration,
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

use crate::pace::{PATIENCE, Stopwatch};

/// What a program that ran to its end has left.
#[derive(Debug)]
pub struct Output {
    /// The exit code, or minus the number of the signal that ended it.
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Output {
    /// `stdout` as text.
    ///
    /// # Panics
    ///
    /// If it is not UTF-8.
    #[track_caller]
    #[must_use]
    pub fn text(&self) -> &str {
        str::from_utf8(&self.stdout).expect("stdout is UTF-8")
    }

    /// Itself, if it ended with this exit code.
    ///
    /// # Panics
    ///
    /// If it ended otherwise.
    #[track_caller]
    #[must_use]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            code,
            "exit code {} instead of {code}\nstdout: {}\nstderr: {}",
            self.code,
            String::from_utf8_lossy(&self.stdout),
            self.stderr
        );
        self
    }
}

/// The exit code, or minus the number of the signal.
#[must_use]
pub fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| -status.signal().unwrap_or_default())
}

/// The first of these directories, or of `PATH`, that holds the program.
#[must_use]
pub fn find(program: &str, more: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(more.iter().map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// A command with an empty environment (but `PATH`) that gets `on_death` when the thread that starts it ends, so that
/// nothing survives a suite that was killed. Only Linux can do that; elsewhere an orderly end has to do.
#[must_use]
pub fn command(program: &Path, on_death: Signal) -> Command {
    let mut command = match setpriv() {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            let signal = on_death.as_str().trim_start_matches("SIG");
            command.arg(format!("--pdeathsig={signal}"));
            command.arg("--").arg(program);
            command
        }
        None => Command::new(program),
    };
    command.env_clear().stdin(Stdio::null());
    if let Some(path) = env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// `setpriv` of util-linux, if there is one that knows the option (BusyBox's does not).
fn setpriv() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let path = find("setpriv", &["/usr/bin"])?;
            let works = Command::new(&path)
                .args(["--pdeathsig=KILL", "--", "true"])
                .stderr(Stdio::null())
                .status();
            works.is_ok_and(|status| status.success()).then_some(path)
        })
        .as_deref()
}

/// Runs an installed program to its end.
///
/// # Panics
///
/// If it is not installed.
#[must_use]
pub fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|e| panic!("{program}: {e}"));
    Output {
        code: code(output.status),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Sends a signal; a process that is gone already is fine.
pub fn send(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        // ESRCH, the only error possible here, is the outcome wanted.
        let _gone = signal::kill(Pid::from_raw(pid), signal);
    }
}

/// Waits for `probe` to give something, asking every 20 ms.
///
/// # Errors
///
/// The last thing `probe` complained about, after [`PATIENCE`].
pub fn wait_for<T>(mut probe: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let watch = Stopwatch::start();
    loop {
        match probe() {
            Ok(found) => return Ok(found),
            Err(reason) if watch.elapsed() > PATIENCE => return Err(reason),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// A port on which no program listens just now.
///
/// # Errors
///
/// If the loopback address cannot be bound at all.
pub fn free_port() -> io::Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}

/// A port on which no program listens, outside the range of those the kernel gives away: it stays free while its server
/// is down.
/// From that range, a client of a server that is down could even be connected to itself.
///
/// # Errors
///
/// If no such port can be bound.
pub fn lasting_port() -> io::Result<u16> {
    // Below the range of Linux (32768) and of the others (49152).
    let mut ports = std::iter::repeat_with(|| fastrand::u16(20_000..32_000)).take(100);
    ports
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .ok_or_else(|| io::ErrorKind::AddrInUse.into())
}

/// The processes that this one has started, if the system tells (Linux).
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut children: Vec<u32> = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|child| number(*child, PARENT) == Some(u64::from(pid)))
        .collect();
    children.sort_unstable();
    children
}

/// Whether this process runs, or at least is stopped; not if it only waits for its parent to take notice of its end.
#[must_use]
pub fn lives(pid: u32) -> bool {
    stat(pid, STATE).is_some_and(|state| !matches!(state.as_str(), "Z" | "X"))
}

/// The time this process has spent on the processors, if the system tells (Linux).
#[must_use]
pub fn cpu_time(pid: u32) -> Option<Duration> {
    let ticks = number(pid, USER_TIME)? + number(pid, SYSTEM_TIME)?;
    // `USER_HZ` is 100 everywhere.
    Some(Duration::from_millis(ticks * 10))
}

/// The memory this process holds, in bytes, if the system tells (Linux).
#[must_use]
pub fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// Fields of `/proc/PID/stat`, counted from the one after the name: see proc(5).
const STATE: usize = 0;
const PARENT: usize = 1;
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;

fn number(pid: u32, field: usize) -> Option<u64> {
    stat(pid, field)?.parse().ok()
}

fn stat(pid: u32, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, also parentheses.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(field).map(str::to_owned)
}
