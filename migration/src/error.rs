//! Why a migration was not run.

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
    #[error("tokens would be lost: {0}")]
    LosesTokens(u64),
    #[error("another migration is running")]
    Locked,
    #[error("{0}")]
    Database(#[from] DbErr),
}
