//! What a load asks about the staged lines, the same of every engine.

use sea_orm::{
    Condition, DbBackend,
    sea_query::{DeleteStatement, Expr, ExprTrait, Func, Order, Query, SelectStatement},
};

use crate::{
    clock::now,
    item::{Column, Entity},
    read::live::{expired, live},
};

const STAGED: &str = "kvctl_load";

/// The `key` that is on several lines, its `first_line` and its `last_line`: of several such keys
/// the one whose first line comes first.
pub(super) fn repeated() -> SelectStatement {
    let line = || Expr::col("line");
    Query::select()
        .column("key")
        .expr_as(line().min(), "first_line")
        .expr_as(line().max(), "last_line")
        .from(STAGED)
        .group_by_col("key")
        .and_having(Expr::cust("count(*)").gt(1))
        .order_by_expr(line().min(), Order::Asc)
        .limit(1)
        .take()
}

/// How many lines are `staged` whose end has not come, of how many the key is `existing`, and the `first_line` of
/// these.
pub(super) fn existing(backend: DbBackend) -> SelectStatement {
    let item = || Expr::col((Entity, Column::Key));
    let end = || Expr::col((STAGED, "expires_at"));
    let line_of_item = Expr::case(item().is_not_null(), Expr::col("line"));
    Query::select()
        .expr_as(Expr::cust("count(*)"), "staged")
        .expr_as(item().count(), "existing")
        .expr_as(Func::min(line_of_item), "first_line")
        .from(STAGED)
        .left_join(
            Entity,
            Condition::all()
                .add(item().equals((STAGED, "key")))
                .add(live(backend)),
        )
        .cond_where(end().is_null().or(end().gt(now(backend))))
        .take()
}

/// Deletes the staged lines whose end has come.
pub(super) fn delete_expired_lines(backend: DbBackend) -> DeleteStatement {
    Query::delete()
        .from_table(STAGED)
        .and_where(Expr::col("expires_at").lte(now(backend)))
        .take()
}

/// The `id` of the items above a key, up to a last one, whose keys are staged and that have an end, or only of those
/// whose end `has_come`: in the order of their keys.
pub(super) fn ending(
    above: &str,
    last: &str,
    has_come: bool,
    backend: DbBackend,
) -> SelectStatement {
    let item = || Expr::col((Entity, Column::Key));
    let staged = || Expr::col((STAGED, "key"));
    let ends = match has_come {
        true => expired(backend),
        false => Expr::col((Entity, Column::ExpiresAt)).is_not_null(),
    };
    Query::select()
        .column((Entity, Column::Id))
        .from(STAGED)
        .inner_join(Entity, item().equals((STAGED, "key")))
        .and_where(staged().gt(above).and(staged().lte(last)))
        // Follows from these, but PostgreSQL does not see that, and would read the whole table.
        .and_where(item().gt(above).and(item().lte(last)))
        .and_where(ends)
        .order_by((STAGED, "key"), Order::Asc)
        .take()
}

/// The `key` on a line.
pub(super) fn key_of_line(line: i64) -> SelectStatement {
    Query::select()
        .column("key")
        .from(STAGED)
        .and_where(Expr::col("line").eq(line))
        .take()
}

/// The `key` and the `line` of those above a key, up to a last one, that are staged and not in `items`:
/// of several the one whose line comes first.
pub(super) fn first_absent(above: &str, last: &str) -> SelectStatement {
    let mut first = first_joined(above, last);
    first.and_where(Expr::col((Entity, Column::Id)).is_null());
    first
}

/// The same of those that are staged and in `items`.
pub(super) fn first_existing(above: &str, last: &str) -> SelectStatement {
    let mut first = first_joined(above, last);
    first.and_where(Expr::col((Entity, Column::Id)).is_not_null());
    first
}

fn first_joined(above: &str, last: &str) -> SelectStatement {
    let key = || Expr::col((STAGED, "key"));
    Query::select()
        .expr_as(key(), "key")
        .column("line")
        .from(STAGED)
        .left_join(
            Entity,
            Expr::col((Entity, Column::Key)).equals((STAGED, "key")),
        )
        .and_where(key().gt(above))
        .and_where(key().lte(last))
        .order_by("line", Order::Asc)
        .limit(1)
        .take()
}

/// The `key` and the `line` of those above a key, up to a last one, in the order of the lines.
pub(super) fn lines(above: &str, last: &str) -> SelectStatement {
    Query::select()
        .columns(["key", "line"])
        .from(STAGED)
        .and_where(Expr::col("key").gt(above))
        .and_where(Expr::col("key").lte(last))
        .order_by("line", Order::Asc)
        .take()
}

/// The `last_key` of the next lines above a key, at most `most`, and how many are `staged` there.
pub(super) fn chunk(above: &str, most: u64) -> SelectStatement {
    let keys = Query::select()
        .column("key")
        .from(STAGED)
        .and_where(Expr::col("key").gt(above))
        .order_by("key", Order::Asc)
        .limit(most)
        .take();
    Query::select()
        .expr_as(Expr::col("key").max(), "last_key")
        .expr_as(Expr::cust("count(*)"), "staged")
        .from_subquery(keys, "chunk")
        .take()
}
