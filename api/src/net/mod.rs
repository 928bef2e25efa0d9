//! Sockets: listeners and their connections. Knows HTTP/1.1, and nothing of items.
//!
//! - `server`: a listener, the bound on its connections, and how serving ends (`phase`).
//! - `open_connections`: all that are open, and which of them makes room for a new one.
//! - `connection`: one connection; `activity` with its `activity_times`: what it is doing, and its deadlines; `stream`: its socket;
//!   `refusal`: its answer to what is no request; `half_closed`: clients that may be gone.
//! - `listen_address`: where to listen, as a user writes it.
//! - `tls`: certificates, handshakes, and sockets with TLS.
//! - `self_wakes`: polls a connection that wakes itself again at once.

mod activity;
mod activity_times;
mod connection;
mod half_closed;
mod listen_address;
mod open_connections;
mod phase;
mod refusal;
mod self_wakes;
mod server;
mod stream;
mod tls;

pub(crate) use self::{
    half_closed::EndOfInput,
    listen_address::listen_address,
    open_connections::{OpenConnections, OpenConnectionsSettings},
    phase::Phase,
    server::Server,
    tls::{CertificateError, CertificateFiles, Tls},
};
