//! `kvd`: reads the configuration, starts the log, serves until told to stop.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use api::{Config, run, start_log};
use settings::SettingsError;
use tokio::signal::unix::{SignalKind, signal};

/// The system's takes twice as long for the many small pieces of a request.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A mistake in the configuration.
const MISTAKE: u8 = 2;

fn main() -> ExitCode {
    let config = match Config::load(std::env::args_os()) {
        Ok(config) => config,
        Err(SettingsError::Help(text)) => {
            // It does not matter if no program reads it.
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(SettingsError::Invalid(line)) => {
            return fail(&format!("{line} (see kvd --help)"), MISTAKE);
        }
    };
    if let Err(line) = start_log(config.log_format, config.dev) {
        return fail(&line, MISTAKE);
    }
    match serve(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string(), 1),
    }
}

#[tokio::main]
async fn serve(config: &Config) -> Result<(), Box<dyn std::error::Error>> {
    // As many connections as the system allows; where it allows no more, what there is must do.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    config.log();
    Ok(run(config, stop).await?)
}

fn fail(line: &str, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "kvd: {line}");
    ExitCode::from(code)
}
