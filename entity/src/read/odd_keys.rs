//! Keys that only other software can have written.

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
    sea_query::{Expr, ExprTrait},
};

use crate::{
    item::{Column, Entity},
    read::live::live,
};

/// The keys of items that break the rule of [`Key`](crate::Key), in the order of their ids.
///
/// # Errors
/// What the database said.
pub async fn odd_keys(db: &impl ConnectionTrait) -> Result<Vec<String>, DbErr> {
    let reserved = Column::Key.is_in(["", ".", ".."]);
    Entity::find()
        .select_only()
        .column(Column::Key)
        .filter(reserved.or(too_long_or_control(db.get_database_backend())))
        .filter(live(db.get_database_backend()))
        .order_by_asc(Column::Id)
        .into_tuple()
        .all(db)
        .await
}

/// Each engine has its own words for the bytes of a text and for patterns.
fn too_long_or_control(backend: DbBackend) -> Expr {
    Expr::cust(match backend {
        DbBackend::Postgres => r"octet_length(key) > 512 OR key ~ '[\u0001-\u001F\u007F]'",
        DbBackend::MySql => "LENGTH(`key`) > 512 OR HEX(`key`) REGEXP '^(..)*([01].|7F)'",
        _ => {
            "length(CAST(key AS blob)) > 512 OR instr(key, char(0)) \
             OR key GLOB '*[' || char(1) || '-' || char(31) || char(127) || ']*'"
        }
    })
}
