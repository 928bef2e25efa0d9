//! How `kvd` and `kvctl` reach a database. Knows nothing of items.
//!
//! - `url`: the URL of a database, read without ever telling its password.
//! - `connector`: opens sessions; `session_setup`: sets each up as its statements need it.
//! - `sqlite`: the file of an SQLite database.
//! - `session`: one session with any engine; `postgres`: one with PostgreSQL, also through a pooler.
//! - `private_file`: a file of SQLite that only its owner can read.
//! - `pool`: the sessions of a server, shared by its requests.
//! - `failure`: what an error means for the caller that sent the statement; `our_tables`: whether it says that a
//!   migration is missing.
//! - `server`: which server and which version answers.

mod connector;
mod failure;
mod our_tables;
mod pool;
mod postgres;
mod private_file;
mod server;
mod session;
mod session_setup;
mod sqlite;
mod url;

pub use self::{
    connector::Connector,
    failure::{Failure, is_of_taken_id, statement_error},
    pool::{Pool, PooledSession},
    postgres::Postgres,
    private_file::make_private,
    server::Server,
    session::Session,
    session_setup::SessionSettings,
    url::{DatabaseUrl, Engine, InvalidDatabaseUrl},
};
