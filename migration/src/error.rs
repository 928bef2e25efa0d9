//! Why a migration was not run.

use std::fmt;

use sea_orm_migration::sea_orm::DbErr;

/// Why a migration was not run.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("there is a table items that is not kvd's, and it was left untouched: {0}")]
    ForeignTable(String),
    #[error("there is a table kvd_tokens that is not kvd's, and it was left untouched")]
    ForeignTokens,
    #[error("the encoding of the database is {0}, and it has to be UTF8")]
    Encoding(String),
    #[error("search_path begins with pg_temp, where a table ends with its session")]
    Temporary,
    #[error("the database was migrated by a newer version ({0}); use that version")]
    Newer(String),
    #[error("{0}")]
    Loses(Losses),
    #[error("another migration is running")]
    Locked,
    #[error("{0}")]
    Database(#[from] DbErr),
}

/// What is lost where migrations are taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    pub tokens: u64,
    /// The items that would expire, and then never do.
    pub ends: u64,
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = (self.tokens > 0).then(|| format!("tokens would be lost: {}", self.tokens));
        let ends = (self.ends > 0).then(|| format!("items would never expire: {}", self.ends));
        let losses: Vec<_> = tokens.into_iter().chain(ends).collect();
        f.write_str(&losses.join("; "))
    }
}
