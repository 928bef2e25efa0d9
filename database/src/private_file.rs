//! A file of SQLite that only its owner can read.

use std::{
    ffi::OsStr,
    fs::{self, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
};

/// What SQLite may have put beside the file while it was open. It gives what it makes later the mode of
/// the file.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// What group and others may do.
const OTHERS: u32 = 0o077;

/// Creates the file if there is none. All rights of group and others to it are taken away, also from a
/// file that has been there before.
///
/// # Errors
/// The file cannot be written, or belongs to another user.
pub fn make_private(file: impl AsRef<OsStr>) -> io::Result<()> {
    let file = file.as_ref();
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600).open(file)?;
    close_to_others(file)?;
    for companion in COMPANIONS {
        let mut name = file.to_owned();
        name.push(companion);
        match close_to_others(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done?,
        }
    }
    Ok(())
}

fn close_to_others(file: &OsStr) -> io::Result<()> {
    let mode = fs::metadata(file)?.permissions().mode();
    match mode & OTHERS {
        0 => Ok(()),
        _ => fs::set_permissions(file, Permissions::from_mode(mode & !OTHERS)),
    }
}
