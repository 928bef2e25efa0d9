//! Storing many items, all or nothing: what `import` and `seed` do.

use std::{
    fs::File,
    future::Future,
    io::{self, BufReader, Read},
    mem, thread,
};

use entity::load::{Line, Load, Loaded, OnConflict, Progress};
use indicatif::ProgressBar;
use sea_orm::DatabaseConnection;
use serde_json::json;
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use crate::{
    arguments::MaxValueBytes,
    error::CliError,
    ndjson::Items,
    output,
    progress::{self, Wiped, Work},
};

/// Lines sent to the database at once: bounded in number, and in bytes but for the last one.
const BATCH_LINES: usize = 8_192;
const BATCH_BYTES: usize = 1 << 20;
/// Batches that wait while one is sent.
const BATCHES: usize = 2;

/// Items from somewhere, and how far they are read.
pub struct Source {
    items: Box<dyn Iterator<Item = Result<Line, CliError>> + Send>,
    bar: ProgressBar,
}

impl Source {
    /// A file of NDJSON, or standard input if it is `-`.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn file(path: &str, max: MaxValueBytes) -> Result<Self, CliError> {
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
            items: Box::new(items.inspect(move |_| of_items.inc(1))),
            bar,
        })
    }

    /// As many items as this iterator makes.
    pub fn made(
        items: impl ExactSizeIterator<Item = Result<Line, CliError>> + Send + 'static,
    ) -> Self {
        let bar = progress::bar("making", Work::Items(items.len() as u64));
        let counted = bar.clone();
        Self {
            items: Box::new(items.inspect(move |_| counted.inc(1))),
            bar,
        }
    }

    /// Reads ahead in a thread of its own: reading may block, and must not keep a signal waiting.
    fn batches(self) -> mpsc::Receiver<Result<Vec<Line>, CliError>> {
        let (sender, receiver) = mpsc::channel(BATCHES);
        thread::spawn(move || {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            for item in self.items {
                let item = match item {
                    Ok(item) => item,
                    // Nobody need be there any more, here and below.
                    Err(error) => return drop(sender.blocking_send(Err(error))),
                };
                bytes += item.key.as_str().len() + item.value.as_str().len();
                batch.push(item);
                if batch.len() == BATCH_LINES || bytes >= BATCH_BYTES {
                    bytes = 0;
                    if sender.blocking_send(Ok(mem::take(&mut batch))).is_err() {
                        return;
                    }
                }
            }
            let _ = sender.blocking_send(Ok(batch));
        });
        receiver
    }
}

/// Stores the items, or only says what that would do, and says what it did.
///
/// # Errors
/// See [`CliError`]; then nothing was stored, unless it says that this is unknown.
pub async fn load(
    database: &DatabaseConnection,
    source: Source,
    on_conflict: OnConflict,
    dry_run: bool,
    json: bool,
) -> Result<(), CliError> {
    let loaded = if dry_run {
        output::note("dry run: nothing is written");
        uninterrupted(async {
            let staged = staged(database, source, on_conflict).await?;
            Ok(staged.preview().await?)
        })
        .await?
    } else {
        let merged = uninterrupted(async {
            let staged = staged(database, source, on_conflict).await?;
            let bar = Wiped(progress::bar("storing", Work::Items(staged.lines())));
            let merged = staged.merge(|progress| match progress {
                Progress::Begun => bar.0.reset(),
                Progress::Merged(lines) => bar.0.inc(lines),
            });
            Ok(merged.await?)
        });
        // From here on signals are ignored: who interrupted this would not know what came of it.
        merged.await?.commit().await?
    };
    report(loaded, json)
}

async fn staged(
    database: &DatabaseConnection,
    source: Source,
    on_conflict: OnConflict,
) -> Result<entity::load::Staged, CliError> {
    let mut load = Load::begin(database, on_conflict).await?;
    let _bar = Wiped(source.bar.clone());
    let mut batches = source.batches();
    while let Some(batch) = batches.recv().await {
        load.stage(batch?).await?;
    }
    Ok(load.staged().await?)
}

fn report(loaded: Loaded, as_json: bool) -> Result<(), CliError> {
    let Loaded {
        created,
        updated,
        skipped,
    } = loaded;
    if as_json {
        output::json(&json!({ "created": created, "updated": updated, "skipped": skipped }))
    } else {
        output::line(&format!(
            "created {created}, updated {updated}, skipped {skipped}"
        ))
    }
}

/// The work, unless somebody asks the program to stop: dropping it leaves no trace.
async fn uninterrupted<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let deaf = |error| CliError::io("cannot listen to signals", error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(deaf)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(deaf)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(deaf)?;
    select! {
        done = work => done,
        _ = interrupt.recv() => Err(CliError::Interrupted),
        _ = terminate.recv() => Err(CliError::Interrupted),
        _ = hangup.recv() => Err(CliError::Interrupted),
    }
}
