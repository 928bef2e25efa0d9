//! `kvd`: reads the configuration, starts the log, serves until told to stop.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use api::{Config, RunError, ServiceLog, run};
use nix::sys::signal::{SigSet, Signal};
use settings::SettingsError;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

/// The system's takes twice as long for the many small pieces of a request.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A mistake in the configuration.
const MISTAKE: u8 = 2;

fn main() -> ExitCode {
    // A reload may be asked for before kvd listens to that, and would end it. Blocked, it waits.
    let hangup = SigSet::from(Signal::SIGHUP);
    let _ = hangup.thread_block();
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
    match serve(&config, &log, hangup) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let is_mistake = matches!(error.downcast_ref(), Some(RunError::Certificate(_)));
            fail(
                &log,
                &error.to_string(),
                if is_mistake { MISTAKE } else { 1 },
            )
        }
    }
}

fn serve(
    config: &Config,
    log: &ServiceLog,
    hangup: SigSet,
) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::new()?;
    let done = runtime.block_on(serve_until_stopped(config, log, hangup));
    // A file that cannot be read for want of an answer must not keep kvd.
    runtime.shutdown_background();
    done
}

async fn serve_until_stopped(
    config: &Config,
    log: &ServiceLog,
    hangup: SigSet,
) -> Result<(), Box<dyn std::error::Error>> {
    // As many connections as the system allows; where it allows no more, what there is must do.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let (mut terminate, mut interrupt, reload) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    );
    hangup.thread_unblock()?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(run(config, log, stop, reload).await?)
}

fn fail(log: &ServiceLog, line: &str, code: u8) -> ExitCode {
    log.say(line);
    ExitCode::from(code)
}
