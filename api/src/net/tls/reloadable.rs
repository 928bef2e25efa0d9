//! The certificate in force, which is read again while kvd runs.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use super::certificate_files::{CertificateError, CertificateFiles};

/// The certificate and its key, as they are in force for new connections.
pub(crate) struct Tls {
    files: CertificateFiles,
    current: ArcSwap<ServerConfig>,
}

impl Tls {
    /// # Errors
    /// What is wrong with which file.
    pub(crate) fn open(files: CertificateFiles) -> Result<Self, CertificateError> {
        let current = ArcSwap::from_pointee(files.read()?);
        Ok(Self { files, current })
    }

    /// Reads the files again, for new connections.
    ///
    /// # Errors
    /// What is wrong with which file; then what was in force stays.
    pub(crate) fn reload(&self) -> Result<(), CertificateError> {
        self.current.store(Arc::new(self.files.read()?));
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.current.load_full().into()
    }
}
