//! `kvctl seed`

use clap::Args;
use entity::{
    Key, Prefix,
    load::{Line, OnConflict},
};
use fastrand::Rng;

use crate::{
    arguments::{self, MaxValueBytes},
    context::Context,
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
pub(crate) struct Seed {
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
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let source = match &self.file {
            Some(path) => Source::file(path, self.max)?,
            None => Source::made(self.items()?),
        };
        load(context, source, OnConflict::Skip, false).await
    }

    /// The items, made one by one. What no item could have is refused before the first.
    fn items(
        self,
    ) -> Result<impl ExactSizeIterator<Item = Result<Line, CliError>> + Send + 'static, CliError>
    {
        let (bytes, max) = (self.value_bytes, self.max.max_value_bytes as usize);
        if bytes > max {
            return Err(CliError::Usage(format!(
                "a value has at most {max} bytes (see --max-value-bytes), not {bytes}"
            )));
        }
        // The last key is the longest.
        self.item(self.count)?;
        Ok((0..self.count as usize).map(move |index| self.item(index as u32 + 1)))
    }

    fn item(&self, number: u32) -> Result<Line, CliError> {
        let mut random = Rng::with_seed(number.into());
        let letters = std::iter::repeat_with(|| random.alphanumeric());
        let value = letters.take(self.value_bytes).collect();
        let key = Key::new(format!("{}{number:06}", self.prefix.as_str()));
        Ok(Line {
            number: number.into(),
            key: key.map_err(|error| CliError::Usage(error.to_string()))?,
            value: self.max.value(value).map_err(CliError::Usage)?,
            expires_at: None,
        })
    }
}
