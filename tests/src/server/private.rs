//! A private database server: its process, and what is needed to start it.

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command},
};

use nix::{
    sys::signal::Signal,
    unistd::{Uid, User},
};

/// What a private server is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Many tests at a time: as fast as can be, with nothing to lose.
    Sharing,
    /// Tests that break it, one at a time: durable, and on a port that stays free while it is down.
    Breaking,
}

/// A server of ours.
pub(crate) struct Private {
    /// To start it once more.
    pub(super) command: Command,
    pub(crate) child: Child,
    /// The signal on which it ends at once; its data is thrown away.
    pub(super) stop: Signal,
    pub(super) log: PathBuf,
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
pub(super) fn password() -> String {
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
pub(super) fn run(mut command: Command, what: &str) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{what}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{what}: {}", String::from_utf8_lossy(&said).trim()))
}

pub(super) fn tail(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}
