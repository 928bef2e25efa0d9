//! What has not expired when a read begins.

use sea_orm::{
    Condition, DbBackend,
    sea_query::{Expr, ExprTrait},
};

use crate::{
    clock::statement_began,
    item::{Column, Entity},
};

/// Holds for items that are there for a statement that begins now.
pub(crate) fn live(backend: DbBackend) -> Condition {
    let end = || Expr::col((Entity, Column::ExpiresAt));
    Condition::any()
        .add(end().is_null())
        .add(end().gt(statement_began(backend)))
}

/// Holds for items that have expired and are not removed yet.
pub(crate) fn expired(backend: DbBackend) -> Expr {
    Expr::col((Entity, Column::ExpiresAt)).lte(statement_began(backend))
}
