//! The lock that keeps two migrations of one database apart.

use sea_orm_migration::sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, SqliteTransactionMode,
    Statement, TransactionOptions, TransactionTrait,
};

use crate::error::MigrateError;

/// PostgreSQL's advisory locks are numbers: this one reads "kvd_migr".
const ADVISORY_LOCK: i64 = 0x6b76_645f_6d69_6772;
/// The lock's name with MySQL and MariaDB, in SQL: each database of a server has its own.
const MYSQL_LOCK: &str = "CONCAT('kvd:', SHA2(DATABASE(), 224))";
/// How long one migration waits for another one with MySQL and MariaDB, in seconds.
const LOCK_SECONDS: u32 = 60;

/// Begins a transaction that excludes every other migration of this database until [`unlock`].
pub(crate) async fn lock(db: &DatabaseConnection) -> Result<DatabaseTransaction, MigrateError> {
    let transaction = db
        .begin_with_options(TransactionOptions {
            // A transaction of SQLite that may write from the start is a lock by itself.
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        })
        .await?;
    // Raw SQL, here and in `unlock`: the builder has no locks that a program names itself.
    match db.get_database_backend() {
        DbBackend::Postgres => {
            let sql = format!("SELECT pg_advisory_xact_lock({ADVISORY_LOCK})");
            transaction.execute_unprepared(&sql).await?;
        }
        // Schema changes end a transaction here, so the lock belongs to the connection.
        DbBackend::MySql => {
            let sql = format!("SELECT GET_LOCK({MYSQL_LOCK}, {LOCK_SECONDS}) AS locked");
            let statement = Statement::from_string(DbBackend::MySql, sql);
            let row = transaction.query_one_raw(statement).await?;
            let locked = row.map(|row| row.try_get::<Option<i64>>("", "locked"));
            if locked.transpose()?.flatten() != Some(1) {
                return Err(MigrateError::Locked);
            }
        }
        _ => {}
    }
    Ok(transaction)
}

/// Ends the transaction of [`lock`]: commits what was done, or rolls it back after an error.
pub(crate) async fn unlock<T>(
    transaction: DatabaseTransaction,
    done: Result<T, MigrateError>,
) -> Result<T, MigrateError> {
    if transaction.get_database_backend() == DbBackend::MySql {
        // A lock that cannot be released here ends with the connection.
        let sql = format!("DO RELEASE_LOCK({MYSQL_LOCK})");
        let _ = transaction.execute_unprepared(&sql).await;
    }
    match done {
        Ok(done) => {
            transaction.commit().await?;
            Ok(done)
        }
        Err(error) => {
            // The first error says more; without this the server rolls back all the same.
            let _ = transaction.rollback().await;
            Err(error)
        }
    }
}
