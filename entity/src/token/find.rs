//! The look-up of a token that a client has sent.

use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter};

use super::{
    rules::Rules,
    secret::Secret,
    stored::{Column, Entity, Model, hexadecimal, live},
};
use crate::item::Time;

/// A token that is live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundToken {
    pub name: String,
    pub rules: Rules,
    pub expires_at: Option<Time>,
}

/// The token of a secret; `None` if there is none, or if it has ended or is revoked.
///
/// # Errors
/// What the database said, or what is stored are no rules.
pub async fn find_token(
    db: &impl ConnectionTrait,
    secret: &Secret,
) -> Result<Option<FoundToken>, DbErr> {
    let found = Entity::find()
        .filter(Column::Sha256.eq(hexadecimal(&secret.sha256())))
        .filter(live(db.get_database_backend()))
        .one(db)
        .await?;
    found.map(FoundToken::of).transpose()
}

/// Whether tokens can be looked up: finds none.
///
/// # Errors
/// What the database said, such as that there is no table.
pub async fn probe(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    let none = Entity::find().filter(Column::Sha256.eq(""));
    none.one(db).await.map(drop)
}

impl FoundToken {
    fn of(token: Model) -> Result<Self, DbErr> {
        Ok(Self {
            rules: token.stored_rules()?,
            expires_at: token.end(),
            name: token.name,
        })
    }
}
