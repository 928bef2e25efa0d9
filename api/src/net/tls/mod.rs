//! TLS 1.2 and 1.3 (RFC 8446) on a listener, by rustls with the cryptography of `ring`.
//!
//! - `certificate_files`: certificate, key and authority as a user keeps them. `handshake`: how a connection begins.
//!   `socket`: a connection with or without TLS.
//! - `reloadable`: what of the files is in force.

mod certificate_files;
mod handshake;
mod reloadable;
mod socket;

pub(crate) use self::{
    certificate_files::{CertificateError, CertificateFiles},
    reloadable::Tls,
};
pub(super) use self::{handshake::accept, socket::Socket};
