//! `kvctl export`

use std::io::{self, IsTerminal, Write};

use clap::Args;
use entity::{
    Key, Prefix,
    read::{self, ListedItem, Scan, scan},
};
use futures_util::TryStreamExt;
use indicatif::ProgressBar;
use sea_orm::DatabaseConnection;
use serde::Serialize;

use crate::{
    arguments,
    context::Context,
    error::CliError,
    output::{self, Format, buffered, for_a_person, stdout_error, write_json},
    progress::{self, Wiped, Work},
};

/// Write all items as lines of JSON, as they are at one moment
///
/// Each line is an object with key, value, version, created_at, updated_at and, if the item expires,
/// expires_at, in the byte order of the keys. The import of it reads key, value and expires_at.
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
            write_json(&mut out, &ExportedItem::of(&item))
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

/// A line of an export.
#[derive(Serialize)]
struct ExportedItem<'a> {
    key: &'a str,
    value: Option<&'a str>,
    version: i64,
    created_at: String,
    updated_at: String,
    /// Only where there is one: kvctl 0.1 refuses a member that it does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

impl<'a> ExportedItem<'a> {
    fn of(item: &'a ListedItem) -> Self {
        Self {
            key: &item.key,
            value: item.value.as_deref(),
            version: item.etag.version,
            created_at: item.created_at.to_string(),
            updated_at: item.updated_at.to_string(),
            expires_at: item.expires_at.map(|end| end.to_string()),
        }
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
