//! Sockets: listeners and their connections. Knows HTTP/1.1, and nothing of items.
//!
//! - `server`: a listener, the bound on its connections, and how serving ends (`phase`).
//! - `connection`: one connection; `activity`: what it is doing, and its deadlines.
//! - `listen_address`: where to listen, as a user writes it.
//! - `self_wakes`: polls a connection that wakes itself again at once.

mod activity;
mod connection;
mod listen_address;
mod phase;
mod self_wakes;
mod server;

pub(crate) use self::{listen_address::listen_address, phase::Phase, server::Server};
