//! How the service starts and ends.

use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use database::{Connector, Engine, Failure, SessionSettings};
use migration::{HandMade, MigrateError};
use sea_orm::DatabaseConnection;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    config::Config,
    database::{Database, session_settings},
    metrics::Metrics,
    routes::{self, Endpoints},
    server::{Phase, Server},
};

/// How long to wait before a database that was not there is tried again.
const MIGRATION_PAUSE: Duration = Duration::from_secs(1);

/// How many connections the kernel may hold ready for us; it may have a lower limit of its own.
const BACKLOG: u32 = 4096;

/// How long to wait for the connections to the database to end.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// Why the service did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    #[error("cannot use the database: {0}")]
    Database(#[from] sea_orm::DbErr),
    #[error("cannot migrate the database: {0}")]
    Migrate(#[from] MigrateError),
}

/// Serves as configured until `stop` completes, and says on standard output where.
///
/// # Errors
/// See [`RunError`].
pub async fn run(config: &Config, stop: impl Future<Output = ()>) -> Result<(), RunError> {
    let listener = listen(config.listen)?;
    let admin_listener = match config.admin_listen {
        Some(address) => Some(listen(address)?),
        None => None,
    };
    // An embedded database is a file: it has to be made before it can be opened.
    let embedded = config.database_url().engine() == Engine::Sqlite;
    let migrate_first = embedded && (config.migrate || config.dev);
    if migrate_first {
        migration::up(&migration_connection(config)?, |_| ()).await?;
    }
    let metrics = Arc::new(Metrics::new());
    let database = Database::new(config, &metrics)?;
    let line = database.line().clone();
    let (set_phase, phase) = watch::channel(Phase::Serving);
    let Endpoints { public, admin } = routes::endpoints(config, database, &metrics, phase.clone());
    let server = |listener, endpoint| Server {
        listener,
        endpoint: Arc::new(endpoint),
        max_connections: config.max_connections as usize,
        open: metrics.connections.clone(),
    };

    announce(config, "", &listener)?;
    let public = server(listener, public).serve(phase.clone(), config.shutdown_grace);
    let admin = async {
        if let Some(listener) = admin_listener {
            announce(config, "admin ", &listener)?;
            server(listener, admin)
                .serve(phase, config.shutdown_grace)
                .await;
        }
        Ok(())
    };
    let leave = async {
        stop.await;
        tracing::info!("leaving");
        set_phase.send_replace(Phase::Leaving);
        sleep(config.shutdown_delay).await;
        set_phase.send_replace(Phase::Closing);
    };
    let migrations = async {
        if config.migrate && !migrate_first {
            migrate_when_reachable(config).await?;
        }
        // A migration that is done does not end the service.
        std::future::pending::<Result<(), RunError>>().await
    };
    let done = tokio::select! {
        ((), done, ()) = async { tokio::join!(public, admin, leave) } => done,
        failed = migrations => failed,
    };
    // SQLite then tidies its files up. A call that still runs is not worth waiting for.
    let _ = timeout(CLOSE_TIME, line.pool.close()).await;
    done
}

/// A migration may take its time.
fn migration_connection(config: &Config) -> Result<DatabaseConnection, sea_orm::DbErr> {
    let settings = SessionSettings {
        statement_timeout: None,
        lock_timeout: Duration::from_mins(1),
        create_file: true,
        ..session_settings(config)
    };
    let connector = Connector::new(config.database_url(), &settings)?;
    Ok(connector.connection(config.request_timeout))
}

/// The service is live, but not ready, while its database is not there.
async fn migrate_when_reachable(config: &Config) -> Result<(), RunError> {
    let database = migration_connection(config)?;
    let mut said = false;
    loop {
        let adopting = |table: HandMade| {
            tracing::info!(rows = table.rows, "adopting a table items made by hand");
        };
        match migration::up(&database, adopting).await {
            Ok(done) => {
                tracing::info!(applied = ?done.applied, adopted = done.adopted, "migrated");
                return Ok(());
            }
            Err(error) if is_passing(&error) => {
                if !said {
                    tracing::warn!(%error, "the database cannot be migrated yet; waiting");
                    said = true;
                }
                sleep(MIGRATION_PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the same migration may succeed later.
fn is_passing(error: &MigrateError) -> bool {
    match error {
        MigrateError::Locked => true,
        MigrateError::ForeignTable(_) | MigrateError::Encoding(_) | MigrateError::Newer(_) => false,
        MigrateError::Database(error) => Failure::of(error).may_pass(),
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, RunError> {
    let bound = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        // A restart need not wait for the connections of the process before it.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|error| RunError::Listen(address, error))
}

fn announce(config: &Config, name: &str, listener: &TcpListener) -> Result<(), RunError> {
    let bound = listener.local_addr();
    let address = bound.map_err(|error| RunError::Listen(config.listen, error))?;
    let mut text = format!("{name}listening on http://{address}\n");
    if config.dev && name.is_empty() {
        text += &format!(
            "explorer: http://{address}/docs\n\
             try it:   curl -X POST http://{address}/items/ -H 'Content-Type: application/json' \
             -d '{{\"key\":\"hello\",\"value\":\"world\"}}'\n"
        );
    }
    // Nobody need be there to read it.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(())
}
