//! `kvctl completions`

use clap::{Args, Command, ValueEnum};

use crate::{error::CliError, output};

/// Write what makes a shell complete kvctl's words
///
/// bash: put it into ~/.local/share/bash-completion/completions/kvctl.
/// zsh: into a file _kvctl in a directory of $fpath. fish: into ~/.config/fish/completions/kvctl.fish.
#[derive(Debug, Args)]
#[command(after_help = "Example: source <(kvctl completions bash)")]
pub(crate) struct Completions {
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    /// # Errors
    /// Standard output cannot be written to.
    pub(crate) fn run(self, mut kvctl: Command) -> Result<(), CliError> {
        let shell = match self.shell {
            Shell::Bash => clap_complete::Shell::Bash,
            Shell::Zsh => clap_complete::Shell::Zsh,
            Shell::Fish => clap_complete::Shell::Fish,
        };
        // The script goes into memory first, because the generator panics when it cannot write.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut kvctl, "kvctl", &mut script);
        output::text(&String::from_utf8_lossy(&script))
    }
}
