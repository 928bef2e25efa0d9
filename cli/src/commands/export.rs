//! `kvctl export`

use std::io::{self, IsTerminal, Write};

use clap::Args;
use entity::{
    Key, Prefix,
    read::{self, Scan, scan},
};
use futures_util::TryStreamExt;
use indicatif::ProgressBar;
use sea_orm::DatabaseConnection;

use crate::{
    arguments,
    context::Context,
    error::CliError,
    output::{self, Format, ItemJson, buffered, for_a_person, stdout_error, write_json},
    progress::{self, Wiped, Work},
};

/// Write all items as lines of JSON, as they are at one moment
///
/// Each line is an object with key, value, version, created_at and updated_at, in the byte order of
/// the keys. The import of it reads key and value.
#[derive(Debug, Args)]
#[command(after_help = "Example: kvctl export user/ > users.ndjson")]
pub(crate) struct Export {
    /// Only keys that begin with this
    #[arg(default_value = "", hide_default_value = true, value_parser = arguments::prefix)]
    prefix: Prefix,
}

impl Export {
    /// # Errors
    /// See [`CliError`].
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        if !matches!(context.output, Format::Text | Format::Ndjson) {
            let line = "an export is ndjson; for one JSON document use kvctl list -o json";
            return Err(CliError::Usage(line.to_owned()));
        }
        let database = context.items().await?;
        let bar = Wiped(bar(database, &self.prefix).await?);
        let asked = Scan {
            prefix: self.prefix,
            ..Scan::default()
        };
        let mut items = Box::pin(scan(database, &asked).await?);
        let mut out = buffered();
        let mut odd = 0_u64;
        while let Some(item) = items.try_next().await? {
            odd += u64::from(Key::new(item.key.as_str()).is_err());
            let mut shown = ItemJson::listed(&item);
            shown.etag = None;
            write_json(&mut out, &shown)
                .and_then(|()| out.write_all(b"\n"))
                .map_err(stdout_error)?;
            bar.0.inc(1);
        }
        out.flush().map_err(stdout_error)?;
        drop(bar);
        if odd > 0 {
            output::note(&format!(
                "{odd} of the keys break the rule of keys, and import would refuse them"
            ));
        }
        Ok(())
    }
}

/// The bar of an export. The items are counted only if a terminal shows it.
async fn bar(database: &DatabaseConnection, prefix: &Prefix) -> Result<ProgressBar, CliError> {
    if io::stderr().is_terminal() && !for_a_person() {
        let items = read::count(database, prefix).await?;
        Ok(progress::bar("exporting", Work::Items(items)))
    } else {
        Ok(ProgressBar::hidden())
    }
}
