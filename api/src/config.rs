//! The settings of `kvd`: flags, environment, `.env`, defaults.

use std::{ffi::OsString, net::SocketAddr, str::FromStr, time::Duration};

use clap::{
    CommandFactory, FromArgMatches, Parser, builder::BoolishValueParser, parser::ValueSource,
};
use database::DatabaseUrl;
use humantime::{format_duration, parse_duration};
use poem::http::HeaderName;
use settings::{Settings, SettingsError};

use crate::{
    http::{AllowedHosts, MemoryBudget, TrustedProxies},
    net::listen_address,
    telemetry::LogFormat,
};

/// The file of `--dev`, in the working directory.
pub(crate) const DEV_DATABASE: &str = "kvd-dev.db";

/// A key-value REST service on the SQL database you already run.
///
/// Each setting is a flag, an environment variable or a line of the file .env in the working
/// directory, in this order. kvd has no authentication and no TLS: keep it behind a proxy.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "kvd",
    version,
    after_help = "Example: kvd --dev\nThen:    curl -X POST http://127.0.0.1:8000/items/ \
                  -H 'Content-Type: application/json' -d '{\"key\":\"hello\",\"value\":\"world\"}'"
)]
pub struct Config {
    /// Database: postgres://, mysql:// or sqlite:// (required unless --dev)
    #[arg(long, env, value_name = "URL", hide_env_values = true)]
    pub database_url: Option<DatabaseUrl>,

    /// Address or name to serve on; port 0 takes a free port and prints it
    #[arg(
        long = "listen",
        env = "LISTEN_ADDR",
        value_name = "ADDR:PORT",
        value_parser = listen_address,
        default_value = "127.0.0.1:8000"
    )]
    pub listen: SocketAddr,

    /// Address or name for /livez, /readyz and /metrics, which then leave the public address
    #[arg(
        long = "admin-listen",
        env = "ADMIN_LISTEN_ADDR",
        value_name = "ADDR:PORT",
        value_parser = listen_address
    )]
    pub admin_listen: Option<SocketAddr>,

    /// Embedded SQLite file kvd-dev.db in the working directory, migrated at start; log for people
    #[arg(long)]
    pub dev: bool,

    /// Apply pending migrations at start
    #[arg(
        long,
        env,
        value_name = "BOOL",
        value_parser = BoolishValueParser::new(),
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true"
    )]
    pub migrate: bool,

    /// Most connections to the database
    #[arg(long, env, value_name = "N", default_value = "16", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub database_max_connections: u32,

    /// Time a request may take, such as 500ms or 5s
    #[arg(long, env, value_name = "DURATION", default_value = "5s", value_parser = request_timeout)]
    pub request_timeout: Duration,

    /// Most requests of one client in any window; 0 turns the limiter off
    #[arg(long, env, value_name = "N", default_value = "60", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub rate_limit: u32,

    /// Length of the window, in whole seconds
    #[arg(long, env, value_name = "DURATION", default_value = "60s", value_parser = window)]
    pub rate_limit_window: Duration,

    /// Most clients the limiter remembers
    #[arg(
        long,
        env,
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..=100_000_000),
        default_value = "100000"
    )]
    pub rate_limit_max_clients: u64,

    /// Proxies whose CLIENT_IP_HEADER is believed: addresses or networks, by comma
    #[arg(
        long,
        env,
        value_name = "CIDR,…",
        default_value = "",
        hide_default_value = true
    )]
    pub trusted_proxies: TrustedProxies,

    /// Header in which a trusted proxy names its client
    #[arg(long, env, value_name = "NAME", default_value = "x-forwarded-for", value_parser = client_ip_header)]
    pub client_ip_header: HeaderName,

    /// Names to answer to on a loopback address, beside localhost: by comma, or * for all
    #[arg(
        long,
        env,
        value_name = "NAME,…",
        default_value = "",
        hide_default_value = true
    )]
    pub allowed_hosts: AllowedHosts,

    /// Most bytes of a value
    #[arg(
        long,
        env,
        value_name = "BYTES",
        value_parser = settings::max_value_bytes(),
        default_value = settings::DEFAULT_MAX_VALUE_BYTES
    )]
    pub max_value_bytes: u32,

    /// Most memory for bodies being received, values being answered and pages, such as 512MiB; if it is
    /// not given, at least 8 × MAX_VALUE_BYTES
    #[arg(long, env, value_name = "BYTES", default_value = "256MiB", value_parser = bytes)]
    pub memory_budget: usize,

    /// Most client connections
    #[arg(
        long,
        env,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000),
        default_value = "10000"
    )]
    pub max_connections: u32,

    /// How long to go on serving, not ready, after SIGTERM or SIGINT
    #[arg(long, env, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub shutdown_delay: Duration,

    /// How long requests under way may take after that
    #[arg(long, env, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub shutdown_grace: Duration,

    /// Log for people (text) or for machines (json); RUST_LOG sets levels
    #[arg(long, env, value_name = "FORMAT", default_value = "text", value_enum)]
    pub log_format: LogFormat,

    /// One line about a file `.env` that is there and cannot be read.
    #[arg(skip)]
    pub note: Option<String>,
}

impl Config {
    /// Says in the log what is in force. The database's URL shows no password.
    pub fn log(&self) {
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            database_url = %self.database_url(),
            listen = %self.listen,
            admin_listen = self.admin_listen.map(tracing::field::display),
            dev = self.dev,
            migrate = self.migrate,
            database_max_connections = self.database_max_connections,
            request_timeout = %format_duration(self.request_timeout),
            rate_limit = self.rate_limit,
            rate_limit_window = %format_duration(self.rate_limit_window),
            rate_limit_max_clients = self.rate_limit_max_clients,
            trusted_proxies = %self.trusted_proxies,
            client_ip_header = %self.client_ip_header,
            allowed_hosts = %self.allowed_hosts,
            max_value_bytes = self.max_value_bytes,
            memory_budget = self.memory_budget,
            max_connections = self.max_connections,
            shutdown_delay = %format_duration(self.shutdown_delay),
            shutdown_grace = %format_duration(self.shutdown_grace),
            "starting"
        );
        if let Some(note) = &self.note {
            tracing::warn!("{note}");
        }
    }

    /// Reads the arguments, the environment and `.env`.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn load(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, SettingsError> {
        let in_environment =
            std::env::var_os("DATABASE_URL").is_some_and(|value| !value.is_empty());
        let Settings { matches, note } = settings::read(Self::command, arguments, &[])?;
        let mut config = Self::from_arg_matches(&matches).map_err(settings::explain)?;
        config.note = note;
        let given = match matches.value_source("database_url") {
            Some(ValueSource::EnvVariable) => in_environment,
            source => source.is_some(),
        };
        if config.dev && given {
            return Err(SettingsError::invalid(
                "--dev has its own database: leave --database-url and DATABASE_URL out",
            ));
        }
        if config.dev && matches.value_source("log_format") != Some(ValueSource::CommandLine) {
            config.log_format = LogFormat::Text;
        }
        if config.dev {
            config.database_url = format!("sqlite://{DEV_DATABASE}").parse().ok();
        }
        config.settle_memory(matches.value_source("memory_budget"))?;
        config.check()?;
        Ok(config)
    }

    /// What no single setting shows.
    fn check(&self) -> Result<(), SettingsError> {
        if self.admin_listen == Some(self.listen) && self.listen.port() != 0 {
            return Err(SettingsError::invalid(
                "--listen and --admin-listen are the same address",
            ));
        }
        match &self.database_url {
            None => {
                let line = "no database: give --database-url or DATABASE_URL, or --dev for an \
                            embedded one";
                Err(SettingsError::Invalid(match &self.note {
                    Some(note) => format!("{line}; {note}"),
                    None => line.to_owned(),
                }))
            }
            Some(url) if self.migrate && url.pools_transactions() => Err(SettingsError::invalid(
                "--migrate needs a session of its own: with pool_mode=transaction run kvctl migrate \
                 on the server itself",
            )),
            Some(_) => Ok(()),
        }
    }

    /// The default grows with the values; what is given has to be enough for one request.
    fn settle_memory(&mut self, source: Option<ValueSource>) -> Result<(), SettingsError> {
        let value = self.max_value_bytes as usize;
        if source == Some(ValueSource::DefaultValue) {
            self.memory_budget = self.memory_budget.max(8 * value);
        }
        let least = MemoryBudget::of_one_request(value);
        if self.memory_budget < least {
            return Err(SettingsError::invalid(format!(
                "--memory-budget is less than one request can need: with values of {value} bytes at \
                 least {least}"
            )));
        }
        Ok(())
    }

    /// The database; every loaded configuration has one.
    pub fn database_url(&self) -> &DatabaseUrl {
        self.database_url
            .as_ref()
            .expect("load() refuses a configuration without a database")
    }
}

/// A duration such as `500ms`, `5s` or `1m 30s`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => parse_duration(text)
            .map_err(|_| "expected a duration such as 500ms, 5s or 2m".to_owned())?,
    };
    if parsed > Duration::from_hours(24) {
        return Err("expected at most 24h".to_owned());
    }
    Ok(parsed)
}

/// A number of bytes, such as `268435456`, `512KiB`, `256MiB` or `1GiB`.
fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text[digits.len()..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kib" => Some(1 << 10),
        "m" | "mib" => Some(1 << 20),
        "g" | "gib" => Some(1 << 30),
        _ => None,
    };
    let number = digits.parse::<u128>().ok();
    let bytes = number
        .zip(unit)
        .map(|(number, unit)| number.saturating_mul(unit));
    let bytes = bytes.ok_or("expected a number of bytes such as 268435456, 256MiB or 1GiB")?;
    // No memory that a program is given is larger.
    let most = isize::MAX as usize;
    let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= most);
    bytes.ok_or_else(|| format!("expected at most {most} bytes"))
}

fn request_timeout(text: &str) -> Result<Duration, String> {
    let parsed = duration(text)?;
    if parsed < Duration::from_millis(100) {
        return Err("expected at least 100ms".to_owned());
    }
    Ok(parsed)
}

fn window(text: &str) -> Result<Duration, String> {
    let parsed = duration(text)?;
    if parsed.subsec_nanos() != 0 || parsed.is_zero() {
        return Err("expected whole seconds, at least 1s".to_owned());
    }
    Ok(parsed)
}

fn client_ip_header(text: &str) -> Result<HeaderName, String> {
    let name =
        HeaderName::from_str(text).map_err(|_| "expected the name of a header".to_owned())?;
    if name == "forwarded" {
        // RFC 7239 has a syntax of its own, and hardly a proxy sends it.
        return Err("expected a header that lists addresses, such as x-forwarded-for".to_owned());
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_sound() {
        Config::command().debug_assert();
    }

    #[test]
    fn sizes_have_units_of_1024() {
        assert_eq!(bytes("268435456"), Ok(256 << 20));
        assert_eq!(bytes("256MiB"), Ok(256 << 20));
        assert_eq!(bytes("1 gib"), Ok(1 << 30));
        assert_eq!(bytes("512k"), Ok(512 << 10));
        for wrong in ["", "MiB", "-1", "1.5GiB", "256MB", "1٣"] {
            let told = bytes(wrong).unwrap_err();
            assert!(told.contains("such as 268435456"), "{wrong}: {told}");
        }
        assert_eq!(bytes("9223372036854775807"), Ok(isize::MAX as usize));
        for large in ["9223372036854775808", "8589934592GiB", "99999999999999GiB"] {
            let told = bytes(large).unwrap_err();
            assert!(told.contains("at most"), "{large}: {told}");
        }
    }

    #[test]
    fn durations_have_units_and_bounds() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        assert!(duration("soon").is_err());
        assert!(duration("2days").is_err());
        assert!(request_timeout("99ms").is_err());
        assert!(window("1500ms").is_err());
        assert!(window("0s").is_err());
        assert_eq!(window("60s"), Ok(Duration::from_mins(1)));
    }
}
