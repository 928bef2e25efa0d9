//! A client that speaks TLS, byte for byte as [`Wire`] does without.

use std::{fs, io, net::SocketAddr, sync::Arc};

use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore, SupportedProtocolVersion,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
        version::{TLS12, TLS13},
    },
};

use crate::{openssl::Authority, wire::Wire};

/// Whom the client trusts, and what it shows and speaks.
#[derive(Clone)]
pub struct TlsClient {
    authorities: Vec<String>,
    certificate: Option<(String, String)>,
    versions: Vec<&'static SupportedProtocolVersion>,
    /// What is to be spoken inside, by ALPN.
    pub protocols: Vec<Vec<u8>>,
}

impl TlsClient {
    /// Takes the certificates of these authorities.
    #[must_use]
    pub fn trusting(authorities: &[&Authority]) -> Self {
        Self {
            authorities: authorities.iter().map(|one| one.certificate()).collect(),
            certificate: None,
            versions: vec![&TLS13, &TLS12],
            protocols: Vec::new(),
        }
    }

    /// Shows this certificate, in PEM, with its key.
    #[must_use]
    pub fn showing(mut self, (certificate, key): (String, String)) -> Self {
        self.certificate = Some((certificate, key));
        self
    }

    /// Speaks TLS 1.2 only.
    #[must_use]
    pub fn old(mut self) -> Self {
        self.versions = vec![&TLS12];
        self
    }

    /// A connection for `localhost`, once its handshake is done.
    ///
    /// # Errors
    ///
    /// If that fails. With TLS 1.3 a refused certificate of the client's own is told only at the first read.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        self.over(TcpStream::connect(address).await?).await
    }

    /// A connection whose kernel holds little of what it has not read.
    ///
    /// # Errors
    ///
    /// As [`Self::connect`].
    pub async fn connect_small(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(32 * 1024)?;
        self.over(socket.connect(address).await?).await
    }

    /// # Errors
    ///
    /// As [`Self::connect`].
    pub async fn wire(&self, address: SocketAddr) -> io::Result<Wire> {
        Ok(Wire::over_tls(self.connect(address).await?))
    }

    async fn over(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        stream.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::new(self.config()));
        let name = ServerName::try_from("localhost").expect("a name");
        connector.connect(name, stream).await
    }

    fn config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for file in &self.authorities {
            let text = fs::read(file).expect("openssl has written it");
            roots.add(certificate(&text)).expect("an authority");
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&self.versions)
            .expect("versions that there are")
            .with_root_certificates(roots);
        let mut config = match &self.certificate {
            None => config.with_no_client_auth(),
            Some((own, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
                let own = vec![certificate(own.as_bytes())];
                config.with_client_auth_cert(own, key).expect("a pair")
            }
        };
        config.alpn_protocols.clone_from(&self.protocols);
        config
    }
}

fn certificate(pem: &[u8]) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem).expect("a certificate")
}

/// The certificate of the server, in DER.
///
/// # Panics
///
/// If it has shown none.
#[must_use]
pub fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    let all = stream.get_ref().1.peer_certificates();
    all.expect("a certificate")[0].to_vec()
}

/// A certificate in PEM as DER.
#[must_use]
pub fn der(pem: &str) -> Vec<u8> {
    certificate(pem.as_bytes()).to_vec()
}
