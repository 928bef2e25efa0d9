//! What has expired when lines are merged: lines, which are left out, and items, whose keys are free for new ones.

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::ExprTrait,
};

use crate::{
    clock::now,
    item::{Column, Entity},
    load::{line::OnConflict, queries, staged::Staged},
};

/// Items of one statement: the engines take at least 32 766 parameters.
const CHUNK_ITEMS: usize = 1_000;

/// Deletes the lines whose end has come.
pub(super) async fn leave_out_expired_lines(staged: &Staged) -> Result<(), DbErr> {
    if !staged.ends {
        return Ok(());
    }
    let delete = queries::delete_expired_lines(staged.session.get_database_backend());
    staged.session.execute(&delete).await.map(drop)
}

/// Deletes the items whose end has come, of the keys above one, up to a last one, that are staged.
///
/// That is judged once their rows are locked. An item that is going to be updated and whose end has not come stays
/// locked, so it is updated even if its end comes meanwhile.
pub(super) async fn delete_expired(staged: &Staged, above: &str, last: &str) -> Result<(), DbErr> {
    let session = &staged.session;
    let backend = session.get_database_backend();
    let has_come = staged.on_conflict != OnConflict::Overwrite;
    // Takes no lock, and so no right to change what has not expired.
    let ending = queries::ending(above, last, has_come, backend);
    let rows = session.query_all(&ending).await?;
    let ids: Vec<i64> = rows
        .iter()
        .map(|row| row.try_get("", "id"))
        .collect::<Result<_, _>>()?;
    for ids in ids.chunks(CHUNK_ITEMS) {
        let _locked: Vec<i64> = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::Id.is_in(ids.iter().copied()))
            .order_by_asc(Column::Key)
            .lock_exclusive()
            .into_tuple()
            .all(session)
            .await?;
    }
    for ids in ids.chunks(CHUNK_ITEMS) {
        Entity::delete_many()
            .filter(Column::Id.is_in(ids.iter().copied()))
            .filter(Column::ExpiresAt.into_expr().lte(now(backend)))
            .exec(session)
            .await?;
    }
    Ok(())
}
