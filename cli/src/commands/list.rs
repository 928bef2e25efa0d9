//! `kvctl list`

use std::io::{self, Write};

use chrono::DateTime;
use clap::Args;
use entity::{
    Prefix, Time,
    read::{ListedItem, Scan, scan},
};
use futures_util::TryStreamExt;

use crate::{
    arguments,
    context::Context,
    error::CliError,
    escape::{one_line, visible},
    output::{self, Format, ItemJson, buffered, for_a_person, stdout_error, write_json},
    table::{Column, Table},
};

/// List items in the byte order of their keys: a table on a terminal, else a line each
///
/// Lines have the key, a tab, and the value; control characters are escaped (\n, \t, \u{1b}). For
/// the exact values use -o ndjson or -o json.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples: kvctl list user/ --limit 20\n          kvctl list --keys --after user/99\n          kvctl list -o ndjson"
)]
pub(crate) struct List {
    /// Only keys that begin with this
    #[arg(default_value = "", hide_default_value = true, value_parser = arguments::prefix)]
    prefix: Prefix,

    /// At most so many items
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,

    /// Only keys above this, which need not exist
    #[arg(long, value_name = "KEY")]
    after: Option<String>,

    /// Without the values
    #[arg(long)]
    keys: bool,
}

impl List {
    /// # Errors
    /// See [`CliError`].
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let keys = self.keys;
        let mut writer = match context.output {
            Format::Table => Writer::table(keys),
            Format::Text if for_a_person() => Writer::table(keys),
            Format::Text => Writer::Lines(Box::new(buffered())),
            Format::Json => Writer::Array(Box::new(buffered()), false),
            Format::Ndjson => Writer::Ndjson(Box::new(buffered())),
        };
        let asked = Scan {
            prefix: self.prefix,
            after: self.after,
            limit: self.limit,
            keys_only: keys,
        };
        let mut items = Box::pin(scan(context.items().await?, &asked).await?);
        while let Some(item) = items.try_next().await? {
            writer.item(&item).map_err(stdout_error)?;
        }
        writer.finish().map_err(stdout_error)
    }
}

/// Writes items in one of the forms.
enum Writer {
    Table(Box<Table<Box<dyn Write>>>),
    Lines(Box<dyn Write>),
    /// A JSON array, and whether it has an item already.
    Array(Box<dyn Write>, bool),
    Ndjson(Box<dyn Write>),
}

impl Writer {
    fn table(keys_only: bool) -> Self {
        let column = |title, cut| Column { title, cut };
        let mut columns = vec![column("KEY", true)];
        if !keys_only {
            columns.push(column("VALUE", true));
        }
        columns.extend(["VERSION", "UPDATED", "ENDS"].map(|title| column(title, false)));
        Self::Table(Box::new(Table::new(Box::new(buffered()), columns)))
    }

    fn item(&mut self, item: &ListedItem) -> io::Result<()> {
        match self {
            Self::Table(table) => {
                let mut cells = vec![visible(&item.key).into_owned()];
                cells.extend(item.value.as_ref().map(|value| visible(value).into_owned()));
                cells.push(item.etag.version.to_string());
                cells.push(to_the_second(item.updated_at));
                cells.push(
                    item.expires_at
                        .map_or_else(|| "never".to_owned(), to_the_second),
                );
                table.row(cells)
            }
            Self::Lines(out) => match &item.value {
                Some(value) => writeln!(out, "{}\t{}", one_line(&item.key), one_line(value)),
                None => writeln!(out, "{}", one_line(&item.key)),
            },
            Self::Array(out, begun) => {
                out.write_all(if *begun { b",\n" } else { b"[" })?;
                *begun = true;
                write_json(out, &ItemJson::listed(item))
            }
            Self::Ndjson(out) => {
                write_json(out, &ItemJson::listed(item))?;
                out.write_all(b"\n")
            }
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Table(table) => {
                if !table.finish()? && for_a_person() {
                    output::note("no items");
                }
                Ok(())
            }
            Self::Array(mut out, begun) => {
                out.write_all(if begun { b"]\n" } else { b"[]\n" })?;
                out.flush()
            }
            Self::Lines(mut out) | Self::Ndjson(mut out) => out.flush(),
        }
    }
}

fn to_the_second(time: Time) -> String {
    DateTime::from(time)
        .format("%Y-%m-%d %H:%M:%SZ")
        .to_string()
}
