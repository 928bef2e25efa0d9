//! `kvctl man`

use std::{fs, io, path::PathBuf};

use clap::{Args, CommandFactory};

use crate::{Kvctl, error::CliError};

/// Write the manual pages, one for each command
#[derive(Debug, Args)]
#[command(after_help = "Example: kvctl man ~/.local/share/man/man1")]
pub struct Man {
    /// Where to; created if it is not there
    directory: PathBuf,
}

impl Man {
    /// # Errors
    /// They cannot be written.
    pub fn run(self) -> Result<(), CliError> {
        let wrong = |error| CliError::io(self.directory.display().to_string(), error);
        if self.directory.exists() && !self.directory.is_dir() {
            return Err(wrong(io::ErrorKind::NotADirectory.into()));
        }
        fs::create_dir_all(&self.directory).map_err(wrong)?;
        // Not the command `help`, which only repeats what the others have.
        let command = Kvctl::command().disable_help_subcommand(true);
        clap_mangen::generate_to(command, &self.directory).map_err(wrong)
    }
}
