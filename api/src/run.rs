//! How the service starts and ends.

use std::{
    convert::Infallible,
    future::pending,
    io::{self, Write},
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use database::{Connector, Engine, Failure, SessionSettings};
use migration::{HandMade, MigrateError};
use tokio::{
    net::{TcpListener, TcpSocket},
    signal::unix::Signal,
    sync::watch,
    task::{JoinError, spawn_blocking},
    time::{sleep, timeout},
};

use crate::{
    config::{Config, DEV_DATABASE},
    http::{client_network, log_failure, unreadable_head},
    net::{
        CertificateError, CertificateFiles, OpenConnections, OpenConnectionsSettings, Phase,
        Server, Tls,
    },
    router::{self, Endpoints},
    store::{RequestTime, Store, StoreSettings},
    telemetry::{Metrics, ServiceLog},
};

/// How long to wait before a database that was not there is tried again.
const MIGRATION_PAUSE: Duration = Duration::from_secs(1);

/// How many connections the kernel may hold ready for kvd; it may have a lower limit of its own.
const BACKLOG: u32 = 4096;

/// The descriptors that kvd has for itself …
const OWN_DESCRIPTORS: usize = 32;
/// … and for each connection to the database: SQLite's files are three.
const SESSION_DESCRIPTORS: usize = 3;

/// How many requests are worked on whose clients had closed their sending side, and how many may wait whose clients
/// close it later, for each connection to the database: an eighth of the calls that may wait for one.
const HALF_CLOSED: usize = 16;

/// How long to wait for the connections to the database to end.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// Why the service did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("cannot read the certificate: {0}")]
    Unread(JoinError),
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    #[error("cannot keep {DEV_DATABASE} to its owner: {0}")]
    DevDatabase(io::Error),
    #[error("cannot use the database: {0}")]
    Database(#[from] sea_orm::DbErr),
    #[error("cannot migrate the database: {0}")]
    Migrate(#[from] MigrateError),
}

/// Serves as configured until `stop` completes, and says on standard output where. At `reload` the certificate is read
/// again.
///
/// # Errors
/// See [`RunError`].
// Long: the steps of the start, one after the other.
pub async fn run(
    config: &Config,
    log: &ServiceLog,
    stop: impl Future<Output = ()>,
    reload: Signal,
) -> Result<(), RunError> {
    let mut stop = pin!(stop);
    // The file system may keep it waiting.
    let tls = tokio::select! {
        tls = open_tls(config) => tls?,
        () = &mut stop => return Ok(()),
    };
    let listeners = Listeners::open(config, tls.clone())?;
    config.log();
    if config.dev {
        database::make_private(DEV_DATABASE).map_err(RunError::DevDatabase)?;
    }
    // An embedded database is a file: it has to be made before it can be opened.
    let migrate_first = is_embedded(config) && (config.migrate || config.dev);
    if migrate_first {
        // Others that use the file may take their time, also when this one is told to end.
        tokio::select! {
            migrated = migrate_file(config) => migrated?,
            () = &mut stop => return Ok(()),
        }
    }
    let metrics = Arc::new(Metrics::new());
    log.register(&metrics);
    let settings = store_settings(config);
    let store = Store::new(&settings, &metrics, log_failure)?;
    let (set_phase, phase) = watch::channel(Phase::Serving);
    let endpoints = router::endpoints(config, &settings, &store, &metrics, phase.clone());
    listeners.announce(config)?;
    let serving = listeners.serve(config, endpoints, &metrics, phase);
    let migrations = migrate_beside(config, config.migrate && !migrate_first);
    let done = tokio::select! {
        ((), ()) = async { tokio::join!(serving, leave(config, stop, &set_phase)) } => Ok(()),
        failed = migrations => failed,
        never = reload_certificate(tls, reload) => match never {},
        never = store.remove_expired() => match never {},
    };
    // SQLite then tidies its files up. A call that still runs is not worth waiting for.
    let _ = timeout(CLOSE_TIME, store.close()).await;
    done
}

async fn open_tls(config: &Config) -> Result<Option<Arc<Tls>>, RunError> {
    let files = certificate_files(config);
    let opened = spawn_blocking(|| files.map(Tls::open).transpose()).await;
    let tls = opened.map_err(RunError::Unread)??;
    Ok(tls.map(Arc::new))
}

fn is_embedded(config: &Config) -> bool {
    config.database_url().engine() == Engine::Sqlite
}

/// Migrates beside the service, if that is asked for. A migration that is done does not end the service.
async fn migrate_beside(config: &Config, asked: bool) -> Result<(), RunError> {
    if asked {
        migrate_when_reachable(config).await?;
    }
    pending().await
}

/// Reads the certificate again whenever that is asked for.
async fn reload_certificate(tls: Option<Arc<Tls>>, mut reload: Signal) -> Infallible {
    loop {
        reload.recv().await;
        let Some(tls) = tls.clone() else {
            tracing::info!("there is no certificate to read again");
            continue;
        };
        let read = spawn_blocking(move || tls.reload()).await;
        match read {
            Ok(Ok(())) => tracing::info!("the certificate was read again; new connections get it"),
            Ok(Err(error)) => {
                tracing::error!(%error, "the new certificate cannot be used; the one before stays in force");
            }
            Err(error) => tracing::error!(%error, "the certificate was not read again"),
        }
    }
}

/// Tells the rest of the service to end when `stop` completes.
async fn leave(config: &Config, stop: impl Future<Output = ()>, phase: &watch::Sender<Phase>) {
    stop.await;
    tracing::info!("leaving");
    phase.send_replace(Phase::Leaving);
    sleep(config.shutdown_delay).await;
    phase.send_replace(Phase::Closing);
}

/// Where the service listens.
struct Listeners {
    public: TcpListener,
    /// Of the public one.
    tls: Option<Arc<Tls>>,
    admin: Option<TcpListener>,
}

impl Listeners {
    fn open(config: &Config, tls: Option<Arc<Tls>>) -> Result<Self, RunError> {
        Ok(Self {
            tls,
            public: listen(config.listen)?,
            admin: config.admin_listen.map(listen).transpose()?,
        })
    }

    fn announce(&self, config: &Config) -> Result<(), RunError> {
        let scheme = match self.tls {
            Some(_) => "https",
            None => "http",
        };
        announce(config, "", scheme, &self.public)?;
        match &self.admin {
            Some(admin) => announce(config, "admin ", "http", admin),
            None => Ok(()),
        }
    }

    /// Serves until the phase is closing.
    async fn serve(
        self,
        config: &Config,
        Endpoints { public, admin }: Endpoints,
        metrics: &Metrics,
        phase: watch::Receiver<Phase>,
    ) {
        let settings = OpenConnectionsSettings {
            descriptors: client_descriptors(config),
            half_closed: HALF_CLOSED.saturating_mul(config.database_max_connections as usize),
            client: client_network,
        };
        let open = OpenConnections::new(settings, metrics);
        let serve = |listener, tls, endpoint| {
            let server = Server {
                listener,
                tls,
                endpoint: Arc::new(endpoint),
                refuse: unreadable_head,
                max_connections: config.max_connections as usize,
                open: open.clone(),
            };
            server.serve(phase.clone(), config.shutdown_grace)
        };
        let admin = self.admin.map(|listener| serve(listener, None, admin));
        tokio::join!(serve(self.public, self.tls, public), async {
            if let Some(admin) = admin {
                admin.await;
            }
        });
    }
}

fn certificate_files(config: &Config) -> Option<CertificateFiles> {
    let (cert, key) = config.tls_cert.clone().zip(config.tls_key.clone())?;
    Some(CertificateFiles {
        cert,
        key,
        client_ca: config.tls_client_ca.clone(),
    })
}

/// How many descriptors there are for clients; at least half of all.
fn client_descriptors(config: &Config) -> usize {
    let all = rlimit::Resource::NOFILE.get_soft().unwrap_or(u64::MAX);
    let all = usize::try_from(all).unwrap_or(usize::MAX);
    let sessions = config.database_max_connections as usize;
    let own = OWN_DESCRIPTORS + SESSION_DESCRIPTORS.saturating_mul(sessions);
    all.saturating_sub(own).max(all / 2)
}

fn store_settings(config: &Config) -> StoreSettings {
    StoreSettings {
        url: config.database_url().clone(),
        connections: config.database_max_connections,
        max_value_bytes: config.max_value_bytes as usize,
        time: RequestTime(config.request_timeout),
    }
}

/// A migration may take its time.
fn migration_connector(config: &Config) -> Result<Connector, sea_orm::DbErr> {
    let settings = SessionSettings {
        statement_timeout: None,
        lock_timeout: Duration::from_mins(1),
        create_file: true,
        ..store_settings(config).session()
    };
    Connector::new(config.database_url(), &settings)
}

async fn migrate_file(config: &Config) -> Result<(), RunError> {
    let connector = migration_connector(config)?;
    // This says why there is none, while SeaORM's connection would only be tried again and again.
    let session = connector.open(config.request_timeout).await?;
    session.close().await?;
    let connection = connector.connection(config.request_timeout);
    migration::up(&connection, |_| ()).await?;
    Ok(())
}

/// The service is live, but not ready, while its database is not there.
async fn migrate_when_reachable(config: &Config) -> Result<(), RunError> {
    let connector = migration_connector(config)?;
    let database = connector.connection(config.request_timeout);
    let mut said = false;
    loop {
        let adopting = |table: HandMade| {
            tracing::info!(rows = table.rows, "adopting a table items made by hand");
        };
        let done = async {
            // SeaORM's connection would repeat the driver's words, which may show a part of a password.
            connector
                .open(config.request_timeout)
                .await?
                .close()
                .await?;
            migration::up(&database, adopting).await
        };
        match done.await {
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
        MigrateError::ForeignTable(_)
        | MigrateError::ForeignTokens
        | MigrateError::Encoding(_)
        | MigrateError::Temporary
        | MigrateError::Newer(_)
        | MigrateError::Loses(_) => false,
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

fn announce(
    config: &Config,
    name: &str,
    scheme: &str,
    listener: &TcpListener,
) -> Result<(), RunError> {
    let bound = listener.local_addr();
    let address = bound.map_err(|error| RunError::Listen(config.listen, error))?;
    let mut text = format!("{name}listening on {scheme}://{address}\n");
    if config.dev && name.is_empty() {
        text += &format!(
            "explorer: {scheme}://{address}/docs\n\
             try it:   curl -X POST {scheme}://{address}/items/ -H 'Content-Type: application/json' \
             -d '{{\"key\":\"hello\",\"value\":\"world\"}}'\n"
        );
    }
    // It does not matter if no program reads it.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(())
}
