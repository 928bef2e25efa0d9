//! What can be wrong with the URL of a database.

/// Why a text is no [`DatabaseUrl`](crate::DatabaseUrl). Never contains the text, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDatabaseUrl {
    #[error("the database URL must begin with postgres://, mysql:// or sqlite://")]
    Scheme,
    #[error("the database URL cannot be read: {0}")]
    Malformed(String),
    #[error("the database URL has an unescaped /, ? or # in its password (%2F, %3F, %23)")]
    Unescaped,
    #[error("the database URL has a % without two hexadecimal digits behind it (write %25)")]
    Percent,
    #[error(
        "the database URL has a control character, or a blank at an end of the file's path (write %0A, %20)"
    )]
    Invisible,
    #[error("the database URL names several hosts; give it one")]
    Hosts,
    #[error("the database URL has the unknown parameter {0:?}")]
    Parameter(String),
    /// A known parameter has a value that it cannot have; the second text says which it can.
    #[error("the database URL's parameter {0} {1}")]
    Value(&'static str, &'static str),
    #[error("the database URL's parameter pool_mode is neither session nor transaction")]
    PoolMode,
    #[error("the file of the database URL's parameter {0} cannot be read: {1}")]
    File(String, String),
    #[error("the database URL names no database: mysql://user@host/database")]
    NoDatabase,
    #[error("the database URL names no user, and the system has no name for the user id {0}")]
    NoUser(u32),
    #[error(
        "the variable PGSSLMODE is none of disable, allow, prefer, require, verify-ca, verify-full"
    )]
    SslMode,
    #[error("the URL of an SQLite database is sqlite://FILE, without user and password")]
    User,
    #[error("an in-memory SQLite database is lost with each connection; name a file")]
    InMemory,
}
