//! A private PostgreSQL.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use nix::sys::signal::Signal;

use crate::{
    process::{command, find},
    server::private::{Private, Purpose, password, run, run_as, spawn, unprivileged, write},
};

/// Makes a cluster below `directory` and starts it.
///
/// Its defaults are as unlike what kvd needs as they can be, so that only what the schema says itself counts:
/// a linguistic collation, and a time zone far from UTC.
pub(super) fn start(
    directory: &Path,
    port: u16,
    purpose: Purpose,
) -> Result<(String, Private), String> {
    let programs = programs().ok_or(
        "cannot test postgres: no PostgreSQL server (initdb, postgres) found; \
         install it (Debian, Ubuntu: apt-get install postgresql) or leave it out with ./test --engine",
    )?;
    let user = unprivileged("postgres")?;
    let password = password();
    let password_file = directory.join("password");
    write(user.as_ref(), &password_file, &password)?;

    let data = directory.join("data");
    let mut initdb = command(&programs.join("initdb"), Signal::SIGKILL);
    initdb
        .arg("-D")
        .arg(&data)
        .arg("--pwfile")
        .arg(&password_file);
    initdb.args(["-U", "kvd", "-E", "UTF8", "--locale=C", "--no-sync"]);
    initdb.args(["--locale-provider=icu", "--icu-locale=en-US"]);
    // Not SCRAM: its thousands of rounds would cost an unoptimised kvd more than the test itself. The socket
    // is in a directory that only its user and the superuser can reach.
    initdb.args(["--auth-host=password", "--auth-local=peer"]);
    run_as(user.as_ref(), directory, &mut initdb)?;
    run(initdb, "initdb")?;

    let mut postgres = command(&programs.join("postgres"), Signal::SIGQUIT);
    postgres
        .arg("-D")
        .arg(&data)
        .args(["-p", &port.to_string()]);
    configure(&mut postgres, directory, purpose);
    run_as(user.as_ref(), directory, &mut postgres)?;
    let url = format!("postgres://kvd:{password}@127.0.0.1:{port}/postgres");
    let private = spawn(postgres, directory.join("log"), Signal::SIGQUIT)?;
    Ok((url, private))
}

fn configure(postgres: &mut Command, directory: &Path, purpose: Purpose) {
    let sockets = format!("unix_socket_directories={}", directory.display());
    for setting in [
        "listen_addresses=127.0.0.1",
        &sockets,
        "max_connections=300",
        "timezone=Asia/Kathmandu",
    ] {
        postgres.args(["-c", setting]);
    }
    if purpose == Purpose::Sharing {
        postgres.args(["-c", "fsync=off", "-c", "full_page_writes=off"]);
    }
}

/// The directory of `initdb` and `postgres`: by `PATH`, else Debian's newest, which it keeps out of the path.
fn programs() -> Option<PathBuf> {
    if let (Some(initdb), Some(_)) = (find("initdb", &[]), find("postgres", &[])) {
        return initdb.parent().map(Path::to_owned);
    }
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    versions
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|version| {
            bin(*version).join("initdb").is_file() && bin(*version).join("postgres").is_file()
        })
        .max()
        .map(bin)
}

fn bin(version: u32) -> PathBuf {
    PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))
}
