//! A token as the database has it.

use sea_orm::{Condition, DbBackend, ExprTrait, entity::prelude::*, sea_query::Expr};

use super::rules::Rules;
use crate::{clock, item::Time};

/// A token as it is stored.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "kvd_tokens")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    /// Unique among those that are live, but for the two of a rotation.
    pub name: String,
    /// Of the token, in hexadecimal.
    #[sea_orm(unique)]
    pub sha256: String,
    /// [`Rules`] as JSON.
    pub rules: String,
    pub created_at: Time,
    /// From then on it is ended; `None`: never.
    pub expires_at: Option<Time>,
    /// From then on its successor takes its place.
    pub retires_at: Option<Time>,
    /// Since when it is revoked.
    pub revoked_at: Option<Time>,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// When it ends, whatever for.
    pub fn end(&self) -> Option<Time> {
        let ends = [self.expires_at, self.retires_at].into_iter();
        ends.flatten().min()
    }

    /// What it allows.
    ///
    /// # Errors
    /// That cannot be read.
    pub(super) fn stored_rules(&self) -> Result<Rules, DbErr> {
        let rules = serde_json::from_str(&self.rules);
        rules.map_err(|_| DbErr::Type(format!("the rules of token {} cannot be read", self.id)))
    }
}

/// Neither revoked nor ended.
pub(super) fn live(backend: DbBackend) -> Condition {
    let lasts = |end: Column| {
        let later = Expr::col(end).gt(clock::now(backend));
        Condition::any().add(end.is_null()).add(later)
    };
    Condition::all()
        .add(Column::RevokedAt.is_null())
        .add(lasts(Column::ExpiresAt))
        .add(lasts(Column::RetiresAt))
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
