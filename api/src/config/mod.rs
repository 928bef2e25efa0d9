//! The settings of `kvd`: flags, environment, `.env`, defaults.

mod values;

use std::{ffi::OsString, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{
    CommandFactory, FromArgMatches, Parser, ValueEnum, builder::BoolishValueParser,
    parser::ValueSource,
};
use database::DatabaseUrl;
use humantime::format_duration;
use poem::http::HeaderName;
use settings::{Settings, SettingsError};

use self::values::{bytes, client_ip_header, duration, request_timeout, window};
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
/// directory, in this order. By default kvd serves this machine alone: on any other address say with --auth who is
/// let in, and give it a certificate or a proxy that has one.
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

    /// Whether requests need a token of kvctl token create; off by default on a loopback address, else to be given
    #[arg(long, env, value_name = "WHAT", value_enum)]
    pub auth: Option<Auth>,

    /// Certificate (PEM) with those between it and its authority: --listen then speaks TLS, and only that; read again
    /// at SIGHUP
    #[arg(long, env, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// Key of the certificate (PEM)
    #[arg(long, env, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Authorities (PEM) of client certificates, which clients of --listen then need
    #[arg(long, env, value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,

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

/// Who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Auth {
    /// Everybody who reaches the address
    Off,
    /// Who sends a token
    Tokens,
}

impl fmt::Display for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Tokens => "tokens",
        })
    }
}

impl Config {
    /// Says in the log what is in force. The database's URL shows no password.
    pub fn log(&self) {
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            database_url = %self.database_url(),
            listen = %self.listen,
            auth = %self.auth.unwrap_or(Auth::Off),
            tls_cert = self.tls_cert.as_ref().map(|path| tracing::field::display(path.display())),
            tls_key = self.tls_key.as_ref().map(|path| tracing::field::display(path.display())),
            tls_client_ca = self.tls_client_ca.as_ref().map(|path| tracing::field::display(path.display())),
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
        if self.auth.is_none() && !self.listen.ip().to_canonical().is_loopback() {
            return Err(SettingsError::invalid(format!(
                "{} can be reached from elsewhere: with --auth tokens (AUTH=tokens) requests need a token, with \
                 --auth off (AUTH=off) everybody may read and write everything",
                self.listen
            )));
        }
        match (&self.tls_cert, &self.tls_key, &self.tls_client_ca) {
            (Some(_), Some(_), _) | (None, None, None) => {}
            _ => {
                return Err(SettingsError::invalid(
                    "TLS needs --tls-cert (TLS_CERT) and --tls-key (TLS_KEY), --tls-client-ca (TLS_CLIENT_CA) beside them",
                ));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_sound() {
        Config::command().debug_assert();
    }
}
