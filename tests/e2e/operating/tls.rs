//! TLS to PostgreSQL, as the handbook has it.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
};

use reqwest::Url;
use tests::{Engine, Env, handbook::block, load::until, openssl::Authority};

tests::list! {
    FaultsOnly(Engine::Postgres) =>
        a_verified_server_is_spoken_to_in_secret,
        another_authority_and_another_name_are_refused_and_said,
        without_verification_any_certificate_will_do
}

/// Gives the server a certificate for `localhost` of this authority, and turns TLS on.
async fn turn_on(env: &Env, authority: &Authority) {
    let (certificate, key) = authority.issue("DNS:localhost");
    let data: String = env.database().value("SHOW data_directory").await;
    let put = |name: &str, content: &str| {
        let (file, owner) = (Path::new(&data).join(name), fs::metadata(&data));
        let written = owner.and_then(|owner| {
            fs::write(&file, content)?;
            chown(&file, Some(owner.uid()), None)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
        });
        written.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        file.display().to_string()
    };
    let settings = block("# postgresql.conf")
        .with("/etc/postgresql/server.pem", &put("kvd.pem", &certificate))
        .with("/etc/postgresql/server.key", &put("kvd.key", &key))
        .text();
    for setting in settings.lines().filter(|line| line.contains('=')) {
        env.database()
            .execute(&format!("ALTER SYSTEM SET {setting}"))
            .await;
    }
    env.database().execute("SELECT pg_reload_conf()").await;
    until("TLS is on", async || {
        env.database().value::<String>("SHOW ssl").await == "on"
    })
    .await;
}

/// The database by the handbook's URL, for a server of this name.
fn url(env: &Env, host: &str, mode: &str, authority: &Authority) -> String {
    let server = Url::parse(&env.database().url()).expect("the database has a URL");
    let (user, password) = (server.username(), server.password().unwrap_or_default());
    let port = server.port().expect("the server has a port");
    let shown = block("# /etc/kvd/kvd.env, TLS to PostgreSQL")
        .with("kvd:password", &format!("{user}:{password}"))
        .with(
            "db.example.com:5432/kvd",
            &format!("{host}:{port}/{}", env.database().name()),
        )
        .with("verify-full", mode)
        .with("/etc/kvd/ca.pem", &authority.certificate());
    let text = shown.text();
    text.split('"')
        .nth(1)
        .expect("the URL is in quotes")
        .to_owned()
}

async fn a_verified_server_is_spoken_to_in_secret(env: Env) {
    let authority = Authority::new();
    turn_on(&env, &authority).await;
    let url = url(&env, "localhost", "verify-full", &authority);
    let kvd = env.kvd().env("DATABASE_URL", &url).start().await;
    let _created = kvd.create("a", "b").await;
    let read = env.kvctl_bare(["get", "a"]).env("DATABASE_URL", &url);
    assert_eq!(read.await.expect(0).text(), "b");
    let ssl = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
               WHERE datname = current_database() AND application_name = 'kvd'";
    let ssl: Vec<bool> = env.database().column(ssl).await;
    assert!(!ssl.is_empty() && ssl.iter().all(|ssl| *ssl), "{ssl:?}");
}

async fn another_authority_and_another_name_are_refused_and_said(env: Env) {
    let (authority, other) = (Authority::new(), Authority::new());
    turn_on(&env, &authority).await;
    for (host, authority, reason) in [
        ("localhost", &other, "UnknownIssuer"),
        ("127.0.0.1", &authority, "not valid for"),
    ] {
        let url = url(&env, host, "verify-full", authority);
        let inspect = env.kvctl_bare(["inspect"]).env("DATABASE_URL", &url);
        let said = inspect.await.expect(2).stderr;
        assert!(said.contains(reason), "{said}");
        // A kvd that had no time for a handshake says that instead, and says it once.
        until("a kvd says why", async || {
            let kvd = env.kvd().env("DATABASE_URL", &url).start().await;
            let _not_ready = kvd.get("/readyz").await.expect(503);
            kvd.logged("the database is lost").await;
            kvd.log().contains(reason)
        })
        .await;
    }
}

async fn without_verification_any_certificate_will_do(env: Env) {
    let (authority, other) = (Authority::new(), Authority::new());
    turn_on(&env, &authority).await;
    for (mode, host, authority) in [
        ("prefer", "127.0.0.1", &other),
        ("require", "127.0.0.1", &other),
        ("verify-ca", "127.0.0.1", &authority),
    ] {
        let url = url(&env, host, mode, authority);
        let count = env.kvctl_bare(["count"]).env("DATABASE_URL", &url);
        assert_eq!(count.await.expect(0).text(), "0\n", "{mode}");
    }
    let url = url(&env, "localhost", "verify-ca", &other);
    let count = env.kvctl_bare(["count"]).env("DATABASE_URL", &url);
    let _refused = count.await.expect(2);
}
