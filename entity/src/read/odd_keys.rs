//! Keys that only other software can have written.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

/// The keys that break the rule of [`Key`](crate::item::key::Key), written by other software, in the order of their ids.
///
/// # Errors
/// What the database said.
pub async fn odd_keys(db: &impl ConnectionTrait) -> Result<Vec<String>, DbErr> {
    let backend = db.get_database_backend();
    let long_or_control = match backend {
        DbBackend::Postgres => r"octet_length(key) > 512 OR key ~ '[\u0001-\u001F\u007F]'",
        DbBackend::MySql => "LENGTH(`key`) > 512 OR HEX(`key`) REGEXP '^(..)*([01].|7F)'",
        _ => {
            "length(CAST(key AS blob)) > 512 OR instr(key, char(0)) OR key GLOB '*[' || char(1) || '-' || char(31) || char(127) || ']*'"
        }
    };
    let key = if backend == DbBackend::MySql {
        "`key`"
    } else {
        "key"
    };
    let sql = format!(
        "SELECT {key} FROM items WHERE {key} IN ('', '.', '..') OR {long_or_control} ORDER BY id"
    );
    let rows = db
        .query_all_raw(Statement::from_string(backend, sql))
        .await?;
    rows.iter().map(|row| row.try_get("", "key")).collect()
}
