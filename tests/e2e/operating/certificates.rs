//! kvd on an address of its own, as the handbook has it: with TLS, tokens, and a certificate that is renewed.

use std::{fs, path::Path};

use tests::{
    Env, Kvd, Wire,
    handbook::block,
    load::until,
    openssl::Authority,
    tls::{TlsClient, der, shown},
};

use crate::operating::behind_a_proxy::status_by_tls;

tests::list! {
    Once =>
        with_its_own_certificate_kvd_needs_no_proxy,
        a_renewed_certificate_is_in_force_after_the_hook
}

/// What certbot keeps, and what the hook makes of it.
struct Renewals<'a> {
    env: &'a Env,
    authority: Authority,
}

impl Renewals<'_> {
    fn path(&self, name: &str) -> String {
        self.env.directory().join(name).display().to_string()
    }

    /// Another certificate, of which the hook is told; in DER.
    fn renew(&self, reload: &str) -> Vec<u8> {
        let (certificate, key) = self.authority.issue("DNS:localhost");
        let lineage = self.path("live");
        fs::create_dir_all(&lineage).expect("a directory");
        let put = |name: &str, text: &str| {
            fs::write(Path::new(&lineage).join(name), text).expect("a file");
        };
        put("fullchain.pem", &certificate);
        put("privkey.pem", &key);
        let own = self.path("tls");
        block("#!/bin/sh")
            .with(
                "install -d -g kvd -m 750 /etc/kvd/tls",
                &format!("install -d -m 750 {own}"),
            )
            .with("install -g kvd", "install")
            .with("\" /etc/kvd/tls", &format!("\" {own}"))
            .with("systemctl try-reload-or-restart kvd", reload)
            .run(self.env, &[("RENEWED_LINEAGE", &lineage)]);
        der(&certificate)
    }

    /// A kvd with the handbook's settings.
    async fn kvd(&self) -> Kvd {
        let settings = block("# /etc/kvd/kvd.env, on an address of its own")
            .with("0.0.0.0:8443", "127.0.0.1:0")
            .with("127.0.0.1:8001", "127.0.0.1:0")
            .with(
                "/etc/kvd/tls/fullchain.pem",
                &self.path("tls/fullchain.pem"),
            )
            .with("/etc/kvd/tls/privkey.pem", &self.path("tls/privkey.pem"))
            .text();
        let settings = settings.lines().filter_map(|line| line.split_once('='));
        let kvd = settings.fold(self.env.kvd(), |kvd, (name, value)| kvd.env(name, value));
        kvd.start().await
    }
}

async fn with_its_own_certificate_kvd_needs_no_proxy(env: Env) {
    let renewals = Renewals {
        env: &env,
        authority: Authority::new(),
    };
    let _first = renewals.renew("true");
    let kvd = renewals.kvd().await;
    let _put = env.kvctl(["put", "a", "b"]).await.expect(0);
    let token = env.token(["reader", "--read", "a"]).await;
    let authority = renewals.authority.certificate();
    let status = |arguments: &[&str]| status_by_tls(kvd.address().port(), &authority, arguments);
    let bearer = format!("Authorization: Bearer {token}");
    assert_eq!(status(&[]), "401");
    assert_eq!(status(&["-H", &bearer]), "200");
    let put = ["-X", "PUT", "--json", "{\"value\":\"c\"}", "-H", &bearer];
    assert_eq!(status(&put), "403");
    let _metrics = kvd.admin().get("/metrics").await.expect(200);
}

async fn a_renewed_certificate_is_in_force_after_the_hook(env: Env) {
    let renewals = Renewals {
        env: &env,
        authority: Authority::new(),
    };
    let first = renewals.renew("true");
    let kvd = renewals.kvd().await;
    let client = TlsClient::trusting(&[&renewals.authority]);
    let stream = client.connect(kvd.address()).await.expect("a handshake");
    assert_eq!(shown(&stream), first);
    let mut before = Wire::over_tls(stream);
    let renewed = renewals.renew(&format!("kill -HUP {}", kvd.pid()));
    until("the new certificate is in force", async || {
        let stream = client.connect(kvd.address()).await;
        shown(&stream.expect("a handshake")) == renewed
    })
    .await;
    let _served = before.ask("GET", "/openapi.json", "").await.expect(200);
}
