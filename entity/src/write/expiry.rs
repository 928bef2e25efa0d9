//! When an item that is written is to expire.

use std::time::Duration;

use sea_orm::{
    DbBackend, Value,
    sea_query::{CaseStatement, Expr, ExprTrait, SimpleExpr},
};

use crate::{
    clock,
    item::{Column, time::Time},
};

/// When an item that is written is to expire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    #[default]
    Never,
    /// As before; a new item never.
    Keep,
    /// Then, or as soon as it is written if that is later.
    At(Time),
    /// So long after the database writes it, in whole seconds.
    After(Duration),
}

impl Expiry {
    pub(super) fn at(self) -> Option<Time> {
        match self {
            Self::At(time) => Some(time),
            Self::Never | Self::Keep | Self::After(_) => None,
        }
    }

    pub(super) fn seconds(self) -> Option<i64> {
        match self {
            Self::After(time) => i64::try_from(time.as_secs()).ok(),
            Self::Never | Self::Keep | Self::At(_) => None,
        }
    }

    /// As the statements of an engine take it: the time and what is added to the clock, of which at most one is not
    /// `NULL`.
    pub(super) fn values(self, backend: DbBackend) -> [Value; 2] {
        match backend {
            DbBackend::Postgres => [
                self.at().map(|time| time.to_string()).into(),
                self.seconds().into(),
            ],
            DbBackend::MySql => [
                self.at().map(Time::in_columns).into(),
                self.seconds().into(),
            ],
            _ => [
                self.at().map(Time::in_columns).into(),
                self.seconds()
                    .map(|seconds| format!("+{seconds} seconds"))
                    .into(),
            ],
        }
    }

    /// The end of an item that is updated, of one text whatever it is.
    pub(super) fn end(self, backend: DbBackend) -> SimpleExpr {
        let keeps = Expr::value(self == Self::Keep);
        CaseStatement::new()
            .case(keeps.eq(true), Expr::col(Column::ExpiresAt))
            .finally(self.first_end(backend))
            .into()
    }

    /// The end of a new item.
    pub(super) fn first_end(self, backend: DbBackend) -> SimpleExpr {
        Expr::cust_with_values(clock::at_or_after(backend), self.values(backend))
    }
}
