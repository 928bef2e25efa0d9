//! `kvctl import`

use clap::{Args, ValueEnum};
use entity::load::OnConflict;
use migration::Right;

use crate::{
    arguments::MaxValueBytes,
    context::Context,
    error::CliError,
    load::{Source, load},
};

/// Store the items of lines of JSON: all of them, or none
///
/// Each line is an object with key, value and perhaps expires_at, as export writes them; version,
/// etag, created_at and updated_at are left unread. A line that has expired is skipped. Nobody waits for an import but, for a moment at its end, who writes
/// one of its keys (with SQLite: who writes).
#[derive(Debug, Args)]
#[command(
    after_help = "Examples: kvctl import users.ndjson\n          kvctl import --dry-run --on-conflict overwrite - < users.ndjson"
)]
pub(crate) struct Import {
    /// A file, or - for standard input
    file: String,

    /// What to do with a key that exists
    #[arg(long, value_name = "WHAT", value_enum, default_value = "error")]
    on_conflict: Conflict,

    /// Only check, and print what would be done
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    max: MaxValueBytes,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Conflict {
    /// Store nothing at all
    Error,
    /// Leave it as it is
    Skip,
    /// Update it
    Overwrite,
}

impl Import {
    /// The rights on the tables of kvd that it needs.
    pub(crate) fn needed_rights(&self) -> &'static [Right] {
        use Right::{Insert, Read, Schema, Sequence, Update};
        match self.on_conflict {
            _ if self.dry_run => &[Schema, Read],
            Conflict::Error | Conflict::Skip => &[Schema, Read, Insert, Sequence],
            Conflict::Overwrite => &[Schema, Read, Insert, Sequence, Update],
        }
    }

    /// # Errors
    /// A key exists that must not, or see [`CliError`].
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let source = Source::file(&self.file, self.max)?;
        let on_conflict = match self.on_conflict {
            Conflict::Error => OnConflict::Error,
            Conflict::Skip => OnConflict::Skip,
            Conflict::Overwrite => OnConflict::Overwrite,
        };
        load(context, source, on_conflict, self.dry_run).await
    }
}
