//! `kvctl seed`

use clap::Args;
use entity::{
    Key, Prefix, Value,
    load::{Line, OnConflict},
};
use fastrand::Rng;

use crate::{
    Context,
    arguments::{self, MaxValueBytes},
    error::CliError,
    load::{Source, load},
};

/// Store items to try things with; items that are there already stay as they are
///
/// The keys are the prefix and a number of at least six digits: seed-000001, seed-000002 and so on.
/// The values are letters and digits, the same every time.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples: kvctl seed --count 1000\n          kvctl seed --file examples.ndjson"
)]
pub struct Seed {
    /// How many items
    #[arg(long, value_name = "N", default_value = "100", conflicts_with = "file")]
    count: u32,

    /// What the keys begin with
    #[arg(long, value_name = "P", default_value = "seed-", conflicts_with = "file", value_parser = arguments::prefix)]
    prefix: Prefix,

    /// Bytes of each value
    #[arg(long, value_name = "B", default_value = "100", conflicts_with = "file")]
    value_bytes: usize,

    /// Lines of JSON with the items, as export writes them; - for standard input
    #[arg(long)]
    file: Option<String>,

    #[command(flatten)]
    max: MaxValueBytes,
}

impl Seed {
    /// # Errors
    /// See [`CliError`].
    pub async fn run(self, context: &Context) -> Result<(), CliError> {
        let json = context.output.is_json()?;
        let max = self.max.max_value_bytes;
        let source = match &self.file {
            Some(path) => Source::file(path, max)?,
            None => Source::made(self.items(max)?),
        };
        load(
            context.database().await?,
            source,
            OnConflict::Skip,
            false,
            json,
        )
        .await
    }

    fn items(
        self,
        max: usize,
    ) -> Result<impl ExactSizeIterator<Item = Line> + Send + 'static, CliError> {
        // What holds for the last of them holds for all: the others are no longer.
        let last = self.line(self.count, max)?;
        Ok((0..self.count as usize).map(move |index| {
            self.line(index as u32 + 1, max)
                .unwrap_or_else(|_| last.clone())
        }))
    }

    fn line(&self, number: u32, max: usize) -> Result<Line, CliError> {
        let wrong = |error: &dyn std::fmt::Display| CliError::Usage(error.to_string());
        let mut random = Rng::with_seed(number.into());
        let bytes = if self.value_bytes > max {
            max.saturating_add(1)
        } else {
            self.value_bytes
        };
        let value: String = std::iter::repeat_with(|| random.alphanumeric())
            .take(bytes)
            .collect();
        Ok(Line {
            number: number.into(),
            key: Key::new(format!("{}{number:06}", self.prefix.as_str()))
                .map_err(|error| wrong(&error))?,
            value: Value::new(value, max).map_err(|error| wrong(&error))?,
        })
    }
}
