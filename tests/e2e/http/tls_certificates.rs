//! Certificates: kvd's own, which is read again while it runs, and those of clients.

use std::{
    collections::BTreeSet,
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::{sys::signal::Signal, sys::stat::Mode, unistd::mkfifo};
use tests::{
    Env, Kvd, Wire,
    certified::Certified,
    load::{together, until},
    openssl::{Authority, openssl},
    pace::{PATIENCE, timeout},
    tls::{TlsClient, shown},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

tests::list! {
    Once =>
        certificates_are_read_again_under_load_and_no_request_is_lost,
        what_does_not_fit_at_a_reload_is_logged_and_the_one_before_stays,
        without_tls_a_reload_is_a_line_in_the_log,
        what_cannot_be_used_at_the_start_is_one_line_and_exit_code_2,
        clients_need_a_certificate_of_the_authority_that_is_set
}

const GET: &str = "GET /items/a HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Whoever connects gets one certificate or the other, and each request its answer.
// Long: clients and renewals beside each other.
async fn certificates_are_read_again_under_load_and_no_request_is_lost(env: Env) {
    const CLIENTS: usize = 8;
    const RENEWALS: usize = 5;
    let certified = Certified::new(&env);
    let first = certified.renew();
    let kvd = certified.kvd(&env).start().await;
    let done = Arc::new(AtomicBool::new(false));
    let clients = together(CLIENTS, |_| {
        let (client, address, done) = (certified.client(), kvd.address(), done.clone());
        async move {
            let mut seen = BTreeSet::new();
            // Over a connection of the first certificate, and over new ones.
            let mut kept = client.wire(address).await.expect("a handshake");
            let mut last_round = false;
            while !last_round {
                last_round = done.load(Ordering::SeqCst);
                let stream = client.connect(address).await.expect("a handshake");
                seen.insert(shown(&stream));
                let mut new = Wire::over_tls(stream);
                for wire in [&mut new, &mut kept] {
                    let _served = wire.ask("GET", "/items/", "").await.expect(200);
                }
            }
            seen
        }
    });
    let renewals = async {
        let mut newest = first.clone();
        for n in 1..=RENEWALS {
            newest = certified.renew();
            kvd.signal(Signal::SIGHUP);
            until("the certificate was read again", async || {
                kvd.log().matches("the certificate was read again").count() == n
            })
            .await;
        }
        done.store(true, Ordering::SeqCst);
        newest
    };
    let (seen, newest) = tokio::join!(clients, renewals);
    for seen in seen {
        assert!(seen.contains(&newest), "new connections see the new one");
    }
}

// Long: one thing after the other that does not fit.
async fn what_does_not_fit_at_a_reload_is_logged_and_the_one_before_stays(env: Env) {
    let certified = Certified::new(&env);
    let before = certified.renew();
    let kvd = certified.kvd(&env).start().await;
    let (_, other_key) = Authority::new().issue("DNS:localhost");
    let key = fs::read_to_string(&certified.key).expect("the key");
    let joined = key.replace('\n', " ");
    for (broken, said) in [
        (Some(other_key.as_str()), "does not belong"),
        (Some(joined.as_str()), "is missing; are its lines broken?"),
        (Some("nothing"), "it has to be PEM"),
        (Some(""), "it is empty"),
        (None, "No such file"),
    ] {
        match broken {
            Some(text) => fs::write(&certified.key, text).expect("a file"),
            None => fs::remove_file(&certified.key).expect("a file"),
        }
        kvd.signal(Signal::SIGHUP);
        kvd.logged(said).await;
        let stream = certified.client().connect(kvd.address()).await;
        assert_eq!(shown(&stream.expect("a handshake")), before, "{said}");
    }
    assert_untold(&key, &kvd.log());
    // What would never answer is not waited for.
    mkfifo(&certified.key, Mode::S_IRWXU).expect("a pipe");
    kvd.signal(Signal::SIGHUP);
    kvd.logged("no regular file").await;
    fs::remove_file(&certified.key).expect("a pipe");
    fs::write(&certified.key, key).expect("a file");
    kvd.signal(Signal::SIGHUP);
    kvd.logged("the certificate was read again").await;
    let _served = certified
        .wire(&kvd)
        .await
        .ask("GET", "/livez", "")
        .await
        .expect(200);
}

/// No part of a key is told, neither as text nor as the numbers of its bytes.
#[track_caller]
fn assert_untold(key: &str, text: &str) {
    for line in key.lines().filter(|line| !line.starts_with("--")) {
        for part in line.as_bytes().windows(8) {
            let part = str::from_utf8(part).expect("ASCII");
            assert!(!text.contains(part), "a part of the key is in: {text}");
        }
    }
    assert!(!text.contains(", 45, 45, 45"), "bytes are in: {text}");
}

async fn without_tls_a_reload_is_a_line_in_the_log(env: Env) {
    let kvd = env.start().await;
    kvd.signal(Signal::SIGHUP);
    kvd.logged("no certificate to read again").await;
    let _served = kvd.get("/items/").await.expect(200);
}

// Long: one table of what cannot be used.
async fn what_cannot_be_used_at_the_start_is_one_line_and_exit_code_2(env: Env) {
    let certified = Certified::new(&env);
    let file = |name: &str, text: &str| {
        let path = env.directory().join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let (cert, key) = (
        certified.cert.display().to_string(),
        certified.key.display().to_string(),
    );
    let (other, _) = certified.authority.issue("DNS:localhost");
    let other = file("other.pem", &other);
    let empty = file("empty.pem", "");
    let broken = file(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n",
    );
    let no_der = file(
        "no-der.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let locked = env.directory().join("locked.key").display().to_string();
    let _made = openssl(&[
        "pkey",
        "-in",
        &key,
        "-aes256",
        "-passout",
        "pass:secret",
        "-out",
        &locked,
    ]);
    let older = env.directory().join("older.key").display().to_string();
    let _made = openssl(&[
        "ec",
        "-in",
        &key,
        "-aes256",
        "-passout",
        "pass:secret",
        "-out",
        &older,
    ]);
    let key_text = fs::read_to_string(&key).expect("the key");
    let joined = file("joined.key", &key_text.replace('\n', " "));
    let p521 = env.directory().join("p521.key").display().to_string();
    let _made = openssl(&[
        "ecparam",
        "-name",
        "secp521r1",
        "-genkey",
        "-noout",
        "-out",
        &p521,
    ]);
    let cert_text = fs::read_to_string(&cert).expect("the certificate");
    let no_chain = file(
        "no-chain.pem",
        &(cert_text.clone() + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    );
    let pipe = env.directory().join("pipe").display().to_string();
    mkfifo(pipe.as_str(), Mode::S_IRWXU).expect("a pipe");
    let missing = env.directory().join("missing.pem").display().to_string();
    let directory = env.directory().display().to_string();
    for (cert, key, authority, said) in [
        (&cert, "", "", "TLS_KEY"),
        (&String::new(), key.as_str(), "", "TLS_CERT"),
        (&String::new(), "", cert.as_str(), "TLS_CERT"),
        (&missing, &key, "", "TLS_CERT"),
        (&directory, &key, "", "TLS_CERT"),
        (&empty, &key, "", "it is empty"),
        (&key, &key, "", "exchanged?"),
        (&broken, &key, "", "TLS_CERT"),
        (&no_der, &key, "", "TLS_CERT"),
        (&other, &key, "", "does not belong"),
        (&cert, &missing, "", "TLS_KEY"),
        (&cert, &cert, "", "exchanged?"),
        (&cert, &pipe, "", "no regular file"),
        (&cert, &joined, "", "are its lines broken?"),
        (&cert, &p521, "", "RSA of at least 2048 bits"),
        (&no_chain, &key, "", "certificate 2 in it cannot be read"),
        (&cert, &locked, "", "encrypted"),
        (&cert, &older, "", "encrypted"),
        (&cert, &key, &missing, "TLS_CLIENT_CA"),
        (&cert, &key, &empty, "no certificate"),
    ] {
        let mut start = env.kvd();
        for (name, value) in [
            ("TLS_CERT", cert.as_str()),
            ("TLS_KEY", key),
            ("TLS_CLIENT_CA", authority),
        ] {
            start = start.env(name, value);
        }
        let output = start.run().await.expect(2);
        assert_eq!(output.text(), "");
        assert!(output.stderr.contains(said), "{said}: {}", output.stderr);
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
        assert_untold(&key_text, &output.stderr);
    }
    // As an editor may leave it.
    let marked = file("marked.pem", &format!("\u{feff}{cert_text}"));
    let commented = file(
        "commented.key",
        &format!("This is not ENCRYPTED.\n{key_text}").replace('\n', "\r\n"),
    );
    let start = env.kvd().env("TLS_CERT", marked).env("TLS_KEY", commented);
    let _ended = start.start().await.stop().await.expect(0);
}

// Long: each kind of certificate.
async fn clients_need_a_certificate_of_the_authority_that_is_set(env: Env) {
    let certified = Certified::new(&env);
    let (own, foreign) = (Authority::new(), Authority::new());
    let start = certified.kvd(&env).env("TLS_CLIENT_CA", own.certificate());
    let kvd = start.arg("--admin-listen", "127.0.0.1:0").start().await;
    let served = async || {
        let client = certified.client().showing(own.issue_for_client(1));
        for client in [client.clone(), client.old()] {
            let mut wire = client.wire(kvd.address()).await.expect("a handshake");
            let _served = wire.ask("GET", "/items/", "").await.expect(200);
        }
    };
    served().await;
    for (shown, alert) in [
        (None, "CertificateRequired"),
        (Some(own.issue_for_client(-1)), "CertificateExpired"),
        (Some(foreign.issue_for_client(1)), "UnknownCA"),
    ] {
        let mut client = certified.client();
        if let Some(shown) = shown {
            client = client.showing(shown);
        }
        for client in [client.clone(), client.old()] {
            let refused = refusal(&client, &kvd).await.to_string();
            // TLS 1.2 has no alert of its own for a certificate that is missing.
            let expected = [
                alert,
                "HandshakeFailure",
                "CertificateUnknown",
                "DecryptError",
            ];
            assert!(
                expected.iter().any(|alert| refused.contains(alert)),
                "{alert}: {refused}"
            );
        }
        kvd.logged("no TLS with a client").await;
        served().await;
    }
    let _plain = kvd.admin().get("/livez").await.expect(200);
}

/// Why this client is refused: told in the handshake, or with TLS 1.3 at its first read.
async fn refusal(client: &TlsClient, kvd: &Kvd) -> io::Error {
    let mut stream = match client.connect(kvd.address()).await {
        Ok(stream) => stream,
        Err(error) => return error,
    };
    // It may be gone already.
    let _sent = stream.write_all(GET.as_bytes()).await;
    let mut byte = [0];
    let read = timeout(PATIENCE, stream.read(&mut byte)).await;
    match read.expect("an alert in time") {
        Ok(read) => panic!("{read} bytes were answered"),
        Err(error) => error,
    }
}
