//! Storing many items, all or nothing: what `import` and `seed` do.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    mem, thread,
};

use entity::{
    load::{Line, Load, LoadError, Loaded, OnConflict, Progress, Staged},
    write::WriteError,
};
use indicatif::ProgressBar;
use tokio::sync::mpsc;

use crate::{
    arguments::MaxValueBytes,
    context::Context,
    error::CliError,
    explain,
    interrupt::{NOTHING_WRITTEN, until_interrupted},
    ndjson::Items,
    output,
    progress::{self, Wiped, Work},
};

/// Most lines, and about the most bytes, that are sent to the database at once: the last line of a
/// batch may exceed the bytes.
const BATCH_LINES: usize = 8_192;
const BATCH_BYTES: usize = 1 << 20;
/// Batches that wait while one is sent.
const BATCHES: usize = 2;

/// Where items come from, and the bar that shows how far they are read.
pub(crate) struct Source {
    /// What error messages call the source.
    name: String,
    items: Box<dyn Iterator<Item = Result<Line, CliError>> + Send>,
    bar: ProgressBar,
}

impl Source {
    /// A file of NDJSON, or standard input if it is `-`.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(crate) fn file(path: &str, max: MaxValueBytes) -> Result<Self, CliError> {
        let wrong = |error| CliError::io(path, error);
        let (reader, work, name): (Box<dyn Read + Send>, _, _) = if path == "-" {
            (Box::new(io::stdin()), Work::SomeItems, "standard input")
        } else {
            let file = File::open(path).map_err(wrong)?;
            let bytes = file.metadata().map_err(wrong)?.len();
            (Box::new(file), Work::Bytes(bytes), path)
        };
        let bar = progress::bar("reading", work);
        let (of_bytes, of_items) = match work {
            Work::Bytes(_) => (bar.clone(), ProgressBar::hidden()),
            Work::Items(_) | Work::SomeItems => (ProgressBar::hidden(), bar.clone()),
        };
        let reader = BufReader::with_capacity(1 << 16, of_bytes.wrap_read(reader));
        let items = Items::new(reader, name.to_owned(), max);
        Ok(Self {
            name: name.to_owned(),
            items: Box::new(items.inspect(move |_| of_items.inc(1))),
            bar,
        })
    }

    /// As many items as this iterator makes.
    pub(crate) fn made(
        items: impl ExactSizeIterator<Item = Result<Line, CliError>> + Send + 'static,
    ) -> Self {
        let bar = progress::bar("making", Work::Items(items.len() as u64));
        let counted = bar.clone();
        Self {
            name: "seed".to_owned(),
            items: Box::new(items.inspect(move |_| counted.inc(1))),
            bar,
        }
    }

    /// Reads ahead in a thread of its own: reading may block, and must not keep a signal waiting.
    /// The end is `None`, so that a thread that fails is not taken for it.
    fn batches(self) -> mpsc::Receiver<Result<Option<Vec<Line>>, CliError>> {
        let (sender, receiver) = mpsc::channel(BATCHES);
        thread::spawn(move || {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            for item in self.items {
                let item = match item {
                    Ok(item) => item,
                    // A receiver that is gone wants no more, here and below.
                    Err(error) => return drop(sender.blocking_send(Err(error))),
                };
                bytes += item.key.as_str().len() + item.value.as_str().len();
                batch.push(item);
                if batch.len() == BATCH_LINES || bytes >= BATCH_BYTES {
                    bytes = 0;
                    if sender
                        .blocking_send(Ok(Some(mem::take(&mut batch))))
                        .is_err()
                    {
                        return;
                    }
                }
            }
            let _ = sender.blocking_send(Ok(Some(batch)));
            let _ = sender.blocking_send(Ok(None));
        });
        receiver
    }
}

/// Stores the items, or only says what that would do, and says what it did.
///
/// # Errors
/// See [`CliError`]; then nothing was stored, unless it says that this is unknown.
pub(crate) async fn load(
    context: &Context,
    source: Source,
    on_conflict: OnConflict,
    dry_run: bool,
) -> Result<(), CliError> {
    let json = context.output.is_json()?;
    let name = source.name.clone();
    let refused = |error| refused(&name, error);
    let loaded = if dry_run {
        output::note("dry run: nothing is written");
        let preview = async {
            let staged = staged(context, source, on_conflict).await?;
            staged.preview().await.map_err(refused)
        };
        until_interrupted(preview, NOTHING_WRITTEN).await?
    } else {
        let merged = async {
            let staged = staged(context, source, on_conflict).await?;
            let bar = Wiped(progress::bar("storing", Work::Items(staged.lines())));
            let merged = staged.merge(|progress| match progress {
                Progress::Begun => bar.0.reset(),
                Progress::Merged(lines) => bar.0.inc(lines),
            });
            merged.await.map_err(refused)
        };
        let merged = until_interrupted(merged, NOTHING_WRITTEN).await?;
        // A signal does not interrupt the commit: its outcome would be unknown.
        merged.commit().await.map_err(refused)?
    };
    let reported = report(loaded, json);
    if dry_run {
        return reported;
    }
    reported.map_err(|error| error.after("everything is stored"))
}

/// Names the source of the items in what the load refused.
fn refused(name: &str, error: LoadError) -> CliError {
    let written = "nothing was written";
    match error {
        LoadError::Write(error) => CliError::Write(error),
        LoadError::Refused { key, line, error } => CliError::Refused {
            place: format!("{name}: line {line}: the key {key:?}"),
            error,
        },
        LoadError::Repeated { .. } | LoadError::Ignored { .. } => {
            CliError::Failed(format!("{name}: {error}; {written}"))
        }
        LoadError::Exists { lines: 1, .. } => {
            CliError::ConditionFailed(format!("{name}: {error}; {written} (see --on-conflict)"))
        }
        LoadError::Exists { lines, .. } => CliError::ConditionFailed(format!(
            "{name}: {error} (and {} more); {written} (see --on-conflict)",
            lines - 1
        )),
    }
}

async fn staged(
    context: &Context,
    source: Source,
    on_conflict: OnConflict,
) -> Result<Staged, CliError> {
    let name = source.name.clone();
    let refused = |error| refused(&name, error);
    let begun = Load::begin(context.session().await?, on_conflict).await;
    let mut load = begun.map_err(|error| match error {
        LoadError::Write(WriteError::NotWritten(error))
            if explain::is_of_temporary_tables(&error) =>
        {
            CliError::NoTemporaryTables(error)
        }
        error => refused(error),
    })?;
    let _bar = Wiped(source.bar.clone());
    let mut batches = source.batches();
    let lost = || {
        Err(CliError::Failed(format!(
            "{name}: cannot be read to its end"
        )))
    };
    while let Some(batch) = batches.recv().await.unwrap_or_else(lost)? {
        load.stage(batch).await.map_err(refused)?;
    }
    load.staged().await.map_err(refused)
}

fn report(loaded: Loaded, as_json: bool) -> Result<(), CliError> {
    let Loaded {
        created,
        updated,
        skipped,
    } = loaded;
    if as_json {
        let numbers = [
            ("created", created),
            ("updated", updated),
            ("skipped", skipped),
        ];
        output::members(numbers)
    } else {
        output::line(&format!(
            "created {created}, updated {updated}, skipped {skipped}"
        ))
    }
}
