//! The URL of a database, read as libpq reads it: hosts, sockets, users and parameters.

use std::{fs, net::Ipv6Addr, os::unix::fs::PermissionsExt, path::Path};

use reqwest::Url;
use sea_orm::ConnectionTrait;
use tests::{Engine, Env, relay::Relay};
use tokio::net::TcpListener;

tests::list! {
    Only(Engine::Postgres) => an_ipv6_address_is_a_host;
    Only(Engine::Mysql) => an_ipv6_address_is_a_host, a_socket_of_mariadb_is_a_host;
    FaultsOnly(Engine::Postgres) =>
        on_a_socket_the_system_says_who_it_is,
        a_password_that_saslprep_prohibits_is_told_as_such_and_not_shown;
    Once =>
        a_parameter_that_would_change_what_bytes_mean_is_refused,
        a_server_that_does_not_answer_is_waited_for_as_long_as_the_url_says,
        the_path_of_a_file_is_taken_as_it_is_written,
        a_read_only_file_without_its_log_is_told_as_such,
        a_file_in_utf_16_is_refused
}

/// What to do with a URL that is right.
async fn assert_served(env: &Env, url: &str) {
    // Without the password, which no answer tells.
    let place = url.rsplit('@').next().unwrap_or_default();
    let put = env.kvctl_bare(["put", "--update", "a", place]);
    let _put = put.env("DATABASE_URL", url).await.expect(0);
    let kvd = env.kvd().env("DATABASE_URL", url).start().await;
    let read = kvd.get("/items/a").await.expect(200);
    assert_eq!(read.member("value"), place);
    let _stopped = kvd.stop().await.expect(0);
}

async fn an_ipv6_address_is_a_host(env: Env) {
    let _put = env.kvctl(["put", "a", "b"]).await.expect(0);
    let Ok(relay) = Relay::on(Ipv6Addr::LOCALHOST.into(), env.database()).await else {
        env.note("this machine has no IPv6".to_owned());
        return;
    };
    assert!(relay.url().contains("@[::1]:"), "it is an IPv6 address");
    assert_served(&env, &relay.url()).await;
    drop(relay);
    // What is said of it has its address.
    let away = with_authority(&env, "[::1]:1");
    let refused = env.kvctl_bare(["count"]).env("DATABASE_URL", &away);
    let refused = refused.await.expect(2).stderr;
    assert!(refused.contains("@[::1]:1/"), "{refused}");
}

/// The test's database at another host, with its user and password.
fn with_authority(env: &Env, authority: &str) -> String {
    let url = Url::parse(&env.database().url()).expect("a URL");
    let (user, password) = (url.username(), url.password().unwrap_or_default());
    format!(
        "{}://{user}:{password}@{authority}{}",
        url.scheme(),
        url.path()
    )
}

async fn a_socket_of_mariadb_is_a_host(env: Env) {
    let _put = env.kvctl(["put", "a", "b"]).await.expect(0);
    let socket: String = env.database().value("SELECT @@socket").await;
    let user = "CREATE USER IF NOT EXISTS kvd@localhost IDENTIFIED BY 'by-the-socket'";
    let grant = "GRANT ALL ON *.* TO kvd@localhost";
    for sql in [user, grant] {
        env.server().administrate(sql).await.expect("a user");
    }
    let name = env.database().name();
    let encoded = socket.replace('/', "%2F");
    for url in [
        format!("mysql://kvd:by-the-socket@/{name}?socket={socket}"),
        format!("mysql://kvd:by-the-socket@{encoded}/{name}"),
    ] {
        assert_served(&env, &url).await;
    }
}

async fn on_a_socket_the_system_says_who_it_is(env: Env) {
    let _put = env.kvctl(["put", "a", "b"]).await.expect(0);
    let directory: String = env.database().value("SHOW unix_socket_directories").await;
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
    let user = user
        .ok()
        .flatten()
        .expect("the tests' user has a name")
        .name;
    for sql in [
        format!("DROP ROLE IF EXISTS \"{user}\""),
        format!("CREATE ROLE \"{user}\" LOGIN"),
        format!("GRANT pg_read_all_data, pg_write_all_data TO \"{user}\""),
    ] {
        env.server().administrate(&sql).await.expect("a role");
    }
    let port = Url::parse(&env.database().url())
        .ok()
        .and_then(|url| url.port());
    let port = port.expect("the server has a port");
    let name = env.database().name();
    let encoded = directory.replace('/', "%2F");
    for url in [
        format!("postgres:///{name}?host={directory}&port={port}"),
        format!("postgres://:{port}/{name}?host={encoded}"),
        format!("postgres://{user}@/{name}?host={directory}&port={port}&sslmode=verify-full"),
        format!("postgres://{encoded}:{port}/{name}"),
        format!("postgresql://elsewhere/other?host={directory}&port={port}&dbname={name}"),
    ] {
        assert_served(&env, &url).await;
    }
    let by_variables = env
        .kvctl_bare(["count"])
        .env("DATABASE_URL", "postgres://")
        .env("PGHOST", &directory)
        .env("PGPORT", &port.to_string())
        .env("PGDATABASE", name);
    assert_eq!(by_variables.await.expect(0).text(), "1\n");
}

/// psql would log in with it; the driver does not.
async fn a_password_that_saslprep_prohibits_is_told_as_such_and_not_shown(env: Env) {
    let file: String = env.database().value("SHOW hba_file").await;
    let rules = fs::read_to_string(&file).expect("the rules");
    let scram = "host all emoji 127.0.0.1/32 scram-sha-256\n";
    fs::write(&file, format!("{scram}{rules}")).expect("the rules");
    env.database().execute("SELECT pg_reload_conf()").await;
    for sql in [
        "DROP ROLE IF EXISTS emoji",
        "CREATE ROLE emoji LOGIN PASSWORD 'crab'",
        "GRANT pg_read_all_data, pg_write_all_data TO emoji",
    ] {
        env.server().administrate(sql).await.expect("a role");
    }
    let mut url = Url::parse(&env.database().url()).expect("a URL");
    url.set_username("emoji").expect("a URL with a host");
    let mut with = |password| {
        url.set_password(Some(password)).expect("a URL with a host");
        url.to_string()
    };
    let count = env.kvctl_bare(["count"]).env("DATABASE_URL", &with("crab"));
    assert_eq!(count.await.expect(0).text(), "0\n");
    for password in ["cr%F0%9F%A6%80ab", "cr%07ab"] {
        let url = with(password);
        let refused = env.kvctl_bare(["count"]).env("DATABASE_URL", &url);
        let kvctl = refused.await.expect(2).stderr;
        let kvd = env.kvd().env("DATABASE_URL", &url).flag("--migrate");
        let kvd = kvd.start().await;
        let _not_ready = kvd.get("/readyz").await.expect(503);
        kvd.logged("SASLprep").await;
        for said in [kvctl, kvd.stop().await.expect(0).stderr] {
            assert!(said.contains("SASLprep"), "{said}");
            for secret in ["🦀", "%F0", "1f980", "crab", "u{7}", "\\x07"] {
                assert!(!said.contains(secret), "{said}");
            }
        }
    }
    fs::write(&file, rules).expect("the rules");
    env.database().execute("SELECT pg_reload_conf()").await;
}

/// URLs that kvd and kvctl refuse, and what they say of them.
const REFUSED: [(&str, &str); 13] = [
    (
        "mysql://u:s3cret@h/db?charset=latin1",
        "charset can only be utf8mb4",
    ),
    (
        "mysql://u:s3cret@h/db?charset=utf8",
        "charset can only be utf8mb4",
    ),
    (
        "mariadb://u:s3cret@h/db?collation=latin1_bin",
        "collation can only be",
    ),
    (
        "mysql://u:s3cret@h/db?timezone=SYSTEM",
        "timezone can only be UTC",
    ),
    (
        "postgres://u:s3cret@h/db?client_encoding=latin1",
        "client_encoding can only be UTF8",
    ),
    (
        "postgres://u:s3cret@h/db?channel_binding=require",
        "sslmode=verify-full",
    ),
    (
        "postgres://u:s3cret@h/db?target_session_attrs=standby",
        "target_session_attrs",
    ),
    (
        "postgres://u:s3cret@h/db?connect_timeout=soon",
        "connect_timeout",
    ),
    ("postgres://u:s3cret@g,h/db", "several hosts"),
    ("postgres://u:s3cret@/db?host=@abs", "no abstract socket"),
    ("postgres://u:s3cret%zz@h/db", "%25"),
    ("postgres://u:12?s3cret@h/db", "value"),
    ("postgres://u:12?s3cret=x@h/db", "unescaped"),
];

async fn a_parameter_that_would_change_what_bytes_mean_is_refused(env: Env) {
    for (url, named) in REFUSED {
        let kvd = env.kvd_bare().env("DATABASE_URL", url).run().await;
        let kvctl = env.kvctl_bare(["count"]).env("DATABASE_URL", url).await;
        for output in [kvd.expect(2), kvctl.expect(2)] {
            assert!(output.stderr.contains(named), "{url}: {}", output.stderr);
            assert!(
                !output.stderr.contains("s3cret"),
                "{url}: {}",
                output.stderr
            );
        }
    }
}

async fn a_server_that_does_not_answer_is_waited_for_as_long_as_the_url_says(env: Env) {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("a bound port");
    for scheme in ["postgres", "mysql"] {
        let url = |seconds| format!("{scheme}://u@{address}/db?connect_timeout={seconds}");
        let brief = env.kvctl_bare(["count"]).env("DATABASE_URL", &url(1));
        let patient = env
            .kvctl_bare(["count"])
            .env("DATABASE_URL", &url(0))
            .spawn();
        let refused = brief.await.expect(2).stderr;
        assert!(refused.contains("does not answer"), "{refused}");
        // It still waits.
        patient.signal(nix::sys::signal::Signal::SIGKILL);
        assert_ne!(patient.ended().await.code, 2);
    }
}

async fn the_path_of_a_file_is_taken_as_it_is_written(env: Env) {
    fs::create_dir(env.directory().join("a")).expect("a directory");
    for (path, file) in [
        ("a/../Up.db", "Up.db"),
        ("a b#c.db", "a b#c.db"),
        ("a%3Fb%25c.db?mode=rwc", "a?b%c.db"),
        ("file:é[1].db", "file:é[1].db"),
    ] {
        let url = format!("sqlite://{path}");
        for arguments in [&["migrate"][..], &["put", "a", path]] {
            let kvctl = env.kvctl_bare([]).args(arguments);
            let _done = kvctl.env("DATABASE_URL", &url).await.expect(0);
        }
        assert!(env.directory().join(file).is_file(), "{file}");
        let kvd = env.kvd().env("DATABASE_URL", &url).start().await;
        assert_eq!(kvd.get("/items/a").await.expect(200).member("value"), path);
        let _stopped = kvd.stop().await.expect(0);
    }
}

async fn a_read_only_file_without_its_log_is_told_as_such(env: Env) {
    let directory = env.directory().join("closed");
    fs::create_dir(&directory).expect("a directory");
    let file = directory.join("items.db");
    let url = |parameters: &str| format!("sqlite://{}{parameters}", file.display());
    for arguments in [&["migrate"][..], &["put", "a", "b"]] {
        let kvctl = env.kvctl_bare([]).args(arguments);
        let _done = kvctl.env("DATABASE_URL", &url("")).await.expect(0);
    }
    close(&directory, 0o555);
    let get = |parameters: &str| {
        let kvctl = tests::kvctl::unprivileged(env.directory()).args(["get", "a"]);
        kvctl.env("DATABASE_URL", &url(parameters))
    };
    for parameters in ["?mode=ro", ""] {
        let told = get(parameters).await.expect(2).stderr;
        assert!(told.contains("mode=ro&immutable=1"), "{told}");
        assert!(told.contains("WAL"), "{told}");
    }
    assert_eq!(get("?mode=ro&immutable=1").await.expect(0).text(), "b");
    close(&directory, 0o755);
}

/// Lets only the superuser write here, and everybody read.
fn close(directory: &Path, mode: u32) {
    let permissions = fs::Permissions::from_mode(mode);
    fs::set_permissions(directory, permissions).expect("permissions");
    for file in fs::read_dir(directory).expect("a directory").flatten() {
        let permissions = fs::Permissions::from_mode(0o644);
        fs::set_permissions(file.path(), permissions).expect("permissions");
    }
}

/// Its order of keys is another, and a database cannot change its encoding.
async fn a_file_in_utf_16_is_refused(env: Env) {
    let file = env.directory().join("wide.db");
    let url = format!("sqlite://{}?mode=rwc", file.display());
    let made = sea_orm::Database::connect(&url).await.expect("a database");
    for sql in ["PRAGMA encoding = 'UTF-16'", "CREATE TABLE theirs (a TEXT)"] {
        made.execute_unprepared(sql).await.expect("a table");
    }
    made.close().await.expect("the end");
    let refused = env.kvctl_bare(["migrate"]).env("DATABASE_URL", &url);
    let refused = refused.await.expect(2).stderr;
    assert!(refused.contains("UTF-16"), "{refused}");
}
