//! Looking up items by their keys.

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QuerySelect,
    Statement,
};

use crate::{
    ETag,
    item::{Column, Entity, Model},
};

/// The item of a key. Takes any text, so that rows written by other software can be found too.
///
/// # Errors
/// What the database said.
pub async fn find(db: &impl ConnectionTrait, key: &str) -> Result<Option<Model>, DbErr> {
    Entity::find().filter(Column::Key.eq(key)).one(db).await
}

/// The tag of a key's item.
///
/// # Errors
/// What the database said.
pub async fn find_etag(db: &impl ConnectionTrait, key: &str) -> Result<Option<ETag>, DbErr> {
    let row: Option<(i64, i64)> = Entity::find()
        .select_only()
        .columns([Column::Id, Column::Version])
        .filter(Column::Key.eq(key))
        .into_tuple()
        .one(db)
        .await?;
    Ok(row.map(|(id, version)| ETag { id, version }))
}

/// The keys that break the rule of [`Key`](crate::Key), written by other software, in the order of their ids.
///
/// # Errors
/// What the database said.
pub async fn odd_keys(db: &impl ConnectionTrait) -> Result<Vec<String>, DbErr> {
    let backend = db.get_database_backend();
    let long_or_control = match backend {
        DbBackend::Postgres => r"octet_length(key) > 512 OR key ~ '[\u0001-\u001F\u007F]'",
        DbBackend::MySql => "LENGTH(`key`) > 512 OR HEX(`key`) REGEXP '^(..)*([01].|7F)'",
        _ => {
            "length(CAST(key AS blob)) > 512 OR key GLOB '*[' || char(1) || '-' || char(31) || char(127) || ']*'"
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
