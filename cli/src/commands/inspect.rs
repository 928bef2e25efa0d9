//! `kvctl inspect`

use clap::Args;
use database::Server;
use entity::{Key, Prefix, read};
use serde_json::{Value, json};

use crate::{
    commands::notes::{note_found, note_odd_keys, note_pending_expiry},
    context::Context,
    error::CliError,
    output,
};

/// Show the sizes and times of an item; without a key, the state of the database
#[derive(Debug, Args)]
#[command(after_help = "Examples: kvctl inspect greeting\n          kvctl inspect -o json")]
pub(crate) struct Inspect {
    /// The key; behind -- if it begins with -
    key: Option<String>,
}

impl Inspect {
    /// # Errors
    /// There is no such key, or see [`CliError`].
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let json = context.output.is_json()?;
        let members = match &self.key {
            Some(key) => item(context, key).await?,
            None => database(context, json).await?,
        };
        if json {
            return output::members(members);
        }
        let widest = members
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or_default();
        members
            .iter()
            .filter(|(name, value)| *name != "problem" || !value.is_null())
            .try_for_each(|(name, value)| {
                output::line(&format!("{name:widest$}  {}", shown(value)))
            })
    }
}

type Members = Vec<(&'static str, Value)>;

async fn item(context: &Context, key: &str) -> Result<Members, CliError> {
    let found = read::find(context.items().await?, key).await?;
    let item = found.ok_or_else(|| CliError::no_key(key))?;
    let problem = Key::new(key).err().map(|error| error.to_string());
    Ok(vec![
        ("key", json!(item.key)),
        ("key_bytes", json!(item.key.len())),
        ("value_bytes", json!(item.value.len())),
        ("version", json!(item.version)),
        ("etag", json!(item.etag().to_string())),
        ("created_at", json!(item.created_at.to_string())),
        ("updated_at", json!(item.updated_at.to_string())),
        (
            "expires_at",
            json!(item.expires_at.map(|end| end.to_string())),
        ),
        ("problem", json!(problem)),
    ])
}

async fn database(context: &Context, json: bool) -> Result<Members, CliError> {
    let database = context.database().await?;
    let server = Server::of(database).await?;
    let status = migration::status(database).await?;
    let pending: Vec<_> = status.pending().map(str::to_owned).collect();
    if !pending.is_empty() {
        context.sees_tables().await?;
    }
    if !json {
        note_found(&migration::found(database).await?);
        note_pending_expiry(&status);
    }
    let (mut items, mut expired, mut disk_bytes, mut odd_keys) = (None, None, None, None);
    if pending.is_empty() {
        items = Some(read::count(database, &Prefix::default()).await?);
        expired = Some(read::count_expired(database).await?);
        disk_bytes = Some(read::disk_bytes(database).await?);
        odd_keys = Some(read::odd_keys(database).await?);
    }
    let odd_keys = match odd_keys {
        Some(keys) if !json => {
            note_odd_keys(&keys);
            json!(keys.len())
        }
        keys => json!(keys),
    };
    Ok(vec![
        ("engine", json!(server.engine)),
        ("server_version", json!(server.version)),
        ("pending_migrations", json!(pending)),
        ("items", json!(items)),
        ("expired", json!(expired)),
        ("disk_bytes", json!(disk_bytes)),
        ("odd_keys", odd_keys),
    ])
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(names) if names.is_empty() => "none".to_owned(),
        Value::Array(names) => names.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
