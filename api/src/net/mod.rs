//! Sockets: listeners and their connections. Knows HTTP/1.1, and nothing of items.
//!
//! - `server`: a listener, the bound on its connections, and how serving ends (`phase`).
//! - `connection`: one connection; `activity`: what it is doing, and its deadlines.
//! - `self_wakes`: polls a connection that wakes itself again at once.

mod activity;
mod connection;
mod phase;
mod self_wakes;
mod server;

pub(crate) use self::{phase::Phase, server::Server};
