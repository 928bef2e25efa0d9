//! The lock that keeps two migrations of one database apart, and patience with those who lock its tables.

use std::time::Duration;

use database::Failure;
use sea_orm_migration::sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};
use tokio::time::sleep;

use crate::error::MigrateError;

/// PostgreSQL's advisory locks are numbers: this one reads "kvd_migr".
const ADVISORY_LOCK: i64 = 0x6b76_645f_6d69_6772;
/// How long to wait before PostgreSQL's lock is asked for again.
const ADVISORY_PAUSE: Duration = Duration::from_millis(100);
/// The lock's name with MySQL and MariaDB, in SQL: each database of a server has its own.
const MYSQL_LOCK: &str = "CONCAT('kvd:', SHA2(DATABASE(), 224))";
/// How long one migration waits for another one with MySQL and MariaDB, in seconds.
const MYSQL_LOCK_SECONDS: u32 = 60;
/// How long to leave a table to others before its lock is asked for again.
const TABLE_PAUSE: Duration = Duration::from_secs(1);

/// A session that waits for the lock of a table lets nobody past, so it waits for a second at most. What follows in
/// the transaction has this bound.
pub(crate) const POSTGRES_SHORT_WAIT: &str = "SET LOCAL lock_timeout = '1s'";
const MYSQL_SHORT_WAIT: &str = "SET SESSION lock_wait_timeout = 1";

/// Runs `act` while no other migration of this database runs on PostgreSQL, and elsewhere in [`begin`]. Runs it again
/// as long as others keep a table locked, with time between for all who wait behind.
pub(crate) async fn patiently(
    db: &DatabaseConnection,
    mut act: impl AsyncFnMut() -> Result<(), MigrateError>,
) -> Result<(), MigrateError> {
    loop {
        let done = match db.get_database_backend() {
            DbBackend::Postgres => {
                take_advisory(db).await?;
                let done = act().await;
                release_advisory(db).await;
                done
            }
            _ => act().await,
        };
        match done {
            Err(MigrateError::Database(error)) if may_pass(&error) => sleep(TABLE_PAUSE).await,
            done => return done,
        }
    }
}

fn may_pass(error: &DbErr) -> bool {
    // PostgreSQL takes the wait for a migration of 0.2, which waits for this one, for a deadlock.
    matches!(Failure::of(error), Failure::Locked | Failure::RolledBack)
}

/// Takes PostgreSQL's lock, for the session: what makes an index beside the writes of others is in no transaction. It
/// waits for each statement that began before it, so a statement that waited for the lock would never end.
async fn take_advisory(db: &DatabaseConnection) -> Result<(), DbErr> {
    // Raw SQL, here and below: the builder has no locks that a program names itself.
    let sql = format!("SELECT pg_try_advisory_lock({ADVISORY_LOCK}) AS locked");
    loop {
        let statement = Statement::from_string(DbBackend::Postgres, &sql);
        let row = db.query_one_raw(statement).await?;
        let locked = row.map(|row| row.try_get::<bool>("", "locked"));
        if locked.transpose()? == Some(true) {
            return Ok(());
        }
        sleep(ADVISORY_PAUSE).await;
    }
}

/// A lock that cannot be released here ends with the session.
async fn release_advisory(db: &DatabaseConnection) {
    let sql = format!("SELECT pg_advisory_unlock({ADVISORY_LOCK})");
    let _ = db.execute_unprepared(&sql).await;
}

/// Begins a transaction that waits for the lock of a table for a second at most. With MySQL, MariaDB and SQLite no
/// other migration of this database runs until [`end`].
pub(crate) async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, MigrateError> {
    let transaction = db
        .begin_with_options(TransactionOptions {
            // A transaction of SQLite that may write from the start is a lock by itself.
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        })
        .await?;
    match db.get_database_backend() {
        DbBackend::Postgres => {
            transaction.execute_unprepared(POSTGRES_SHORT_WAIT).await?;
        }
        // Schema changes end a transaction here, so the lock belongs to the connection.
        DbBackend::MySql => {
            let sql = format!("SELECT GET_LOCK({MYSQL_LOCK}, {MYSQL_LOCK_SECONDS}) AS locked");
            let statement = Statement::from_string(DbBackend::MySql, sql);
            let row = transaction.query_one_raw(statement).await?;
            let locked = row.map(|row| row.try_get::<Option<i64>>("", "locked"));
            if locked.transpose()?.flatten() != Some(1) {
                return Err(MigrateError::Locked);
            }
            transaction.execute_unprepared(MYSQL_SHORT_WAIT).await?;
        }
        _ => {}
    }
    Ok(transaction)
}

/// Ends the transaction of [`begin`]: commits what was done, or rolls it back after an error.
pub(crate) async fn end<T>(
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
