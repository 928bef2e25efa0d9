//! The table `kvd_tokens`.

use sea_orm_migration::{
    prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, Table},
    sea_orm::{ConnectionTrait, DbBackend},
};

use crate::tables::has_table;

pub(crate) const TOKEN_TABLE: &str = "kvd_tokens";

/// By its columns the table is told from one of others.
pub(crate) const TOKEN_COLUMNS: [&str; 8] = [
    "created_at",
    "expires_at",
    "id",
    "name",
    "retires_at",
    "revoked_at",
    "rules",
    "sha256",
];

#[derive(DeriveMigrationName)]
pub(crate) struct CreateTokens;

#[async_trait::async_trait]
impl MigrationTrait for CreateTokens {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        // `IF NOT EXISTS` would look at the first schema of PostgreSQL's search path alone.
        if has_table(db, TOKEN_TABLE).await? {
            return Ok(());
        }
        let sql = match db.get_database_backend() {
            DbBackend::Postgres => POSTGRES,
            DbBackend::MySql => MYSQL,
            _ => SQLITE,
        };
        db.execute_unprepared(sql).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let drop_tokens = Table::drop().table(TOKEN_TABLE).if_exists().to_owned();
        manager.drop_table(drop_tokens).await
    }
}

// Raw SQL, for the same reasons as that of the table `items`. The table may be there: `fresh` keeps the tokens, and
// an earlier run on MySQL or MariaDB may have been stopped before the migration was recorded.

const POSTGRES: &str = r#"
CREATE TABLE kvd_tokens (
    id bigserial PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    sha256 text COLLATE "C" NOT NULL UNIQUE,
    rules text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    retires_at timestamptz,
    revoked_at timestamptz
)
"#;

const MYSQL: &str = "
CREATE TABLE kvd_tokens (
    id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    sha256 char(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    rules mediumtext CHARACTER SET utf8mb4 NOT NULL,
    created_at datetime(6) NOT NULL DEFAULT (utc_timestamp(6)),
    expires_at datetime(6) NULL,
    retires_at datetime(6) NULL,
    revoked_at datetime(6) NULL,
    UNIQUE KEY kvd_tokens_sha256 (sha256),
    KEY kvd_tokens_name (name)
) ENGINE = InnoDB
";

const SQLITE: &str = "
CREATE TABLE kvd_tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL UNIQUE,
    rules TEXT NOT NULL,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now')),
    expires_at TEXT,
    retires_at TEXT,
    revoked_at TEXT
) STRICT
";
