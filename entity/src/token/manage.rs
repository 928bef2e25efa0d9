//! Creating, listing, revoking and rotating tokens. What has ended is judged by the database's clock.

use std::time::Duration;

use database::Failure;
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr,
    EntityTrait, ExprTrait, IsolationLevel, QueryFilter, QueryOrder, QuerySelect,
    SqliteTransactionMode, TransactionOptions, TransactionTrait,
    sea_query::{Expr, InsertStatement, Query},
};
use tokio::time::sleep;

use super::{
    name::TokenName,
    rules::Rules,
    secret::Secret,
    stored::{Column, Entity, Model, hexadecimal, live},
};
use crate::{
    clock,
    write::change::{MAX_RERUNS, WriteError},
};

/// A token to be created.
#[derive(Clone, Debug)]
pub struct NewToken {
    pub name: TokenName,
    pub rules: Rules,
    /// In whole seconds; `None`: for ever.
    pub lives_for: Option<Duration>,
}

/// What a creation did.
#[derive(Clone, Debug)]
pub enum Created {
    Token(Secret, ListedToken),
    /// A live token has the name; nothing was written.
    NameInUse,
}

/// Which tokens to revoke.
#[derive(Clone, Debug)]
pub enum Revocable {
    Id(i64),
    /// All of the name.
    Name(TokenName),
    /// The token itself, such as one that was found where it does not belong.
    Secret(Secret),
}

/// What a rotation did.
#[derive(Clone, Debug)]
pub enum Rotated {
    Token(Secret, ListedToken),
    /// No live token has the name.
    Missing,
}

/// A token without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedToken {
    pub token: Model,
    /// `None` if they cannot be read: a later version may have rules that this one does not know.
    pub rules: Option<Rules>,
    pub state: TokenState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    Live,
    Ended,
    Revoked,
}

/// Creates a token under a name that no live one has.
///
/// # Errors
/// See [`WriteError`].
pub async fn create_token(
    pool: &DatabaseConnection,
    new: &NewToken,
) -> Result<Created, WriteError> {
    alone(pool, async |db| {
        if !named(db, &new.name).await?.is_empty() {
            return Ok(Created::NameInUse);
        }
        let end = match new.lives_for {
            Some(time) => clock::after(db.get_database_backend(), time),
            None => Expr::null(),
        };
        let rules = serde_json::to_string(&new.rules);
        let rules = rules.map_err(|error| DbErr::Json(error.to_string()))?;
        let (secret, token) = insert(db, |insert, sha256| {
            let name = new.name.as_str();
            insert.values_panic([name.into(), sha256.into(), rules.into(), end]);
        })
        .await?;
        Ok(Created::Token(secret, token))
    })
    .await
}

/// All tokens, also those that are not live any more, in the order of their creation.
///
/// # Errors
/// What the database said.
pub async fn list_tokens(db: &impl ConnectionTrait) -> Result<Vec<ListedToken>, DbErr> {
    let all = Entity::find().order_by_asc(Column::Id);
    let live = all.clone().filter(live(db.get_database_backend()));
    let live = live.select_only().column(Column::Id);
    let live: Vec<i64> = live.into_tuple().all(db).await?;
    let listed = |token: Model| {
        let state = match token.revoked_at {
            Some(_) => TokenState::Revoked,
            None if live.contains(&token.id) => TokenState::Live,
            None => TokenState::Ended,
        };
        ListedToken {
            rules: token.stored_rules().ok(),
            token,
            state,
        }
    };
    Ok(all.all(db).await?.into_iter().map(listed).collect())
}

/// Revokes those of these tokens that are live, and tells their ids.
///
/// # Errors
/// See [`WriteError`].
pub async fn revoke_token(
    pool: &DatabaseConnection,
    revocable: &Revocable,
) -> Result<Vec<i64>, WriteError> {
    let meant = || match revocable {
        Revocable::Id(id) => Column::Id.eq(*id),
        Revocable::Name(name) => Column::Name.eq(name.as_str()),
        Revocable::Secret(secret) => Column::Sha256.eq(hexadecimal(&secret.sha256())),
    };
    alone(pool, async |db| {
        let found = Entity::find()
            .filter(meant())
            .filter(live(db.get_database_backend()))
            .order_by_asc(Column::Id)
            .all(db)
            .await?;
        let ids: Vec<i64> = found.iter().map(|token| token.id).collect();
        revoke(db, &ids).await?;
        Ok(ids)
    })
    .await
}

/// Creates a successor of a live token, with its name, rules and end; the one before lives on for `overlap`, in
/// whole seconds, and one before that no longer.
///
/// # Errors
/// See [`WriteError`].
pub async fn rotate_token(
    pool: &DatabaseConnection,
    name: &TokenName,
    overlap: Duration,
) -> Result<Rotated, WriteError> {
    alone(pool, async |db| {
        let mut found = named(db, name).await?;
        let Some(current) = found.pop() else {
            return Ok(Rotated::Missing);
        };
        let (secret, token) = insert(db, |insert, sha256| {
            let like_before = Query::select()
                .columns([Column::Name])
                .expr(Expr::val(sha256))
                .columns([Column::Rules, Column::ExpiresAt])
                .from(Entity)
                .and_where(Column::Id.eq(current.id))
                .to_owned();
            insert.select_from(like_before).expect("as many columns");
        })
        .await?;
        let mut over: Vec<i64> = found.iter().map(|token| token.id).collect();
        if overlap.is_zero() {
            over.push(current.id);
        } else {
            retire_after(db, current.id, overlap).await?;
        }
        revoke(db, &over).await?;
        Ok(Rotated::Token(secret, token))
    })
    .await
}

/// The live tokens of a name, the newest last.
async fn named(db: &DatabaseTransaction, name: &TokenName) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::Name.eq(name.as_str()))
        .filter(live(db.get_database_backend()))
        .order_by_asc(Column::Id)
        .all(db)
        .await
}

async fn revoke(db: &DatabaseTransaction, ids: &[i64]) -> Result<(), DbErr> {
    if ids.is_empty() {
        return Ok(());
    }
    Entity::update_many()
        .col_expr(Column::RevokedAt, clock::now(db.get_database_backend()))
        .filter(Column::Id.is_in(ids.iter().copied()))
        .exec(db)
        .await
        .map(drop)
}

/// Ends a token when its successor takes its place: so long from now, or earlier if that is said already.
async fn retire_after(db: &DatabaseTransaction, id: i64, time: Duration) -> Result<(), DbErr> {
    let end = clock::after(db.get_database_backend(), time);
    let is_later = Condition::any()
        .add(Column::RetiresAt.is_null())
        .add(Expr::col(Column::RetiresAt).gt(end.clone()));
    Entity::update_many()
        .col_expr(Column::RetiresAt, end)
        .filter(Column::Id.eq(id))
        .filter(is_later)
        .exec(db)
        .await
        .map(drop)
}

/// Stores a new secret, beside what `fill` gives for the name, the hash, the rules and the end.
async fn insert(
    db: &DatabaseTransaction,
    fill: impl FnOnce(&mut InsertStatement, String),
) -> Result<(Secret, ListedToken), DbErr> {
    let secret = Secret::generate().map_err(|error| DbErr::Custom(error.to_string()))?;
    let sha256 = hexadecimal(&secret.sha256());
    let mut insert = Query::insert();
    insert.into_table(Entity).columns([
        Column::Name,
        Column::Sha256,
        Column::Rules,
        Column::ExpiresAt,
    ]);
    fill(&mut insert, sha256.clone());
    db.execute(&insert).await?;
    let stored = Entity::find()
        .filter(Column::Sha256.eq(sha256))
        .one(db)
        .await?;
    let token = stored.ok_or(DbErr::RecordNotInserted)?;
    let listed = ListedToken {
        rules: token.stored_rules().ok(),
        token,
        state: TokenState::Live,
    };
    Ok((secret, listed))
}

/// Runs it as if no other transaction was under way, and again if another one was faster or is in its way.
async fn alone<T>(
    pool: &DatabaseConnection,
    act: impl AsyncFn(&DatabaseTransaction) -> Result<T, DbErr>,
) -> Result<T, WriteError> {
    for _ in 0..MAX_RERUNS {
        let options = TransactionOptions {
            isolation_level: Some(IsolationLevel::Serializable),
            // SQLite takes the lock for writing at the start, since it may refuse it after a read.
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        let transaction = pool.begin_with_options(options).await;
        let transaction = transaction.map_err(WriteError::NotWritten)?;
        let done = match act(&transaction).await {
            Ok(done) => transaction
                .commit()
                .await
                .map(|()| done)
                .map_err(WriteError::of),
            Err(error) => {
                // If the rollback cannot be sent, the server rolls back when the connection ends.
                let _ = transaction.rollback().await;
                Err(WriteError::NotWritten(error))
            }
        };
        match done {
            Err(WriteError::NotWritten(error))
                if matches!(Failure::of(&error), Failure::RolledBack | Failure::Locked) =>
            {
                // So that those who got in each other's way do not come at the same time again.
                sleep(Duration::from_millis(fastrand::u64(1..=20))).await;
            }
            done => return done,
        }
    }
    Err(WriteError::Contended)
}
