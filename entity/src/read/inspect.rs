//! What an operator wants to know of a database.
//!
//! Partly raw: each engine tells sizes by functions and system tables of its own, which SeaORM does not know.

use database::Server;
use sea_orm::{
    ConnectionTrait, DbBackend, DbErr, Statement,
    sea_query::{Expr, Query},
};

use crate::{item::Entity, read::live::expired};

/// The bytes on disk of the table `items` with its indexes. MySQL and MariaDB tell the size of the
/// file only to users with the right `PROCESS`; other users get an estimate.
///
/// # Errors
/// What the database said.
pub async fn disk_bytes(db: &impl ConnectionTrait) -> Result<u64, DbErr> {
    match db.get_database_backend() {
        DbBackend::Postgres => bytes(db, "SELECT pg_total_relation_size('items') AS bytes").await,
        DbBackend::MySql => match Server::of(db).await?.is_mariadb() {
            true => match bytes(db, MARIADB_FILE).await {
                Err(_) => bytes(db, MYSQL_ESTIMATE).await,
                size => size,
            },
            false => match bytes(db, MYSQL_FILE).await {
                Err(_) => {
                    // Without this the estimate may be a day old.
                    let fresh = "SET SESSION information_schema_stats_expiry = 0";
                    db.execute_unprepared(fresh).await?;
                    bytes(db, MYSQL_ESTIMATE).await
                }
                size => size,
            },
        },
        _ => bytes(db, SQLITE_PAGES).await,
    }
}

/// How many rows have expired, also of those that stay because they were written after their end. An index of rows that
/// have an end serves it.
///
/// # Errors
/// What the database said.
pub async fn count_expired(db: &impl ConnectionTrait) -> Result<u64, DbErr> {
    let mut count = Query::select();
    count
        .expr_as(Expr::cust("count(*)"), "expired")
        .from(Entity)
        .and_where(expired(db.get_database_backend()));
    let row = db.query_one(&count).await?;
    let expired = row.map(|row| row.try_get::<i64>("", "expired"));
    Ok(expired.transpose()?.unwrap_or_default().unsigned_abs())
}

const MARIADB_FILE: &str = "SELECT CAST(file_size AS SIGNED) AS bytes \
    FROM information_schema.innodb_sys_tablespaces WHERE name = CONCAT(DATABASE(), '/items')";
const MYSQL_FILE: &str = "SELECT CAST(file_size AS SIGNED) AS bytes \
    FROM information_schema.innodb_tablespaces WHERE name = CONCAT(DATABASE(), '/items')";
const MYSQL_ESTIMATE: &str = "SELECT CAST(data_length + index_length AS SIGNED) AS bytes \
    FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'items'";
const SQLITE_PAGES: &str = "SELECT CAST(total(pgsize) AS INTEGER) AS bytes FROM dbstat \
    WHERE name IN (SELECT name FROM sqlite_master WHERE tbl_name = 'items')";

async fn bytes(db: &impl ConnectionTrait, sql: &str) -> Result<u64, DbErr> {
    let statement = Statement::from_string(db.get_database_backend(), sql);
    let row = db.query_one_raw(statement).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound(sql.to_owned()))?;
    Ok(row.try_get::<i64>("", "bytes")?.unsigned_abs())
}
