//! The indexes that know `expires_at`: that of lists, and one of what expires.
//!
//! They are made beside the reads and writes of the table, which PostgreSQL does in no transaction. So each step looks
//! whether it is done already, and what was left half done is made anew.

use sea_orm_migration::{
    prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager},
    sea_orm::{ConnectionTrait, DbBackend, Statement},
};

use crate::{lock::POSTGRES_SHORT_WAIT, tables::has_table};

#[derive(DeriveMigrationName)]
pub(crate) struct IndexExpiry;

#[async_trait::async_trait]
impl MigrationTrait for IndexExpiry {
    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        match db.get_database_backend() {
            DbBackend::Postgres => {
                let of_ends = "INDEX $ ON items (expires_at) WHERE expires_at IS NOT NULL";
                make_in_postgres(db, "items_expires_at", of_ends).await?;
                let of_keys = "UNIQUE INDEX $ ON items (key) INCLUDE (expires_at)";
                swap_in_postgres(db, "items_key_expires_at", of_keys, KEY_COLUMNS).await?;
                // One that was to take its place may have been left half made.
                drop_in_postgres(db, "items_key_alone").await
            }
            DbBackend::MySql => {
                make_in_mysql(db, "items_expires_at", "expires_at").await?;
                make_in_mysql(db, "items_key_expires_at", "`key`, expires_at").await
            }
            _ => db.execute_unprepared(SQLITE_UP).await.map(drop),
        }
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        match db.get_database_backend() {
            DbBackend::Postgres => {
                // The table may have been dropped by hand.
                if has_table(db, "items").await? {
                    let of_keys = "UNIQUE INDEX $ ON items (key)";
                    swap_in_postgres(db, "items_key_alone", of_keys, "key").await?;
                }
                for index in ["items_expires_at", "items_key_expires_at"] {
                    drop_in_postgres(db, index).await?;
                }
                Ok(())
            }
            DbBackend::MySql => {
                for index in ["items_expires_at", "items_key_expires_at"] {
                    drop_in_mysql(db, index).await?;
                }
                Ok(())
            }
            _ => db.execute_unprepared(SQLITE_DOWN).await.map(drop),
        }
    }
}

/// Whether the indexes are those that the migration makes. One that was stopped while it was taken back has left its record.
pub(crate) async fn are_made(db: &impl ConnectionTrait) -> Result<bool, DbErr> {
    match db.get_database_backend() {
        DbBackend::Postgres => Ok(constraint(db)
            .await?
            .is_some_and(|(_, columns)| columns == KEY_COLUMNS)
            && is_valid_in_postgres(db, "items_expires_at").await? == Some(true)
            && is_valid_in_postgres(db, "items_key_alone").await?.is_none()),
        DbBackend::MySql => Ok(has_mysql_index(db, "items_expires_at").await?
            && has_mysql_index(db, "items_key_expires_at").await?),
        // It is made and taken back in a transaction.
        _ => Ok(true),
    }
}

/// The columns of the index that keeps the keys unique on PostgreSQL.
const KEY_COLUMNS: &str = "key, expires_at";

// Raw SQL, here and below: the builder has neither `CONCURRENTLY` nor `INCLUDE`, `USING INDEX` nor `ALGORITHM`.

const SQLITE_UP: &str = "
CREATE INDEX IF NOT EXISTS items_expires_at ON items (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS items_key_expires_at ON items (key, expires_at);
";

const SQLITE_DOWN: &str = "
DROP INDEX IF EXISTS items_expires_at;
DROP INDEX IF EXISTS items_key_expires_at;
";

/// Makes an index beside reads and writes, in place of one whose making was stopped. `$` in `definition` is its name.
async fn make_in_postgres(
    db: &impl ConnectionTrait,
    name: &str,
    definition: &str,
) -> Result<(), DbErr> {
    match is_valid_in_postgres(db, name).await? {
        Some(true) => return Ok(()),
        Some(false) => drop_in_postgres(db, name).await?,
        None => {}
    }
    let index = definition.replace("INDEX $", &format!("INDEX CONCURRENTLY {name}"));
    beside(db, &format!("CREATE {index}")).await
}

/// Drops an index of the table, if there is one of this name.
async fn drop_in_postgres(db: &impl ConnectionTrait, name: &str) -> Result<(), DbErr> {
    match is_valid_in_postgres(db, name).await? {
        Some(_) => beside(db, &format!("DROP INDEX CONCURRENTLY {name}")).await,
        None => Ok(()),
    }
}

/// Whether an index of the table was made to its end; `None` if there is none of this name.
async fn is_valid_in_postgres(
    db: &impl ConnectionTrait,
    name: &str,
) -> Result<Option<bool>, DbErr> {
    let sql = "SELECT i.indisvalid AS valid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
               WHERE i.indrelid = to_regclass('items') AND c.relname = $1";
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, [name.into()]);
    let row = db.query_one_raw(statement).await?;
    row.map(|row| row.try_get("", "valid")).transpose()
}

/// Runs a statement that waits for each transaction that began before it. Nobody waits behind it, so it may take as long
/// as they do.
async fn beside(db: &impl ConnectionTrait, sql: &str) -> Result<(), DbErr> {
    db.execute_unprepared("SET lock_timeout = 0").await?;
    let done = db.execute_unprepared(sql).await;
    db.execute_unprepared("RESET lock_timeout").await?;
    done.map(drop)
}

/// The constraint that keeps the keys unique, and the columns of its index.
async fn constraint(db: &impl ConnectionTrait) -> Result<Option<(String, String)>, DbErr> {
    let sql = "SELECT quote_ident(n.conname) AS name, \
               (SELECT string_agg(pg_get_indexdef(i.indexrelid, s, true), ', ' ORDER BY s) \
               FROM generate_series(1, i.indnatts) s) AS columns \
               FROM pg_constraint n JOIN pg_index i ON i.indexrelid = n.conindid \
               WHERE n.conrelid = to_regclass('items') AND n.contype = 'u' \
               AND pg_get_indexdef(i.indexrelid, 1, true) = 'key' AND i.indnkeyatts = 1";
    let statement = Statement::from_string(DbBackend::Postgres, sql);
    let row = db.query_one_raw(statement).await?;
    row.map(|row| Ok((row.try_get("", "name")?, row.try_get("", "columns")?)))
        .transpose()
}

/// Lets another index, of these columns, keep the keys unique.
async fn swap_in_postgres(
    db: &impl ConnectionTrait,
    name: &str,
    definition: &str,
    columns: &str,
) -> Result<(), DbErr> {
    let Some((constraint, before)) = constraint(db).await? else {
        let missing = "items has no unique constraint of its key";
        return Err(DbErr::Migration(missing.to_owned()));
    };
    if before == columns {
        return Ok(());
    }
    make_in_postgres(db, name, definition).await?;
    // One transaction, since it is sent as one.
    let swap = format!(
        "{POSTGRES_SHORT_WAIT}; ALTER TABLE items DROP CONSTRAINT {constraint}, \
         ADD CONSTRAINT {constraint} UNIQUE USING INDEX {name}"
    );
    db.execute_unprepared(&swap).await.map(drop)
}

async fn make_in_mysql(db: &impl ConnectionTrait, name: &str, columns: &str) -> Result<(), DbErr> {
    if has_mysql_index(db, name).await? {
        return Ok(());
    }
    let sql =
        format!("ALTER TABLE items ADD KEY {name} ({columns}), ALGORITHM = INPLACE, LOCK = NONE");
    db.execute_unprepared(&sql).await.map(drop)
}

async fn drop_in_mysql(db: &impl ConnectionTrait, name: &str) -> Result<(), DbErr> {
    if !has_mysql_index(db, name).await? {
        return Ok(());
    }
    let sql = format!("ALTER TABLE items DROP KEY {name}, ALGORITHM = INPLACE, LOCK = NONE");
    db.execute_unprepared(&sql).await.map(drop)
}

async fn has_mysql_index(db: &impl ConnectionTrait, name: &str) -> Result<bool, DbErr> {
    let sql = "SELECT 1 FROM information_schema.statistics WHERE table_schema = DATABASE() \
               AND table_name = 'items' AND index_name = ?";
    let statement = Statement::from_sql_and_values(DbBackend::MySql, sql, [name.into()]);
    Ok(db.query_one_raw(statement).await?.is_some())
}
