//! Certificates of the tests' own, made by the real `openssl`.

use std::fs;

use tempfile::TempDir;

use crate::process::run;

/// What it prints.
///
/// # Panics
///
/// If it is missing, or fails.
#[must_use]
pub fn openssl(arguments: &[&str]) -> String {
    run("openssl", arguments).expect(0).text().to_owned()
}

const NEW_KEY: &str = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";

/// An authority, which signs certificates.
pub struct Authority {
    directory: TempDir,
}

impl Authority {
    /// # Panics
    ///
    /// If it cannot be made.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory of its own");
        let authority = Self { directory };
        let (key, certificate) = (authority.path("ca.key"), authority.path("ca.pem"));
        // By its name an authority is told from others.
        let name = format!("/CN=test {}", fastrand::u64(..));
        let files = ["-subj", &name, "-keyout", &key, "-out", &certificate];
        let _made = openssl(&[&words(NEW_KEY)[..], &files].concat());
        authority
    }

    /// The file of its certificate.
    #[must_use]
    pub fn certificate(&self) -> String {
        self.path("ca.pem")
    }

    /// A certificate and its key for a server of this name, such as `DNS:localhost`.
    #[must_use]
    pub fn issue(&self, name: &str) -> (String, String) {
        let (key, certificate) = (self.path("server.key"), self.path("server.pem"));
        let (ca_key, ca) = (self.path("ca.key"), self.certificate());
        let name = format!("subjectAltName={name}");
        let extensions = ["-addext", &name, "-addext", "basicConstraints=CA:FALSE"];
        let signed = ["-CA", &ca, "-CAkey", &ca_key, "-subj", "/CN=server"];
        let files = ["-keyout", &key, "-out", &certificate];
        let _made = openssl(&[&words(NEW_KEY)[..], &extensions, &signed, &files].concat());
        let read = |file| fs::read_to_string(file).expect("openssl has written it");
        (read(certificate), read(key))
    }

    /// A certificate and its key for a client; `days` may be less than none.
    #[must_use]
    pub fn issue_for_client(&self, days: i32) -> (String, String) {
        let [key, request, certificate] =
            ["client.key", "client.csr", "client.pem"].map(|file| self.path(file));
        let (ca_key, ca, days) = (self.path("ca.key"), self.certificate(), days.to_string());
        let new = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=client";
        let files = ["-keyout", &key, "-out", &request];
        let _made = openssl(&[&words(new)[..], &files].concat());
        let extensions = self.path("client.ext");
        fs::write(&extensions, "basicConstraints=CA:FALSE\n").expect("a file");
        let signed = ["-CA", &ca, "-CAkey", &ca_key, "-days", &days];
        let files = [
            "-extfile",
            &extensions,
            "-in",
            &request,
            "-out",
            &certificate,
        ];
        let _made = openssl(&[&["x509", "-req"], &signed[..], &files].concat());
        let read = |file| fs::read_to_string(file).expect("openssl has written it");
        (read(certificate), read(key))
    }

    fn path(&self, file: &str) -> String {
        self.directory.path().join(file).display().to_string()
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}
