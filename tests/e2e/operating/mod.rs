//! How kvd is set up, run and watched: its settings, its log, and what the handbook shows.

mod alerts;
mod apache;
mod backup;
mod behind_a_proxy;
mod certificates;
mod configuration;
mod database_url;
mod dev;
mod dotenv;
mod fleet;
pub(crate) mod grants;
mod haproxy;
mod log_output;
mod logging;
pub(crate) mod metrics;
mod nginx;
mod pgbouncer;
mod pool;
mod rights;
mod secrets;
mod session_variables;
mod shutdown;
mod tls;

tests::topics! {
    alerts,
    apache,
    backup,
    certificates,
    configuration,
    database_url,
    dev,
    dotenv,
    fleet,
    haproxy,
    log_output,
    logging,
    metrics,
    nginx,
    pgbouncer,
    pool,
    rights,
    secrets,
    session_variables,
    shutdown,
    tls,
}
