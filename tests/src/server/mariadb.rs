//! A private MariaDB.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use nix::{sys::signal::Signal, unistd::User};

use crate::{
    process::{command, find},
    server::private::{Private, Purpose, password, run, run_as, spawn, unprivileged, write},
};

/// Debian keeps the server out of an ordinary user's path.
const SBIN: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// Makes a data directory below `directory` and starts a server on it.
///
/// `--no-defaults` leaves MariaDB's own latin1, case-insensitive and blind to trailing spaces, and the time zone is
/// far from UTC: only what the schema says itself counts.
pub(super) fn start(
    directory: &Path,
    port: u16,
    purpose: Purpose,
) -> Result<(String, Private), String> {
    let (install, server) = programs().ok_or(
        "cannot test mariadb: no MariaDB server (mariadbd, mariadb-install-db) found; \
         install it (Debian, Ubuntu: apt-get install mariadb-server-core mariadb-client-core), \
         name a server with --mysql URL, or leave it out with ./test --engine",
    )?;
    let user = unprivileged("mysql")?;
    let mut initialise = in_directory(&install, directory, user.as_ref())?;
    initialise.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
    run(initialise, "mariadb-install-db")?;

    let password = password();
    let init = directory.join("init.sql");
    // Run at every start of the server.
    let sql = format!(
        "CREATE USER IF NOT EXISTS kvd@'127.0.0.1' IDENTIFIED BY '{password}';\n\
         GRANT ALL ON *.* TO kvd@'127.0.0.1' WITH GRANT OPTION;\n\
         DROP USER IF EXISTS root@'127.0.0.1', root@'::1';\n\
         ALTER USER root@localhost IDENTIFIED BY '{password}';\n"
    );
    write(user.as_ref(), &init, &sql)?;

    let mut mariadbd = in_directory(&server, directory, user.as_ref())?;
    configure(&mut mariadbd, port, purpose);
    mariadbd.arg(format!("--init-file={}", init.display()));
    let url = format!("mysql://kvd:{password}@127.0.0.1:{port}/mysql");
    let private = spawn(mariadbd, directory.join("log"), Signal::SIGKILL)?;
    Ok((url, private))
}

fn configure(mariadbd: &mut Command, port: u16, purpose: Purpose) {
    mariadbd.arg(format!("--port={port}"));
    mariadbd.args([
        "--bind-address=127.0.0.1",
        "--skip-name-resolve",
        "--max-connections=300",
        "--default-time-zone=+05:45",
    ]);
    if purpose == Purpose::Sharing {
        mariadbd.arg("--innodb-flush-log-at-trx-commit=0");
    }
}

fn programs() -> Option<(PathBuf, PathBuf)> {
    Some((find("mariadb-install-db", &[])?, find("mariadbd", &SBIN)?))
}

/// A command of MariaDB's that touches nothing outside `directory`.
fn in_directory(program: &Path, directory: &Path, user: Option<&User>) -> Result<Command, String> {
    let mut command = command(program, Signal::SIGKILL);
    command.arg("--no-defaults");
    command.arg(format!("--datadir={}", directory.join("data").display()));
    command.arg(format!("--socket={}", directory.join("socket").display()));
    command.arg(format!("--pid-file={}", directory.join("pid").display()));
    // A starting server deletes what look like its own temporary files, also those of another one.
    command.arg(format!("--tmpdir={}", directory.display()));
    run_as(user, directory, &mut command)?;
    Ok(command)
}
