//! What a test may do to a private server, and how that is undone.
//!
//! What these say is waited for with `.await`, so that clients of the same test go on meanwhile.

use std::{
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use nix::sys::signal::Signal;
use reqwest::Url;
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, DbErr, Statement};
use tokio::time::sleep;

use crate::{
    engine::Engine,
    pace::{PATIENCE, Stopwatch, stretched},
    process,
    server::{Place, Server, private::Private},
};

/// What a server of MySQL or MariaDB may have set for every session, so that statements would mean something
/// else, or would not be run, or would be run in part.
const OTHERWISE: [(&str, &str); 19] = [
    ("sql_safe_updates", "1"),
    ("sql_select_limit", "1"),
    ("autocommit", "0"),
    ("completion_type", "2"),
    ("sql_auto_is_null", "1"),
    ("sql_big_selects", "0"),
    ("max_join_size", "1"),
    ("max_sort_length", "64"),
    ("group_concat_max_len", "4"),
    ("tx_isolation", "'SERIALIZABLE'"),
    ("character_set_client", "'latin1'"),
    ("character_set_results", "'latin1'"),
    ("collation_connection", "'latin1_swedish_ci'"),
    ("unique_checks", "0"),
    ("foreign_key_checks", "0"),
    ("sql_quote_show_create", "0"),
    ("default_storage_engine", "'MyISAM'"),
    ("sql_if_exists", "1"),
    ("sql_mode", "''"),
];

/// The user kvd is when the test wants to refuse it something: an ordinary one.
const USER: &str = "ordinary";

impl Server {
    /// Ends it in an orderly way, and with it all sessions.
    pub async fn shut_down(&self) {
        process::send(
            self.pid(),
            match self.engine {
                // "Fast": without waiting for clients to go.
                Engine::Postgres => Signal::SIGINT,
                Engine::Mysql | Engine::Sqlite => Signal::SIGTERM,
            },
        );
        self.ended().await;
    }

    /// `kill -9` of the server and all of its processes.
    pub async fn kill(&self) {
        let all = self.processes();
        for pid in &all {
            process::send(*pid, Signal::SIGKILL);
        }
        self.ended().await;
        // PostgreSQL does not start while a process of before holds its shared memory.
        until("the server's processes are gone", || {
            !all.iter().any(|pid| process::lives(*pid))
        })
        .await;
    }

    /// Starts it again, on the same port and data, and waits until it serves.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn start(&self) {
        {
            let mut private = self.private();
            let private = private.as_mut().expect("a private server");
            private.child = private.command.spawn().expect("the server starts again");
        }
        self.serves().await;
    }

    /// Stops the clock of all its processes: connections stay open, and no request is answered.
    pub async fn freeze(&self) {
        // The first is the one that would start more.
        loop {
            let all = self.processes();
            for pid in &all {
                process::send(*pid, Signal::SIGSTOP);
            }
            if self.processes() == all {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        for pid in self.processes() {
            process::send(pid, Signal::SIGCONT);
        }
    }

    /// Ends all sessions of kvd's; how many there were.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn end_sessions(&self, database: &str) -> usize {
        let list = match self.engine {
            Engine::Postgres => format!(
                "SELECT pid::bigint FROM pg_stat_activity \
                 WHERE datname = '{database}' AND application_name = 'kvd'"
            ),
            Engine::Mysql | Engine::Sqlite => {
                format!("SELECT id FROM information_schema.processlist WHERE db = '{database}'")
            }
        };
        let admin = self.admin();
        let list = Statement::from_string(admin.get_database_backend(), list);
        let rows = admin.query_all_raw(list).await.expect("the sessions");
        let sessions: Vec<i64> = rows
            .iter()
            .map(|row| row.try_get_by_index(0).expect("a number"))
            .collect();
        for session in &sessions {
            let end = match self.engine {
                Engine::Postgres => format!("SELECT pg_terminate_backend({session})"),
                Engine::Mysql | Engine::Sqlite => format!("KILL CONNECTION {session}"),
            };
            // One that is gone meanwhile is an error to MariaDB, and just as well.
            let _ended = self.administrate(&end).await;
        }
        sessions.len()
    }

    /// Makes the server read-only for all users without the right to write nevertheless, or writable again.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn set_read_only(&self, read_only: bool) {
        let value = if read_only { "on" } else { "off" };
        let statements = match self.engine {
            Engine::Postgres => vec![
                format!("ALTER SYSTEM SET default_transaction_read_only = {value}"),
                "SELECT pg_reload_conf()".to_owned(),
            ],
            Engine::Mysql | Engine::Sqlite => vec![format!("SET GLOBAL read_only = {value}")],
        };
        for sql in statements {
            let done = self.administrate(&sql).await;
            done.unwrap_or_else(|e| panic!("{sql}: {e}"));
        }
    }

    /// From now on a session with MySQL or MariaDB begins with variables as unlike the usual ones as can be, and
    /// with these SQL modes.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn set_otherwise(&self, sql_mode: &str) {
        for (name, value) in OTHERWISE {
            let sql = format!("SET GLOBAL {name} = {value}");
            let done = self.administrate(&sql).await;
            done.unwrap_or_else(|e| panic!("{sql}: {e}"));
        }
        let sql = format!("SET GLOBAL sql_mode = '{sql_mode}'");
        let done = self.administrate(&sql).await;
        done.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// The URL of a database for a user without special rights, so that limits count for it.
    ///
    /// # Panics
    ///
    /// If the server refuses to make the user.
    pub async fn url_of_ordinary_user(&self, database: &str) -> String {
        let mut url = Url::parse(&self.url(database)).expect("a URL");
        let password = url.password().unwrap_or_default().to_owned();
        let statements = match self.engine {
            Engine::Postgres => vec![
                format!("CREATE ROLE {USER} LOGIN PASSWORD '{password}'"),
                format!("GRANT pg_read_all_data, pg_write_all_data TO {USER}"),
            ],
            Engine::Mysql | Engine::Sqlite => vec![
                format!("CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY '{password}'"),
                format!("GRANT ALL ON {database}.* TO {USER}@'127.0.0.1'"),
            ],
        };
        for sql in statements {
            let done = self.administrate(&sql).await;
            done.unwrap_or_else(|e| panic!("{sql}: {e}"));
        }
        url.set_username(USER).expect("a URL with a host");
        url.into()
    }

    /// How many sessions the ordinary user may have; those it has stay.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn limit_ordinary_user(&self, sessions: Option<u32>) {
        let sql = match (self.engine, sessions) {
            (Engine::Postgres, Some(n)) => format!("ALTER ROLE {USER} CONNECTION LIMIT {n}"),
            (Engine::Postgres, None) => format!("ALTER ROLE {USER} CONNECTION LIMIT -1"),
            (_, n) => format!(
                "ALTER USER {USER}@'127.0.0.1' WITH MAX_USER_CONNECTIONS {}",
                n.unwrap_or_default()
            ),
        };
        let done = self.administrate(&sql).await;
        done.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// Undoes whatever a test did to it, if it is a private server.
    pub(crate) async fn mend(&self) {
        if self.private().is_none() {
            return;
        }
        self.thaw();
        let ended = {
            let mut private = self.private();
            private
                .as_mut()
                .is_some_and(|p| matches!(p.child.try_wait(), Ok(Some(_))))
        };
        if ended {
            self.start().await;
        }
        let statements = match self.engine {
            Engine::Postgres => vec![
                "ALTER SYSTEM RESET ALL".to_owned(),
                "SELECT pg_reload_conf()".to_owned(),
                format!("DROP ROLE IF EXISTS {USER}"),
            ],
            Engine::Mysql | Engine::Sqlite => vec![
                "SET GLOBAL read_only = off".to_owned(),
                format!("DROP USER IF EXISTS {USER}@'127.0.0.1'"),
            ],
        };
        for sql in statements {
            self.insist(&sql).await;
        }
        if self.engine == Engine::Mysql {
            for (name, _) in OTHERWISE {
                self.insist(&format!("SET GLOBAL {name} = DEFAULT")).await;
            }
        }
    }

    /// The server's process, and those it has started.
    fn processes(&self) -> Vec<u32> {
        let pid = self.pid();
        let mut all = process::children(pid);
        all.insert(0, pid);
        all
    }

    fn pid(&self) -> u32 {
        let private = self.private();
        private.as_ref().expect("a private server").child.id()
    }

    async fn ended(&self) {
        until("the server ends", || {
            let mut private = self.private();
            let private = private.as_mut().expect("a private server");
            matches!(private.child.try_wait(), Ok(Some(_)))
        })
        .await;
    }

    /// Until it takes a connection. Not by way of the pool, which would be late to notice.
    async fn serves(&self) {
        let watch = Stopwatch::start();
        while let Err(e) = self.probe().await {
            assert!(watch.elapsed() < PATIENCE, "the server does not serve: {e}");
        }
    }

    async fn probe(&self) -> Result<(), DbErr> {
        let Place::Server { url, .. } = &self.place else {
            panic!("SQLite has no server");
        };
        let mut options = ConnectOptions::new(url.as_str());
        options
            .max_connections(1)
            .acquire_timeout(stretched(Duration::from_millis(300)))
            .sqlx_logging(false);
        sea_orm::Database::connect(options).await?.close().await
    }

    /// Runs a statement which the server may still refuse for the reason that is just being undone.
    async fn insist(&self, sql: &str) {
        let watch = Stopwatch::start();
        while let Err(e) = self.administrate(sql).await {
            assert!(watch.elapsed() < PATIENCE, "{sql}: {e}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn admin(&self) -> &DatabaseConnection {
        match &self.place {
            Place::Server { admin, .. } => admin,
            Place::Directory(_) => panic!("SQLite has no server"),
        }
    }

    fn private(&self) -> MutexGuard<'_, Option<Private>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let watch = Stopwatch::start();
    while !holds() {
        assert!(watch.elapsed() < PATIENCE, "waited in vain until {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
