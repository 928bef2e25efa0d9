//! The changes of rows that a transaction has locked, in few statements for any number of them.
//!
//! The statements are of few lengths, so that the session has nearly all of them prepared.

use std::{collections::HashMap, iter};

use database::Session;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QuerySelect,
    sea_query::{CaseStatement, Expr, ExprTrait, Query},
};

use crate::{
    clock,
    item::{Column, Entity, value::Value},
    write::{
        change::{Done, Write, Written},
        expiry::Expiry,
        lengths::padded,
        locked_rows::LockedRows,
        step::Step,
    },
};

/// What is to be done with the rows.
#[derive(Default)]
struct RowChanges<'a> {
    updates: Vec<(i64, &'a Value, Expiry)>,
    deletions: Vec<i64>,
    creations: Vec<(&'a str, &'a Value, Expiry)>,
    /// Those that are there afterwards.
    keys: Vec<&'a str>,
    /// Whether any row has, or is to have, an end.
    ends: bool,
}

impl<'a> RowChanges<'a> {
    fn of(writes: &[&'a Write], steps: &[Step<'a>], rows: &LockedRows) -> Self {
        let mut changes = Self {
            ends: rows.ends || writes.iter().any(|write| write.expiry != Expiry::Never),
            ..Self::default()
        };
        for (write, step) in writes.iter().zip(steps) {
            let key = write.key.as_str();
            match step {
                Step::Nothing(_) => continue,
                Step::Delete(tag) => {
                    changes.deletions.push(tag.id);
                    continue;
                }
                Step::Update(tag, value) => changes.updates.push((tag.id, *value, write.expiry)),
                Step::Create(value) => {
                    // What has expired makes room for a new item.
                    changes.deletions.extend(rows.gone.get(key));
                    changes.creations.push((key, *value, write.expiry));
                }
            }
            changes.keys.push(key);
        }
        changes
    }

    /// Whether all rows were there that are locked. A statement that is killed may end as if it had found nothing.
    async fn apply(&self, session: &Session) -> Result<bool, DbErr> {
        if self.update(session).await? != self.updates.len() as u64
            || self.delete(session).await? != self.deletions.len() as u64
        {
            return Ok(false);
        }
        self.create(session).await?;
        Ok(true)
    }

    /// The number of rows that were updated.
    async fn update(&self, session: &Session) -> Result<u64, DbErr> {
        if self.updates.is_empty() {
            return Ok(0);
        }
        let backend = session.get_database_backend();
        let ids: Vec<i64> = self.updates.iter().map(|(id, ..)| *id).collect();
        let ids = padded(&ids);
        // For an id that is repeated the first text and the first end count.
        let updates = self
            .updates
            .iter()
            .map(|(_, value, expiry)| (value.as_str(), *expiry));
        let padded = ids
            .iter()
            .zip(updates.chain(iter::repeat(("", Expiry::Never))));
        let (mut value, mut end) = (CaseStatement::new(), CaseStatement::new());
        for (id, (text, expiry)) in padded {
            value = value.case(Column::Id.eq(*id), Expr::value(text));
            end = end.case(Column::Id.eq(*id), expiry.end(backend));
        }
        let mut update = Entity::update_many()
            .col_expr(Column::Value, value.into())
            .col_expr(Column::Version, Expr::col(Column::Version).add(1))
            .filter(Column::Id.is_in(ids));
        update = match self.ends {
            // In this order, since MySQL sets one after the other.
            true => update
                .col_expr(Column::UpdatedAt, clock::now_before_end(backend))
                .col_expr(Column::ExpiresAt, end.into()),
            false => update.col_expr(Column::UpdatedAt, clock::now(backend)),
        };
        Ok(update.exec(session).await?.rows_affected)
    }

    /// The number of rows that were deleted.
    async fn delete(&self, session: &Session) -> Result<u64, DbErr> {
        if self.deletions.is_empty() {
            return Ok(0);
        }
        let delete = Entity::delete_many().filter(Column::Id.is_in(padded(&self.deletions)));
        Ok(delete.exec(session).await?.rows_affected)
    }

    async fn create(&self, session: &Session) -> Result<(), DbErr> {
        let backend = session.get_database_backend();
        let mut left = &self.creations[..];
        while !left.is_empty() {
            // The largest power of two, since a row cannot be given twice.
            let (some, rest) = left.split_at(1 << left.len().ilog2());
            let columns = [Column::Key, Column::Value, Column::ExpiresAt];
            let mut insert = Query::insert();
            insert.into_table(Entity);
            insert.columns(columns.into_iter().take(if self.ends { 3 } else { 2 }));
            for (key, value, expiry) in some {
                let mut row = vec![(*key).into(), value.as_str().into()];
                if self.ends {
                    row.push(expiry.first_end(backend));
                }
                insert.values_panic(row);
            }
            session.execute(&insert).await?;
            left = rest;
        }
        Ok(())
    }

    /// The rows as this transaction, which has them locked, left them.
    async fn stored(&self, session: &Session) -> Result<HashMap<String, Written>, DbErr> {
        if self.keys.is_empty() {
            return Ok(HashMap::new());
        }
        let rows: Vec<(String, _, _, _, _, _)> = Entity::find()
            .select_only()
            .columns([
                Column::Key,
                Column::Id,
                Column::Version,
                Column::CreatedAt,
                Column::UpdatedAt,
                Column::ExpiresAt,
            ])
            .filter(Column::Key.is_in(padded(&self.keys)))
            .into_tuple()
            .all(session)
            .await?;
        let stored =
            rows.into_iter()
                .map(|(key, id, version, created_at, updated_at, expires_at)| {
                    let written = Written {
                        created: false,
                        id,
                        version,
                        created_at,
                        updated_at,
                        expires_at,
                    };
                    (key, written)
                });
        Ok(stored.collect())
    }
}

/// Does with the rows that are locked what these steps are. `None` if a row was not changed that is locked, or is
/// not there that was just written: a trigger has changed its key, or has kept it from being written.
pub(super) async fn change_rows(
    session: &Session,
    writes: &[&Write],
    steps: Vec<Step<'_>>,
    rows: &LockedRows,
) -> Result<Option<Vec<Done>>, DbErr> {
    let changes = RowChanges::of(writes, &steps, rows);
    if !changes.apply(session).await? {
        return Ok(None);
    }
    let mut stored = changes.stored(session).await?;
    let mut written = |write: &Write, created| {
        let written = stored.remove(write.key.as_str())?;
        Some(Done::Stored(Written { created, ..written }))
    };
    let done = writes.iter().zip(steps).map(|(write, step)| match step {
        Step::Nothing(done) => Some(done),
        Step::Delete(_) => Some(Done::Deleted),
        Step::Update(..) => written(write, false),
        Step::Create(_) => written(write, true),
    });
    Ok(done.collect())
}
