//! The database's clock, in its own SQL. Raw: the builder has no clock that is UTC on every engine and every session.

use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DbBackend, DbErr,
    sea_query::{Alias, Query, SimpleExpr},
};

use crate::item::time::Time;

/// The current time, by which it decides what has ended.
pub(crate) fn now(backend: DbBackend) -> SimpleExpr {
    SimpleExpr::Custom(
        match backend {
            DbBackend::Postgres => "clock_timestamp()",
            DbBackend::MySql => "UTC_TIMESTAMP(6)",
            _ => "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
        }
        .into(),
    )
}

/// When the statement began, by which a read decides what has expired.
pub(crate) fn statement_began(backend: DbBackend) -> SimpleExpr {
    SimpleExpr::Custom(
        match backend {
            DbBackend::Postgres => "statement_timestamp()",
            DbBackend::MySql => "UTC_TIMESTAMP(6)",
            _ => "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
        }
        .into(),
    )
}

/// So long after the current time, in whole seconds.
pub(crate) fn after(backend: DbBackend, time: Duration) -> SimpleExpr {
    let seconds = time.as_secs();
    SimpleExpr::Custom(
        match backend {
            DbBackend::Postgres => format!("clock_timestamp() + interval '{seconds} seconds'"),
            DbBackend::MySql => format!("UTC_TIMESTAMP(6) + INTERVAL {seconds} SECOND"),
            _ => format!("strftime('%Y-%m-%d %H:%M:%f000', 'now', '+{seconds} seconds')"),
        }
        .into(),
    )
}

/// The end that a client asks for. It has two parameters, of which at least one is `NULL`: a time, which becomes the next
/// moment if it has passed, and a number of seconds from now. If both are `NULL`, so is the end.
pub(crate) fn at_or_after(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Postgres => {
            "CASE WHEN CAST($1 AS timestamptz) IS NOT NULL \
             THEN GREATEST(CAST($1 AS timestamptz), clock_timestamp() + interval '1 microsecond') \
             ELSE clock_timestamp() + CAST($2 AS bigint) * interval '1 second' END"
        }
        DbBackend::MySql => {
            "COALESCE(GREATEST(CAST(? AS DATETIME(6)), UTC_TIMESTAMP(6) + INTERVAL 1 MICROSECOND), \
             UTC_TIMESTAMP(6) + INTERVAL ? SECOND)"
        }
        _ => {
            "COALESCE(max(?, strftime('%Y-%m-%d %H:%M:%f000', 'now', '+0.001 seconds')), \
             strftime('%Y-%m-%d %H:%M:%f000', 'now', ?))"
        }
    }
}

/// The current time, or for an item whose end has come since that was judged, the moment before it.
pub(crate) fn now_before_end(backend: DbBackend) -> SimpleExpr {
    SimpleExpr::Custom(
        match backend {
            DbBackend::Postgres => {
                "LEAST(clock_timestamp(), expires_at - interval '1 microsecond')"
            }
            DbBackend::MySql => {
                "LEAST(UTC_TIMESTAMP(6), COALESCE(expires_at - INTERVAL 1 MICROSECOND, UTC_TIMESTAMP(6)))"
            }
            _ => {
                "min(strftime('%Y-%m-%d %H:%M:%f000', 'now'), COALESCE(\
                 strftime('%Y-%m-%d %H:%M:%f000', expires_at, '-0.001 seconds'), \
                 strftime('%Y-%m-%d %H:%M:%f000', 'now')))"
            }
        }
        .into(),
    )
}

/// The current time, asked for by itself.
///
/// # Errors
/// What the database said.
pub(crate) async fn read(db: &impl ConnectionTrait) -> Result<Time, DbErr> {
    let name = Alias::new("now");
    let select = Query::select()
        .expr_as(now(db.get_database_backend()), name.clone())
        .to_owned();
    let row = db.query_one(&select).await?;
    let no_row = || DbErr::RecordNotFound("the clock".to_owned());
    row.ok_or_else(no_row)?.try_get("", "now")
}
