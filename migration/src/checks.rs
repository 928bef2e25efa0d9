//! What must hold before a migration changes anything. Only reads.

use sea_orm_migration::sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, Statement};

use crate::{
    error::MigrateError,
    m20261129_000002_tokens::{TOKEN_COLUMNS, TOKEN_TABLE},
    shape::{Shape, shape},
    status::{HandMade, hand_made},
    tables::{columns, has_table},
};

/// Whether there is a table made by hand that is going to be adopted.
pub(crate) async fn check_items(
    transaction: &DatabaseTransaction,
    adopting: &mut Option<impl FnOnce(HandMade)>,
) -> Result<bool, MigrateError> {
    match shape(transaction).await? {
        Shape::Other(difference) => Err(MigrateError::ForeignTable(difference.join("; "))),
        Shape::HandMade => {
            let found = hand_made(transaction).await?;
            if let Some(adopting) = adopting.take() {
                adopting(found);
            }
            Ok(true)
        }
        Shape::Absent | Shape::Ours => Ok(false),
    }
}

/// Keys and values are any UTF-8 text, in the order of its bytes. MySQL and MariaDB have an encoding for
/// each column, and no database as a whole has.
pub(crate) async fn check_encoding(transaction: &DatabaseTransaction) -> Result<(), MigrateError> {
    let backend = transaction.get_database_backend();
    // Raw SQL: the builder says no more than these calls of functions.
    let sql = match backend {
        DbBackend::Postgres => "SELECT current_setting('server_encoding') AS encoding",
        DbBackend::Sqlite => "SELECT encoding FROM pragma_encoding",
        _ => return Ok(()),
    };
    let row = transaction
        .query_one_raw(Statement::from_string(backend, sql))
        .await?;
    let encoding = row.map(|row| row.try_get::<String>("", "encoding"));
    match encoding.transpose()? {
        Some(encoding) if !["UTF8", "UTF-8"].contains(&encoding.as_str()) => {
            Err(MigrateError::Encoding(encoding))
        }
        _ => Ok(()),
    }
}

/// The first schema of PostgreSQL's search path is where a table is made.
pub(crate) async fn check_schema(transaction: &DatabaseTransaction) -> Result<(), MigrateError> {
    let backend = transaction.get_database_backend();
    if backend != DbBackend::Postgres {
        return Ok(());
    }
    // Raw SQL: the builder says no more than this one call of a function.
    let sql = "SELECT 1 WHERE current_setting('search_path') ~ '^ *\"?pg_temp'";
    let statement = Statement::from_string(backend, sql);
    match transaction.query_one_raw(statement).await? {
        Some(_) => Err(MigrateError::Temporary),
        None => Ok(()),
    }
}

/// A table of tokens that is there is kvd's own: it is neither used nor dropped otherwise.
pub(crate) async fn check_tokens(db: &impl ConnectionTrait) -> Result<(), MigrateError> {
    let found = columns(db, TOKEN_TABLE).await?;
    let is_ours = found.iter().map(String::as_str).eq(TOKEN_COLUMNS);
    match has_table(db, TOKEN_TABLE).await? {
        true if is_ours => Ok(()),
        false if found.is_empty() => Ok(()),
        _ => Err(MigrateError::ForeignTokens),
    }
}
