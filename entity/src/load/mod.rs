//! Many items at once, all or nothing.
//!
//! Lines are first *staged* in a temporary table of the session, which touches nothing that others
//! use, however long it takes. Then they are *merged* into `items` in one transaction, in chunks in
//! the order of their keys. Every write of several keys locks them in this order, so no two wait for
//! each other in a circle. A line whose end has come by then is left out, and an item whose end has come makes
//! room for a new one (`expired`). Until [`Merged::commit`] nothing is decided: a [`Load`], [`Staged`] or
//! [`Merged`] that is dropped leaves no trace.

mod chunk;
mod dialect;
mod expired;
mod line;
mod merge;
mod outcome;
mod queries;
mod refused;
mod stage;
mod staged;
mod unstored;

use database::Session;
use sea_orm::ConnectionTrait;

use self::dialect::Dialect;
pub use self::{
    line::{Line, OnConflict},
    merge::{Merged, Progress},
    outcome::{LoadError, Loaded},
    staged::Staged,
};

/// Lines count as sorted if at most one in this many is out of order.
const ORDERLY_LINES: u64 = 100;

/// Lines being staged.
pub struct Load {
    session: Session,
    dialect: &'static Dialect,
    on_conflict: OnConflict,
    lines: u64,
    last_key: String,
    /// How many lines do not come after the one before them in the order of the keys. If there is none,
    /// as in an export, no key comes twice.
    disorder: u64,
    /// Whether a line has an end.
    ends: bool,
}

impl Load {
    /// # Errors
    /// What the database said.
    pub async fn begin(session: Session, on_conflict: OnConflict) -> Result<Self, LoadError> {
        let dialect = Dialect::of(session.get_database_backend());
        for sql in dialect.prepare {
            session.execute_unprepared(sql).await?;
        }
        Ok(Self {
            session,
            dialect,
            on_conflict,
            lines: 0,
            last_key: String::new(),
            disorder: 0,
            ends: false,
        })
    }

    /// Takes some lines, a mebibyte or so, and sends them as one message.
    ///
    /// # Errors
    /// What the database said.
    pub async fn stage(&mut self, lines: Vec<Line>) -> Result<(), LoadError> {
        let Some(last) = lines.last() else {
            return Ok(());
        };
        let mut before = self.last_key.as_str();
        for line in &lines {
            self.disorder += u64::from(line.key.as_str() <= before);
            before = line.key.as_str();
            self.ends |= line.expires_at.is_some();
        }
        self.last_key = last.key.as_str().to_owned();
        self.lines += lines.len() as u64;
        stage::send(&self.session, lines).await?;
        Ok(())
    }

    /// Ends the staging: all lines were taken.
    ///
    /// # Errors
    /// [`LoadError::Repeated`], or what the database said.
    pub async fn staged(self) -> Result<Staged, LoadError> {
        let index = if self.disorder > self.lines / ORDERLY_LINES {
            self.dialect.index_unsorted
        } else {
            self.dialect.index
        };
        let keep = match self.on_conflict {
            _ if self.disorder == 0 => &[],
            OnConflict::Error => &[],
            OnConflict::Skip => self.dialect.keep_first,
            OnConflict::Overwrite => self.dialect.keep_last,
        };
        for sql in index.iter().chain(keep) {
            self.session.execute_unprepared(sql).await?;
        }
        if self.disorder > 0 && self.on_conflict == OnConflict::Error {
            self.refuse_repeated().await?;
        }
        Ok(Staged {
            session: self.session,
            dialect: self.dialect,
            on_conflict: self.on_conflict,
            lines: self.lines,
            ends: self.ends,
        })
    }

    async fn refuse_repeated(&self) -> Result<(), LoadError> {
        match self.session.query_one(&queries::repeated()).await? {
            None => Ok(()),
            Some(row) => Err(LoadError::Repeated {
                key: row.try_get("", "key")?,
                first: row.try_get::<i64>("", "first_line")?.unsigned_abs(),
                again: row.try_get::<i64>("", "last_line")?.unsigned_abs(),
            }),
        }
    }
}
