//! `kvctl man`

use std::{fs, io, path::PathBuf};

use clap::{Args, Command};

use crate::error::CliError;

/// Write the manual pages, one for each command
#[derive(Debug, Args)]
#[command(after_help = "Example: kvctl man ~/.local/share/man/man1")]
pub(crate) struct Man {
    /// Where to; created if it is not there
    directory: PathBuf,
}

impl Man {
    /// # Errors
    /// They cannot be written.
    pub(crate) fn run(self, kvctl: Command) -> Result<(), CliError> {
        let wrong = |error| CliError::io(self.directory.display().to_string(), error);
        if self.directory.exists() && !self.directory.is_dir() {
            return Err(wrong(io::ErrorKind::NotADirectory.into()));
        }
        fs::create_dir_all(&self.directory).map_err(wrong)?;
        // The command `help` only repeats what the others have.
        let kvctl = kvctl.disable_help_subcommand(true);
        clap_mangen::generate_to(kvctl, &self.directory).map_err(wrong)
    }
}
