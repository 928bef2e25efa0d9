//! Which server is behind a connection.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

/// The server behind a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// PostgreSQL, MySQL, MariaDB or SQLite.
    pub engine: &'static str,
    pub version: String,
}

impl Server {
    /// Asks the server what it is.
    ///
    /// # Errors
    /// What the database said.
    pub async fn of(db: &impl ConnectionTrait) -> Result<Self, DbErr> {
        let backend = db.get_database_backend();
        // Raw: each engine has a function of its own for it.
        let sql = match backend {
            DbBackend::Postgres => "SELECT current_setting('server_version') AS version",
            DbBackend::MySql => "SELECT version() AS version",
            _ => "SELECT sqlite_version() AS version",
        };
        let row = db
            .query_one_raw(Statement::from_string(backend, sql))
            .await?;
        let row = row.ok_or_else(|| DbErr::RecordNotFound(sql.to_owned()))?;
        let version: String = row.try_get("", "version")?;
        let engine = match backend {
            DbBackend::Postgres => "PostgreSQL",
            DbBackend::MySql if is_mariadb(&version) => "MariaDB",
            DbBackend::MySql => "MySQL",
            _ => "SQLite",
        };
        Ok(Self { engine, version })
    }

    /// MariaDB and MySQL speak one protocol and differ in names, such as those of their collations.
    pub fn is_mariadb(&self) -> bool {
        self.engine == "MariaDB"
    }
}

/// Whether a server that speaks MySQL's protocol, and calls itself by this version, is MariaDB.
pub(crate) fn is_mariadb(version: &str) -> bool {
    version.contains("MariaDB")
}
