//! How `kvd` and `kvctl` read flags, environment and `.env`, and how they say what is wrong with
//! them: in one line that holds no secret.

mod unprintable;

pub use self::unprintable::is_unprintable;

use std::{error::Error, ffi::OsString, fs, io};

use clap::{
    ArgMatches, Command,
    builder::{RangedI64ValueParser, Resettable},
    error::{ContextKind, ContextValue, ErrorKind},
};

/// Why there are no settings.
#[derive(Debug)]
pub enum SettingsError {
    /// Not an error: the text of `--help` or `--version`, for standard output.
    Help(String),
    /// What is wrong with a setting: one line for standard error.
    Invalid(String),
}

impl SettingsError {
    pub fn invalid(line: impl Into<String>) -> Self {
        Self::Invalid(line.into())
    }
}

/// The default of `--max-value-bytes`, the bound on values, of `kvd` and `kvctl`.
pub const DEFAULT_MAX_VALUE_BYTES: &str = "262144";

/// Reads `--max-value-bytes`: at most 64 MiB, since a request and its answer hold a value in memory
/// as a whole.
pub fn max_value_bytes() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(0..=67_108_864)
}

/// Reads `.env` of the working directory, then the arguments and the environment. A variable that is
/// empty counts as not set: templates leave such variables behind.
///
/// # Errors
/// See [`SettingsError`].
pub fn matches(
    command: impl FnOnce() -> Command,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<ArgMatches, SettingsError> {
    // Before the command is made: clap reads the environment while it is.
    load_dotenv()?;
    let command = command().mut_args(|argument| {
        let value = argument.get_env().and_then(std::env::var_os);
        if value.is_some_and(|value| value.is_empty()) {
            argument.env(Resettable::Reset)
        } else {
            argument
        }
    });
    command.try_get_matches_from(arguments).map_err(explain)
}

/// Sets what `.env` names and the environment does not.
fn load_dotenv() -> Result<(), SettingsError> {
    let text = match fs::read_to_string(".env") {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(SettingsError::invalid(format!("cannot read .env: {error}"))),
    };
    dotenvy::from_read(text.as_bytes()).map_err(|error| match error {
        // The line itself may hold a password.
        dotenvy::Error::LineParse(line, _) => {
            let number = text.lines().position(|l| l.trim() == line.trim());
            SettingsError::Invalid(match number {
                Some(index) => format!(".env: line {} cannot be read", index + 1),
                None => ".env: a line cannot be read".to_owned(),
            })
        }
        other => SettingsError::Invalid(format!(".env: {other}")),
    })
}

/// One line instead of clap's paragraph, and never the value of a secret.
pub fn explain(error: clap::Error) -> SettingsError {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return SettingsError::Help(error.render().to_string());
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return SettingsError::invalid("say what to do");
    }
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let flag = context(ContextKind::InvalidArg);
    SettingsError::Invalid(match error.source() {
        Some(why) if flag.starts_with("--database-url") => format!("{flag}: {why}"),
        Some(why) => {
            let value = context(ContextKind::InvalidValue);
            without_password(&format!("{flag}: {why} (given {value:?})"))
        }
        None => {
            let text = error.render().to_string();
            let lines = text.lines().take_while(|line| !line.is_empty());
            let paragraph: Vec<_> = lines.map(str::trim).collect();
            let line = paragraph.join(" ");
            without_password(line.trim_start_matches("error: "))
        }
    })
}

/// Hides the password of a database URL that was given where none belongs.
pub fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let shown = match rest.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:***@{host}"),
            None => text.to_owned(),
        },
        None => text.to_owned(),
    };
    let Some((before, password)) = shown.split_once("password=") else {
        return shown;
    };
    let end = password.find(['&', '\'', '"', ' ']);
    let after = &password[end.unwrap_or(password.len())..];
    format!("{before}password=***{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_hidden_wherever_it_stands() {
        for (text, shown) in [
            (
                "unexpected argument 'postgres://u:p@ss@h/db' found",
                "unexpected argument 'postgres://u:***@h/db' found",
            ),
            (
                "(given \"mysql://h/db?password=p&ssl-mode=required\")",
                "(given \"mysql://h/db?password=***&ssl-mode=required\")",
            ),
            (
                "postgres://u@h/db?password=p",
                "postgres://u@h/db?password=***",
            ),
            ("postgres://u@h:5432/db: no", "postgres://u@h:5432/db: no"),
            ("plain@text:s", "plain@text:s"),
        ] {
            assert_eq!(without_password(text), shown);
        }
    }
}
