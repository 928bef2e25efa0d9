//! The files of a certificate, in PEM (RFC 7468).

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::rustls::{
    self, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{ParsedCertificate, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};

/// Longer than any file of certificates that a client would be sent, or of authorities.
const MOST_BYTES: u64 = 4 * 1024 * 1024;
/// What some editors put before a text (U+FEFF).
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// What is spoken inside (RFC 7301).
const ALPN: &[u8] = b"http/1.1";

const USABLE_KEYS: &str =
    "it cannot be used: RSA of at least 2048 bits, ECDSA on P-256 or P-384, and Ed25519 can";

/// Where the certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateFiles {
    /// The certificate, followed by those between it and its authority.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// The authorities of client certificates; with them every client needs one.
    pub client_ca: Option<PathBuf>,
}

/// Why a certificate cannot be used. What is in a file is never told: it may be the key.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{setting} {path}: {error}", path = path.display())]
    Unreadable {
        setting: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    #[error("{setting} {path}: {fault}", path = path.display())]
    Unusable {
        setting: &'static str,
        path: PathBuf,
        fault: String,
    },
    #[error(
        "TLS_KEY {path}: the key is encrypted, and there is nobody to ask for its passphrase; store it without: \
         openssl pkey -in {path} -out NEW",
        path = .0.display()
    )]
    Encrypted(PathBuf),
    #[error(
        "the key of TLS_KEY {key} does not belong to the first certificate of TLS_CERT {cert}, which has to be kvd's own",
        key = key.display(),
        cert = cert.display()
    )]
    NoPair { cert: PathBuf, key: PathBuf },
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// A file, and the setting that names it.
#[derive(Clone, Copy)]
struct Named<'a> {
    setting: &'static str,
    path: &'a Path,
}

impl CertificateFiles {
    /// # Errors
    /// What is wrong with which file.
    pub(super) fn read(&self) -> Result<ServerConfig, CertificateError> {
        let provider = Arc::new(ring::default_provider());
        let chain = named("TLS_CERT", &self.cert).certificates()?;
        let key = named("TLS_KEY", &self.key);
        let loaded = provider.key_provider.load_private_key(key.key()?);
        let loaded = loaded.map_err(|_| key.unusable(USABLE_KEYS))?;
        let pair = CertifiedKey::new(chain, loaded);
        pair.keys_match().map_err(|_| CertificateError::NoPair {
            cert: self.cert.clone(),
            key: self.key.clone(),
        })?;
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(CertificateError::Setup)?;
        let config = match &self.client_ca {
            Some(path) => {
                let verifier = named("TLS_CLIENT_CA", path).client_verifier(provider)?;
                config.with_client_cert_verifier(verifier)
            }
            None => config.with_no_client_auth(),
        };
        let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }
}

fn named<'a>(setting: &'static str, path: &'a Path) -> Named<'a> {
    Named { setting, path }
}

impl Named<'_> {
    fn text(self) -> Result<Vec<u8>, CertificateError> {
        let unreadable = |error| CertificateError::Unreadable {
            setting: self.setting,
            path: self.path.to_owned(),
            error,
        };
        // Asked before it is opened: a pipe would keep kvd waiting.
        let kind = self.path.metadata().map_err(unreadable)?;
        if !kind.is_file() {
            return Err(self.unusable("it is no regular file"));
        }
        let mut text = Vec::new();
        let file = File::open(self.path).map_err(unreadable)?;
        let read = file.take(MOST_BYTES + 1).read_to_end(&mut text);
        if read.map_err(unreadable)? as u64 > MOST_BYTES {
            return Err(self.unusable("it is longer than 4 MiB"));
        }
        if text.starts_with(BYTE_ORDER_MARK) {
            text.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(text)
    }

    fn certificates(self) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
        let text = self.text()?;
        let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| self.no_pem(&error))?;
        if certificates.is_empty() {
            return Err(self.has_no("certificate", "CERTIFICATE", &text));
        }
        for (number, certificate) in (1..).zip(&certificates) {
            if ParsedCertificate::try_from(certificate).is_err() {
                return Err(self.unusable(&format!("certificate {number} in it cannot be read")));
            }
        }
        Ok(certificates)
    }

    fn key(self) -> Result<PrivateKeyDer<'static>, CertificateError> {
        let text = self.text()?;
        // The label of PKCS #8, and the header of the older format (RFC 1421).
        if has(&text, "BEGIN ENCRYPTED PRIVATE KEY") || has(&text, "Proc-Type: 4,ENCRYPTED") {
            return Err(CertificateError::Encrypted(self.path.to_owned()));
        }
        PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            pem::Error::NoItemsFound => self.has_no("private key", "PRIVATE KEY", &text),
            error => self.no_pem(&error),
        })
    }

    fn client_verifier(
        self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
        let unusable = |_| self.unusable("a certificate in it is none of an authority");
        let mut authorities = RootCertStore::empty();
        for certificate in self.certificates()? {
            authorities.add(certificate).map_err(unusable)?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider);
        verifier
            .build()
            .map_err(|error| self.unusable(&error.to_string()))
    }

    fn has_no(self, wanted: &str, label: &str, text: &[u8]) -> CertificateError {
        let why = match label {
            _ if text.is_empty() => "it is empty",
            "CERTIFICATE" if has(text, "PRIVATE KEY-----") => {
                "but a private key; are TLS_CERT and TLS_KEY exchanged?"
            }
            "CERTIFICATE" if has(text, "CERTIFICATE REQUEST-----") => "but a request for one",
            "PRIVATE KEY" if has(text, "BEGIN CERTIFICATE-----") => {
                "but a certificate; are TLS_CERT and TLS_KEY exchanged?"
            }
            _ => "it has to be PEM",
        };
        self.unusable(&format!(
            "no {wanted} in it (-----BEGIN {label}-----): {why}"
        ))
    }

    /// The parser's own words have the line that it could not read.
    fn no_pem(self, error: &pem::Error) -> CertificateError {
        self.unusable(match error {
            pem::Error::MissingSectionEnd { .. } => {
                "a line -----END …----- is missing; are its lines broken?"
            }
            pem::Error::IllegalSectionStart { .. } => "a line -----BEGIN …----- is broken",
            pem::Error::Base64Decode(_) => "what stands between BEGIN and END is no base64",
            _ => "it is no PEM",
        })
    }

    fn unusable(self, fault: &str) -> CertificateError {
        CertificateError::Unusable {
            setting: self.setting,
            path: self.path.to_owned(),
            fault: fault.to_owned(),
        }
    }
}

fn has(text: &[u8], part: &str) -> bool {
    text.windows(part.len())
        .any(|found| found == part.as_bytes())
}
