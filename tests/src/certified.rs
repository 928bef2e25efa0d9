//! A kvd with a certificate of its own.

use std::{fs, path::PathBuf};

use crate::{
    env::Env,
    kvd::{Kvd, Start},
    openssl::Authority,
    tls::{TlsClient, der},
    wire::Wire,
};

/// A certificate in the test's directory, and kvd with it.
pub struct Certified {
    pub authority: Authority,
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Certified {
    pub fn new(env: &Env) -> Self {
        let certified = Self {
            authority: Authority::new(),
            cert: env.directory().join("kvd.pem"),
            key: env.directory().join("kvd.key"),
        };
        certified.renew();
        certified
    }

    /// Another certificate; in DER.
    pub fn renew(&self) -> Vec<u8> {
        let (cert, key) = self.authority.issue("DNS:localhost");
        fs::write(&self.cert, &cert).expect("a file");
        fs::write(&self.key, key).expect("a file");
        der(&cert)
    }

    pub fn kvd(&self, env: &Env) -> Start {
        env.kvd()
            .env("TLS_CERT", &self.cert)
            .env("TLS_KEY", &self.key)
    }

    pub fn client(&self) -> TlsClient {
        TlsClient::trusting(&[&self.authority])
    }

    pub async fn wire(&self, kvd: &Kvd) -> Wire {
        let connected = self.client().wire(kvd.address()).await;
        connected.expect("a handshake")
    }
}
