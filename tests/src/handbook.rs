//! What docs/operating.md shows is what the tests use.

use std::{env, fs, path::Path, process::Command};

use crate::{binaries::binary, env::Env};

/// A block of code of the handbook.
#[derive(Clone)]
pub struct Block(String);

/// The block that begins with this line.
///
/// # Panics
///
/// If there is none, or more than one.
#[must_use]
pub fn block(first_line: &str) -> Block {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating.md");
    let text = fs::read_to_string(file).expect("the handbook");
    // Text and code in turn.
    let codes = text.split("\n```").skip(1).step_by(2);
    let blocks = codes.filter_map(|code| code.split_once('\n').map(|(_language, lines)| lines));
    let mut found = blocks.filter(|lines| lines.lines().next() == Some(first_line));
    let block = found
        .next()
        .unwrap_or_else(|| panic!("no block begins with {first_line}"));
    assert!(found.next().is_none(), "two blocks begin with {first_line}");
    Block(format!("{block}\n"))
}

impl Block {
    /// With another value in one place: a port or a path of the test's, or a setting whose effect is to be seen.
    ///
    /// # Panics
    ///
    /// If it does not stand there exactly once.
    #[must_use]
    pub fn with(self, shown: &str, value: &str) -> Self {
        assert_eq!(self.0.matches(shown).count(), 1, "{shown} in:\n{}", self.0);
        Self(self.0.replacen(shown, value, 1))
    }

    #[must_use]
    pub fn text(self) -> String {
        self.0
    }

    /// Runs it, as commands of a shell, in the test's directory, with the `kvctl` that is tested.
    ///
    /// # Panics
    ///
    /// If one of them fails.
    pub fn run(self, test: &Env, variables: &[(&str, &str)]) {
        let kvctl = binary("kvctl").unwrap_or_else(|e| panic!("{e}"));
        let mut path = kvctl.parent().expect("a directory").as_os_str().to_owned();
        path.push(":");
        path.push(env::var_os("PATH").unwrap_or_default());
        let mut shell = Command::new("sh");
        shell.args(["-euc", &self.0]).current_dir(test.directory());
        shell
            .env_clear()
            .env("PATH", path)
            .env("HOME", test.directory());
        let output = shell.envs(variables.iter().copied()).output();
        let output = output.expect("there is a shell");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}\n{said}", self.0);
    }
}
