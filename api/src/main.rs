//! `kvd`: reads the configuration, starts the log, serves until told to stop.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use api::{Config, ServiceLog, run};
use settings::SettingsError;
use tokio::signal::unix::{SignalKind, signal};

/// The system's takes twice as long for the many small pieces of a request.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A mistake in the configuration.
const MISTAKE: u8 = 2;

fn main() -> ExitCode {
    // While there is no other thread, since what `.env` names becomes part of the environment.
    let loaded = Config::load(std::env::args_os());
    let log = ServiceLog::open();
    let config = match loaded {
        Ok(config) => config,
        Err(SettingsError::Help(text)) => {
            // It does not matter if no program reads it.
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(SettingsError::Invalid(line)) => {
            return fail(&log, &format!("{line} (see kvd --help)"), MISTAKE);
        }
    };
    if let Err(line) = log.start(config.log_format, config.dev) {
        return fail(&log, &line, MISTAKE);
    }
    match serve(&config, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&log, &error.to_string(), 1),
    }
}

#[tokio::main]
async fn serve(config: &Config, log: &ServiceLog) -> Result<(), Box<dyn std::error::Error>> {
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
    Ok(run(config, log, stop).await?)
}

fn fail(log: &ServiceLog, line: &str, code: u8) -> ExitCode {
    log.say(line);
    ExitCode::from(code)
}
