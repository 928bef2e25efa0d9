//! The database's clock, in its own SQL. Raw: the builder has no clock that is UTC on every engine and every session.

use std::time::Duration;

use sea_orm::{DbBackend, sea_query::SimpleExpr};

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
