//! Which tables are there. Only reads.

use std::collections::BTreeSet;

use sea_orm_migration::sea_orm::{
    ConnectionTrait, DbBackend, DbErr, Statement,
    sea_query::{Expr, ExprTrait, IntoTableRef, Query},
};

/// The columns of a table or a view, by their names; none if it is not there.
pub(crate) async fn columns(
    db: &impl ConnectionTrait,
    table: &str,
) -> Result<BTreeSet<String>, DbErr> {
    let backend = db.get_database_backend();
    // Raw SQL: each is a catalog of one engine, which the builder could only wrap.
    let sql = match backend {
        DbBackend::Postgres => {
            "SELECT a.attname::text AS name FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
             WHERE c.relname = $1 AND pg_table_is_visible(c.oid) AND a.attnum > 0 AND NOT a.attisdropped"
        }
        DbBackend::MySql => {
            "SELECT column_name AS name FROM information_schema.columns \
             WHERE table_schema = DATABASE() AND table_name = ?"
        }
        _ => "SELECT name FROM pragma_table_info(?)",
    };
    let statement = Statement::from_sql_and_values(backend, sql, [table.into()]);
    let rows = db.query_all_raw(statement).await?;
    rows.iter().map(|row| row.try_get("", "name")).collect()
}

/// Whether a table of ours is there, and not a view.
pub(crate) async fn has_table(db: &impl ConnectionTrait, table: &str) -> Result<bool, DbErr> {
    // SeaORM's own `has_table` looks at the first schema of PostgreSQL's search path alone.
    let (tables, name, is_ours) = match db.get_database_backend() {
        // Not to_regclass: a session that asks it again may get its earlier answer.
        DbBackend::Postgres => (
            "pg_tables".into_table_ref(),
            "tablename",
            Expr::cust("schemaname = ANY(current_schemas(false))"),
        ),
        DbBackend::MySql => (
            ("information_schema", "tables").into_table_ref(),
            "table_name",
            Expr::cust("table_schema = DATABASE() AND table_type = 'BASE TABLE'"),
        ),
        _ => (
            "sqlite_master".into_table_ref(),
            "name",
            Expr::cust("type = 'table'"),
        ),
    };
    let select = Query::select()
        .column(name)
        .from(tables)
        .and_where(Expr::col(name).eq(table))
        .and_where(is_ours)
        .to_owned();
    Ok(db.query_one(&select).await?.is_some())
}
