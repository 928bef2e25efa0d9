//! `kvctl token`

use std::{io::Write, str::FromStr, time::Duration};

use clap::{Args, Subcommand};
use entity::{
    Prefix,
    token::{
        Access, Created, InvalidTokenName, ListedToken, NewToken, Revocable, Rotated, Rule, Rules,
        Secret, TokenName, TokenState, create_token, list_tokens, revoke_token, rotate_token,
    },
};
use migration::Right;
use serde::Serialize;
use serde_json::json;

use crate::{
    arguments,
    context::Context,
    error::CliError,
    escape::{one_line, visible},
    interrupt::{PERHAPS_WRITTEN, until_interrupted},
    output::{self, Format, buffered, for_a_person, stdout_error},
    table::{Column, Table},
};

/// Make, list, revoke and rotate the tokens that kvd asks for with AUTH=tokens
///
/// Only a hash of a token is stored. What kvd remembers of one holds for at most 5 s.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples: kvctl token create backup --read \"\"\n          kvctl token create app --write app/ --read shared/ --expires-in 90d\n          kvctl token rotate app --overlap 1h\n          kvctl token revoke app"
)]
pub(crate) struct Token {
    #[command(subcommand)]
    action: TokenAction,
}

#[derive(Debug, Subcommand)]
enum TokenAction {
    /// Make a token, and print it, once
    #[command(after_help = "Example: kvctl token create app --write app/ --expires-in 90d")]
    Create {
        /// 1 to 64 letters, digits, dots, underscores and hyphens
        name: TokenName,
        /// Keys that begin with this may be read; "" is every key
        #[arg(long, value_name = "PREFIX", value_parser = arguments::prefix)]
        read: Vec<Prefix>,
        /// Keys that begin with this may be read and written; "" is every key
        #[arg(long, value_name = "PREFIX", value_parser = arguments::prefix)]
        write: Vec<Prefix>,
        /// Ends after this time, such as 12h or 90d; without it, never
        #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = arguments::time)]
        expires_in: Option<Duration>,
    },
    /// List all tokens, also those that are not live any more
    #[command(after_help = "Example: kvctl token list -o json")]
    List,
    /// End a token, by its id or its name, or as itself; by name also the one before it
    #[command(after_help = "Example: kvctl token revoke app")]
    Revoke {
        /// As kvctl token list shows it, or the token itself, which others on this machine may then see
        #[arg(value_name = "ID|NAME")]
        token: String,
    },
    /// Make a successor with the same name, rules and end, and print it, once
    #[command(after_help = "Example: kvctl token rotate app --overlap 1h")]
    Rotate {
        /// As kvctl token list shows it
        name: TokenName,
        /// How long the one before lives on
        #[arg(long, value_name = "TIME", default_value = "0s", allow_hyphen_values = true, value_parser = arguments::time_or_none)]
        overlap: Duration,
    },
}

impl Token {
    /// The rights on the table of the tokens that it needs.
    pub(crate) fn needed_rights(&self) -> &'static [Right] {
        use Right::{Insert, Read, Schema, Sequence, Update};
        match self.action {
            TokenAction::Create { .. } => &[Schema, Read, Insert, Sequence],
            TokenAction::List => &[Schema, Read],
            TokenAction::Revoke { .. } => &[Schema, Read, Update],
            TokenAction::Rotate { .. } => &[Schema, Read, Insert, Sequence, Update],
        }
    }

    /// # Errors
    /// See [`CliError`].
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self.action {
            TokenAction::Create {
                name,
                read,
                write,
                expires_in,
            } => {
                let new = NewToken {
                    name,
                    rules: rules(read, write)?,
                    lives_for: expires_in,
                };
                create(context, &new).await
            }
            TokenAction::List => list(context).await,
            TokenAction::Revoke { token } => revoke(context, &token).await,
            TokenAction::Rotate { name, overlap } => rotate(context, &name, overlap).await,
        }
    }
}

fn rules(read: Vec<Prefix>, write: Vec<Prefix>) -> Result<Rules, CliError> {
    let of = |access| move |prefix| Rule { prefix, access };
    let read = read.into_iter().map(of(Access::Read));
    let all = read.chain(write.into_iter().map(of(Access::Write)));
    let mut rules: Vec<Rule> = Vec::new();
    for rule in all {
        if rule
            .prefix
            .as_str()
            .contains(|c: char| c.is_ascii_control())
        {
            return Err(CliError::Usage(
                "no key has a control character: nor has a prefix of a rule".to_owned(),
            ));
        }
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    Rules::new(rules).map_err(|error| {
        let line = format!("{error}: --read PREFIX or --write PREFIX, of which \"\" is every key");
        CliError::Usage(line)
    })
}

async fn create(context: &Context, new: &NewToken) -> Result<(), CliError> {
    let json = context.output.is_json()?;
    let database = context.items().await?;
    let created = async { Ok(create_token(database, new).await?) };
    match until_interrupted(created, PERHAPS_WRITTEN).await? {
        Created::Token(secret, token) => print(&secret, &token, json),
        Created::NameInUse => Err(CliError::ConditionFailed(format!(
            "a live token has the name {}; revoke or rotate it, or take another name",
            new.name
        ))),
    }
}

async fn rotate(context: &Context, name: &TokenName, overlap: Duration) -> Result<(), CliError> {
    let json = context.output.is_json()?;
    let database = context.items().await?;
    let rotated = async { Ok(rotate_token(database, name, overlap).await?) };
    match until_interrupted(rotated, PERHAPS_WRITTEN).await? {
        Rotated::Token(secret, token) => print(&secret, &token, json),
        Rotated::Missing => Err(no_token(name.as_str())),
    }
}

async fn revoke(context: &Context, token: &str) -> Result<(), CliError> {
    let json = context.output.is_json()?;
    let meant = revocable(token)?;
    let database = context.items().await?;
    let revoked = async { Ok(revoke_token(database, &meant).await?) };
    let ids = until_interrupted(revoked, PERHAPS_WRITTEN).await?;
    if ids.is_empty() {
        return Err(match meant {
            Revocable::Secret(_) => {
                CliError::ConditionFailed("no live token is this one".to_owned())
            }
            Revocable::Id(_) | Revocable::Name(_) => no_token(token),
        });
    }
    if json {
        return output::json(&json!({ "revoked": ids }));
    }
    let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
    output::line(&format!("revoked {}", ids.join(", ")))
}

/// What is meant by the argument of `revoke`. A text that may be a token is not repeated.
fn revocable(text: &str) -> Result<Revocable, CliError> {
    if let Some(secret) = Secret::parse(text) {
        return Ok(Revocable::Secret(secret));
    }
    match TokenName::from_str(text) {
        Ok(name) => Ok(Revocable::Name(name)),
        Err(InvalidTokenName::Digits) => text
            .parse()
            .map(Revocable::Id)
            .map_err(|_| CliError::Usage("no id is that large".to_owned())),
        Err(InvalidTokenName::Token) => Err(CliError::Usage(
            "that begins as a token does, and is none: is it all there?".to_owned(),
        )),
        Err(error) => Err(CliError::Usage(format!(
            "neither an id nor a name: {error}"
        ))),
    }
}

fn no_token(token: &str) -> CliError {
    let line = format!("no live token {token:?}; kvctl token list shows those there are");
    CliError::ConditionFailed(line)
}

/// The secret goes to standard output alone, so that a script can take it from there.
fn print(secret: &Secret, token: &ListedToken, json: bool) -> Result<(), CliError> {
    let told = if json {
        let secret = secret.reveal();
        let token = TokenJson::of(token);
        output::json(
            &json!({ "token": secret, "id": token.id, "name": token.name,
            "rules": token.rules, "expires_at": token.expires_at }),
        )
    } else {
        output::line(secret.reveal())
    };
    let id = token.token.id;
    told.map_err(|error| {
        let advice = format!(
            "the token is stored, and lost: kvctl token revoke {id}, then make another one"
        );
        error.lost(&advice)
    })?;
    if !json && for_a_person() {
        output::note("keep it now: it is shown this once");
    }
    Ok(())
}

/// A token as it is listed.
#[derive(Serialize)]
struct TokenJson<'a> {
    id: i64,
    name: &'a str,
    /// `null` if this version cannot read them.
    rules: Option<&'a Rules>,
    created_at: String,
    expires_at: Option<String>,
    state: &'static str,
}

impl<'a> TokenJson<'a> {
    fn of(listed: &'a ListedToken) -> Self {
        let token = &listed.token;
        Self {
            id: token.id,
            name: &token.name,
            rules: listed.rules.as_ref(),
            created_at: token.created_at.to_string(),
            expires_at: token.end().map(|end| end.to_string()),
            state: match listed.state {
                TokenState::Live => "live",
                TokenState::Ended => "ended",
                TokenState::Revoked => "revoked",
            },
        }
    }

    /// The prefixes of one access.
    fn prefixes(&self, access: Access) -> Vec<String> {
        let rules = self.rules.into_iter().flat_map(Rules::iter);
        rules
            .filter(|rule| rule.access == access)
            .map(|rule| format!("{:?}", rule.prefix.as_str()))
            .collect()
    }

    fn cells(&self) -> Vec<String> {
        let rules = [Access::Write, Access::Read]
            .map(|access| (access, self.prefixes(access).join(" ")))
            .into_iter()
            .filter(|(_, prefixes)| !prefixes.is_empty())
            .map(|(access, prefixes)| format!("{access} {prefixes}"));
        let rules = match self.rules {
            Some(_) => rules.collect::<Vec<_>>().join(", "),
            None => "of a later version".to_owned(),
        };
        vec![
            self.name.to_owned(),
            self.id.to_string(),
            self.state.to_owned(),
            rules,
            self.expires_at
                .clone()
                .unwrap_or_else(|| "never".to_owned()),
            self.created_at.clone(),
        ]
    }
}

async fn list(context: &Context) -> Result<(), CliError> {
    let tokens = list_tokens(context.items().await?).await?;
    let tokens = tokens.iter().map(TokenJson::of);
    match context.output {
        Format::Json => output::json(&tokens.collect::<Vec<_>>()),
        Format::Ndjson => tokens
            .into_iter()
            .try_for_each(|token| output::json(&token)),
        Format::Text if !for_a_person() => tokens.into_iter().try_for_each(|token| {
            let cells: Vec<_> = token
                .cells()
                .iter()
                .map(|cell| one_line(cell).into_owned())
                .collect();
            output::text(&format!("{}\n", cells.join("\t")))
        }),
        Format::Text | Format::Table => table(tokens).map_err(stdout_error),
    }
}

fn table<'a>(tokens: impl Iterator<Item = TokenJson<'a>>) -> std::io::Result<()> {
    let column = |title| Column {
        title,
        cut: title == "RULES",
    };
    let columns = ["NAME", "ID", "STATE", "RULES", "ENDS", "CREATED"].map(column);
    let mut table = Table::new(Box::new(buffered()) as Box<dyn Write>, columns.into());
    for token in tokens {
        let cells = token.cells();
        table.row(
            cells
                .iter()
                .map(|cell| visible(cell).into_owned())
                .collect(),
        )?;
    }
    if !table.finish()? && for_a_person() {
        output::note("no tokens");
    }
    Ok(())
}
