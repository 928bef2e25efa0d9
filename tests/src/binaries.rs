//! The binaries under test.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

/// Builds what is tested, if it is cargo that runs the tests: `cargo test` does not build the binaries of other packages.
///
/// # Errors
///
/// If they cannot be built.
pub fn build() -> Result<(), String> {
    let Some(cargo) = env::var_os("CARGO") else {
        return Ok(());
    };
    let directory = directory()?;
    let mut build = Command::new(cargo);
    // Of the whole workspace, so that features are those of the test binary, and nothing is built twice.
    build.args(["build", "--workspace", "--bins", "--quiet"]);
    // Cargo has set them for this test. Build scripts that look at them (that of ring) would be run again, here and
    // at the next build by hand, and all that depends on them be compiled again.
    for (name, _) in env::vars_os() {
        let of_this_package =
            |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        if name.to_str().is_some_and(of_this_package) {
            build.env_remove(name);
        }
    }
    match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => {}
        Some(profile) => {
            build.args(["--profile", profile]);
        }
    }
    build.arg("--target-dir");
    build.arg(directory.parent().unwrap_or(Path::new(".")));
    match build.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("kvd and kvctl cannot be built: {status}")),
        Err(e) => Err(format!("cargo cannot be run: {e}")),
    }
}

/// `kvd` or `kvctl`, built beside this test binary.
///
/// # Errors
///
/// If it is missing, or older than its sources: testing yesterday's binary would prove nothing.
pub fn binary(name: &str) -> Result<PathBuf, String> {
    /// It is looked at once: while tests run the sources may be worked on.
    static FOUND: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = found.get(name) {
        return Ok(path.clone());
    }
    let path = look_for(name)?;
    found.insert(name.to_owned(), path.clone());
    Ok(path)
}

fn look_for(name: &str) -> Result<PathBuf, String> {
    let path = directory()?.join(name);
    let Ok(built) = path.metadata().and_then(|m| m.modified()) else {
        return Err(format!(
            "{} is missing; run: cargo build --workspace",
            path.display()
        ));
    };
    match newer_source(&path.with_extension("d"), built) {
        Some(source) => Err(format!(
            "{name} is older than {source}; run: cargo build --workspace"
        )),
        None => Ok(path),
    }
}

/// Where cargo puts the binaries: the test binary is `target/<profile>/deps/e2e-<hash>`.
fn directory() -> Result<PathBuf, String> {
    let test = env::current_exe().map_err(|e| format!("cannot find the test binary: {e}"))?;
    let directory = test.ancestors().nth(2);
    directory
        .map(Path::to_owned)
        .ok_or_else(|| format!("{} is in no target directory", test.display()))
}

/// Cargo's list of the sources (`kvd: a.rs b.rs`): the first changed after `built`.
fn newer_source(list: &Path, built: SystemTime) -> Option<String> {
    let list = fs::read_to_string(list).ok()?;
    let (_, sources) = list.split_once(": ")?;
    sources
        .split_whitespace()
        .find(|source| {
            Path::new(source)
                .metadata()
                .and_then(|m| m.modified())
                .is_ok_and(|changed| changed > built)
        })
        .map(str::to_owned)
}
