//! How `kvd` and `kvctl` read flags, environment and `.env`, and how they say what is wrong with
//! them: in one line that holds no secret.

mod dotenv;
mod unprintable;

pub use self::unprintable::is_unprintable;

use std::{
    env,
    error::Error,
    ffi::{OsStr, OsString},
};

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

/// What was read.
pub struct Settings {
    pub matches: ArgMatches,
    /// One line about a file `.env` that is there and cannot be read.
    pub note: Option<String>,
}

/// Reads the arguments, the environment, and `.env` of the working directory. A variable that is empty
/// counts as not set: templates leave such variables behind.
///
/// Help, version, a mistake in the arguments, and the subcommands named here need no settings. So for
/// them neither the environment nor `.env` is read, in which something may be wrong.
///
/// # Errors
/// See [`SettingsError`].
pub fn read(
    command: impl Fn() -> Command,
    arguments: impl IntoIterator<Item = OsString>,
    without_settings: &[&str],
) -> Result<Settings, SettingsError> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let by_arguments = without_variables(command(), |_| true);
    let matches = match by_arguments.try_get_matches_from(&arguments) {
        Ok(matches) => matches,
        Err(error) if error.exit_code() == 0 => {
            // Help names the variables.
            let with_variables = command().try_get_matches_from(&arguments);
            let named = with_variables.err().filter(|error| error.exit_code() == 0);
            return Err(explain(named.unwrap_or(error)));
        }
        Err(error) => return Err(explain(error)),
    };
    let subcommand = matches.subcommand_name().unwrap_or_default();
    if without_settings.contains(&subcommand) {
        let note = None;
        return Ok(Settings { matches, note });
    }
    // Before the command is made: clap reads the environment while it is.
    let note = dotenv::load().map_err(SettingsError::Invalid)?;
    let matches = without_variables(command(), OsStr::is_empty).try_get_matches_from(arguments);
    let matches = matches.map_err(explain)?;
    Ok(Settings { matches, note })
}

/// Takes the variables away whose value is like this, also from the subcommands.
fn without_variables(command: Command, is_unwanted: fn(&OsStr) -> bool) -> Command {
    let command = command.mut_args(|argument| {
        let value = argument.get_env().and_then(env::var_os);
        match value.is_some_and(|value| is_unwanted(&value)) {
            true => argument.env(Resettable::Reset),
            false => argument,
        }
    });
    command.mut_subcommands(|subcommand| without_variables(subcommand, is_unwanted))
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
