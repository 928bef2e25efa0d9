//! The table `items`: created, or on PostgreSQL adopted from one made by hand.

use database::Server;
use sea_orm_migration::{
    prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, Table},
    sea_orm::{ConnectionTrait, DbBackend, Statement},
};

use crate::shape::{Shape, shape};

#[derive(DeriveMigrationName)]
pub(crate) struct CreateItems;

#[async_trait::async_trait]
impl MigrationTrait for CreateItems {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        let sql = match (shape(db).await?, db.get_database_backend()) {
            // Only on MySQL and MariaDB, whose schema changes are not transactional: an earlier run
            // made the table, and was stopped before the migration was recorded.
            (Shape::Ours, _) => return Ok(()),
            (Shape::HandMade, _) => ADOPT.to_owned(),
            (Shape::Other(difference), _) => return Err(DbErr::Migration(difference.join("; "))),
            (Shape::Absent, DbBackend::Postgres) => POSTGRES.to_owned(),
            (Shape::Absent, DbBackend::Sqlite) => SQLITE.to_owned(),
            (Shape::Absent, _) => {
                let collation = if Server::of(db).await?.is_mariadb() {
                    "utf8mb4_nopad_bin"
                } else {
                    "utf8mb4_0900_bin"
                };
                MYSQL.replace("$COLLATION", collation)
            }
        };
        db.execute_unprepared(&sql).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        if is_adopted(db).await? {
            return db.execute_unprepared(GIVE_BACK).await.map(drop);
        }
        let drop_items = Table::drop().table("items").if_exists().to_owned();
        manager.drop_table(drop_items).await
    }
}

/// Whether the table was made by hand, by the mark that [`ADOPT`] leaves.
async fn is_adopted(db: &impl ConnectionTrait) -> Result<bool, DbErr> {
    if db.get_database_backend() != DbBackend::Postgres {
        return Ok(false);
    }
    // Raw SQL: the builder could only wrap these functions of PostgreSQL.
    let sql = "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass('items') \
               AND attname = 'version' AND col_description(attrelid, attnum) = 'adopted by kvd'";
    let mark = Statement::from_string(DbBackend::Postgres, sql);
    Ok(db.query_one_raw(mark).await?.is_some())
}

// Raw SQL, here and below: the builder takes the collation of a column and `STRICT` only as raw
// text, and has neither a `DO` nor most of what `ALTER COLUMN` does here.

const POSTGRES: &str = r#"
CREATE TABLE items (
    id bigserial PRIMARY KEY,
    key text COLLATE "C" NOT NULL UNIQUE,
    value text NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
)
"#;

/// Adopts a table made by hand with one rewrite. Its times are UTC by contract; a time that is `NULL`,
/// infinite or outside the years 1 to 9999, which RFC 3339 cannot write, becomes the current time. Its
/// sequence may be behind ids that were inserted by hand; it is never moved back.
const ADOPT: &str = r#"
ALTER TABLE items
    ALTER COLUMN id TYPE bigint,
    ALTER COLUMN key TYPE text COLLATE "C",
    ALTER COLUMN created_at DROP DEFAULT,
    ALTER COLUMN updated_at DROP DEFAULT,
    ALTER COLUMN created_at TYPE timestamptz USING CASE
        WHEN created_at >= '0001-01-01' AND created_at < '10000-01-01'
        THEN created_at AT TIME ZONE 'UTC' ELSE now() END,
    ALTER COLUMN updated_at TYPE timestamptz USING CASE
        WHEN updated_at >= '0001-01-01' AND updated_at < '10000-01-01'
        THEN updated_at AT TIME ZONE 'UTC' ELSE now() END,
    ALTER COLUMN created_at SET DEFAULT now(),
    ALTER COLUMN updated_at SET DEFAULT now(),
    ALTER COLUMN created_at SET NOT NULL,
    ALTER COLUMN updated_at SET NOT NULL,
    ADD COLUMN version bigint NOT NULL DEFAULT 1;
COMMENT ON COLUMN items.version IS 'adopted by kvd';
DO $$ DECLARE sequence text := pg_get_serial_sequence('items', 'id'); BEGIN
    EXECUTE format('ALTER SEQUENCE %s AS bigint', sequence);
    EXECUTE format('SELECT setval(%L, top) FROM (SELECT max(id) AS top FROM items) i, %s s
                    WHERE top >= s.last_value + s.is_called::int', sequence, sequence);
END $$;
"#;

/// Takes [`ADOPT`] back: the table becomes again what was made by hand, with its rows.
const GIVE_BACK: &str = r#"
ALTER TABLE items
    DROP COLUMN version,
    ALTER COLUMN id TYPE integer,
    ALTER COLUMN key TYPE text COLLATE "default",
    ALTER COLUMN created_at DROP DEFAULT,
    ALTER COLUMN updated_at DROP DEFAULT,
    ALTER COLUMN created_at DROP NOT NULL,
    ALTER COLUMN updated_at DROP NOT NULL,
    ALTER COLUMN created_at TYPE timestamp USING created_at AT TIME ZONE 'UTC',
    ALTER COLUMN updated_at TYPE timestamp USING updated_at AT TIME ZONE 'UTC',
    ALTER COLUMN created_at SET DEFAULT CURRENT_TIMESTAMP,
    ALTER COLUMN updated_at SET DEFAULT CURRENT_TIMESTAMP;
DO $$ BEGIN EXECUTE format('ALTER SEQUENCE %s AS integer', pg_get_serial_sequence('items', 'id')); END $$;
"#;

/// `UTC_TIMESTAMP`, not `CURRENT_TIMESTAMP`: a session of other software may have any time zone.
const MYSQL: &str = "
CREATE TABLE items (
    id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    `key` varchar(512) CHARACTER SET utf8mb4 COLLATE $COLLATION NOT NULL,
    value longtext CHARACTER SET utf8mb4 COLLATE $COLLATION NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    created_at datetime(6) NOT NULL DEFAULT (utc_timestamp(6)),
    updated_at datetime(6) NOT NULL DEFAULT (utc_timestamp(6)),
    UNIQUE KEY items_key (`key`)
) ENGINE = InnoDB
";

/// SQLite's clock has milliseconds; the text has the digits of the other engines.
const SQLITE: &str = "
CREATE TABLE items (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    value TEXT NOT NULL,
    version INTEGER NOT NULL DEFAULT 1,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now')),
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now'))
) STRICT
";
