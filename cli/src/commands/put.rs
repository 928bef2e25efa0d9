//! `kvctl put`

use std::{
    fs::File,
    io::{self, Read},
    time::Duration,
};

use clap::Args;
use entity::{
    ETag, Key, Precondition,
    write::{Action, Claim, Expiry, OnLocked, Outcome, Write, write},
};

use crate::{
    arguments::{self, MaxValueBytes},
    context::Context,
    error::CliError,
    interrupt::{PERHAPS_WRITTEN, until_interrupted},
    output::{self, ItemJson},
};

/// Create or overwrite an item, and print its new version
#[derive(Debug, Args)]
#[command(
    after_help = "Examples: kvctl put greeting hello\n          kvctl put page @page.html\n          kvctl put --if-match 17-3 greeting 'hello again'\n          kvctl put --ttl 12h session/17 open"
)]
pub(crate) struct Put {
    /// The key; behind -- if it begins with -
    key: String,

    /// The value, @FILE for the contents of a file, or - for standard input
    #[arg(allow_negative_numbers = true)]
    value: String,

    /// Only if the key does not exist
    #[arg(long, conflicts_with_all = ["update", "if_match"])]
    create: bool,

    /// Only if the key exists
    #[arg(long)]
    update: bool,

    /// Only if the item has this tag
    #[arg(long, value_name = "ETAG")]
    if_match: Option<ETag>,

    /// The item expires after this time, such as 30m or 90d
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = arguments::time)]
    ttl: Option<Duration>,

    /// The item never expires; so it is without --ttl, too
    #[arg(long, conflicts_with = "ttl")]
    no_ttl: bool,

    #[command(flatten)]
    max: MaxValueBytes,
}

impl Put {
    /// # Errors
    /// The condition does not hold, or see [`CliError`].
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let json = context.output.is_json()?;
        let change = self.change()?;
        let session = context.session().await?;
        let claim = Claim::new();
        let done = async { Ok(write(&session, &change, &claim, OnLocked::Wait).await?) };
        let done = until_interrupted(done, PERHAPS_WRITTEN).await?;
        // What is written stays written, however the session ends.
        let _ = session.close().await;
        let why = match done.outcome(change) {
            Outcome::Created(item) | Outcome::Updated(item) => {
                let told = if json {
                    output::json(&ItemJson::item(&item))
                } else {
                    output::line(&item.version.to_string())
                };
                return told.map_err(|error| error.after("it is stored"));
            }
            Outcome::Exists => "exists already".to_owned(),
            Outcome::Missing | Outcome::PreconditionFailed(None) => "does not exist".to_owned(),
            Outcome::PreconditionFailed(Some(tag)) => format!("has the tag {tag} now"),
            Outcome::Deleted => "was deleted".to_owned(),
        };
        Err(CliError::ConditionFailed(format!("{:?} {why}", self.key)))
    }

    /// What the arguments ask for.
    fn change(&self) -> Result<Write, CliError> {
        let key = Key::new(self.key.as_str());
        let key = key.map_err(|error| CliError::Usage(error.to_string()))?;
        let text = read(&self.value, self.max.max_value_bytes.into())?;
        let value = self.max.value(text).map_err(CliError::Usage)?;
        let (action, precondition) = match (self.if_match, self.create, self.update) {
            (Some(tag), ..) => (Action::Update(value), Precondition::is_tag(tag)),
            (None, true, _) => (Action::Create(value), Precondition::default()),
            (None, _, true) => (Action::Update(value), Precondition::default()),
            (None, false, false) => (Action::Upsert(value), Precondition::default()),
        };
        Ok(Write {
            key,
            action,
            precondition,
            expiry: self.ttl.map_or(Expiry::Never, Expiry::After),
        })
    }
}

/// Reads what the argument names: itself, a file or standard input. It stops as soon as the value is
/// too large.
fn read(argument: &str, most_bytes: u64) -> Result<String, CliError> {
    let all = |source: &mut dyn Read| {
        let mut bytes = Vec::new();
        let read = source.take(most_bytes + 1).read_to_end(&mut bytes);
        read.map(|_| bytes)
    };
    let (name, bytes) = match argument.strip_prefix('@') {
        Some(path) => (path, File::open(path).and_then(|mut file| all(&mut file))),
        None if argument == "-" => ("standard input", all(&mut io::stdin())),
        None => return Ok(argument.to_owned()),
    };
    let bytes = bytes.map_err(|error| CliError::io(name, error))?;
    if bytes.len() as u64 > most_bytes {
        return Err(CliError::Usage(format!(
            "{name}: a value has at most {most_bytes} bytes, and this is more (see --max-value-bytes)"
        )));
    }
    String::from_utf8(bytes).map_err(|_| CliError::Usage(format!("{name}: a value is UTF-8 text")))
}
