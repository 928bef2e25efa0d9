//! Behind Apache, as the handbook has it.

use std::net::{Ipv4Addr, SocketAddr};

use tests::{
    Client, Env, Wire,
    handbook::{Block, block},
    openssl::{Authority, openssl},
    process::{free_port, lasting_port},
    program::{Program, RunningProgram},
    relay::Relay,
};

use crate::operating::behind_a_proxy::{
    KEYS, assert_arrives, assert_kvd_bounds_values, assert_late_answers_arrive, counted,
    put_whose_answer_is_lost, status_by_tls,
};

tests::list! {
    Once =>
        tls_ends_at_apache_which_asks_for_a_password,
        each_client_has_its_own_limit_and_cannot_choose_it,
        keys_arrive_as_they_were_sent,
        without_nodecode_they_would_not,
        a_put_is_not_sent_twice,
        tags_are_kvds_until_apache_compresses,
        a_kvd_that_was_away_is_asked_again_at_once,
        the_largest_value_passes_and_more_is_refused_by_kvd,
        what_kvd_says_when_it_is_late_is_what_the_client_hears
}

/// What Debian enables for it, and what the handbook does.
const MODULES: [&str; 16] = [
    "mpm_event",
    "authn_core",
    "authn_file",
    "authz_core",
    "authz_user",
    "auth_basic",
    "brotli",
    "deflate",
    "env",
    "filter",
    "proxy",
    "proxy_http",
    "reqtimeout",
    "setenvif",
    "socache_shmcb",
    "ssl",
];

/// Apache, as long as this lives.
struct Apache {
    address: SocketAddr,
    authority: Authority,
    _running: RunningProgram,
}

impl Apache {
    fn client(&self) -> Client {
        Client::new(self.address, None)
    }
}

fn shown() -> Block {
    block("# /etc/apache2/sites-available/kvd.conf")
}

/// As shown, but without TLS and password.
fn plain() -> Block {
    shown()
        .with("SSLEngine on", "SSLEngine off")
        .with("Require valid-user", "Require all granted")
}

/// As shown, but compressing JSON as well.
fn compressing(filter: &str) -> Block {
    let add = format!("AddOutputFilterByType {filter} application/json application/problem+json");
    plain().with("SetEnv no-gzip 1\n    SetEnv no-brotli 1", &add)
}

/// What Debian's apache2.conf does around it, without what only root may do.
fn around_it(program: &Program, address: SocketAddr) -> String {
    let load =
        |module| format!("LoadModule {module}_module /usr/lib/apache2/modules/mod_{module}.so\n");
    format!(
        "ServerRoot {}\nServerName localhost\nDefaultRuntimeDir .\nPidFile pid\nMutex pthread\n\
         ErrorLog error.log\nListen {address}\n{}Include kvd.conf\n",
        program.directory().display(),
        MODULES.map(load).concat(),
    )
}

/// Runs this configuration before a kvd.
fn apache(env: &Env, kvd: SocketAddr, shown: Block) -> Apache {
    let port = free_port().expect("a port");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let program = Program::new(env, "apache2");
    let authority = Authority::new();
    let (certificate, key) = authority.issue("DNS:localhost");
    let password = openssl(&["passwd", "-apr1", "secret"]);
    let site = shown
        .with("*:443", &address.to_string())
        .with("127.0.0.1:8000", &kvd.to_string())
        .with("/etc/apache2/kvd.pem", &program.path("kvd.pem"))
        .with("/etc/apache2/kvd.key", &program.path("kvd.key"))
        .with("/etc/apache2/kvd.htpasswd", &program.path("kvd.htpasswd"));
    let main = around_it(&program, address);
    let configuration = program.path("apache2.conf");
    let running = program
        .file("apache2.conf", main)
        .file("kvd.conf", site.text())
        .file("kvd.pem", certificate)
        .file("kvd.key", key)
        .file("kvd.htpasswd", format!("me:{password}"))
        .start("www-data", ["-DFOREGROUND", "-f", &configuration], address);
    Apache {
        address,
        authority,
        _running: running,
    }
}

async fn tls_ends_at_apache_which_asks_for_a_password(env: Env) {
    let kvd = env.start().await;
    let _created = kvd.create("a", "b").await;
    let apache = apache(&env, kvd.address(), shown());
    let authority = apache.authority.certificate();
    let status = |arguments: &[&str]| status_by_tls(apache.address.port(), &authority, arguments);
    let put = ["-X", "PUT", "--json", "{\"value\":\"c\"}"];
    let me = ["-u", "me:secret"];
    assert_eq!(status(&[]), "401");
    assert_eq!(status(&["-u", "me:wrong"]), "401");
    assert_eq!(status(&put), "401");
    assert_eq!(status(&me), "200");
    assert_eq!(status(&[&put[..], &me].concat()), "200");
    assert_eq!(kvd.get("/items/a").await.member("value"), "c");
}

async fn each_client_has_its_own_limit_and_cannot_choose_it(env: Env) {
    const LIMIT: u64 = 50;
    let settings = block("# /etc/kvd/kvd.env, behind a proxy on the same machine").text();
    let trusted = settings
        .lines()
        .find_map(|line| line.strip_prefix("TRUSTED_PROXIES="));
    let kvd = env.kvd().env("RATE_LIMIT", LIMIT.to_string());
    let kvd = kvd.env("TRUSTED_PROXIES", trusted.expect("it is set"));
    let kvd = kvd.start().await;
    let apache = apache(&env, kvd.address(), plain());
    assert_eq!(counted(apache.address, LIMIT).await, [1, 2, 3, 1]);
}

async fn keys_arrive_as_they_were_sent(env: Env) {
    let kvd = env.start().await;
    let apache = apache(&env, kvd.address(), plain());
    let client = apache.client();
    for key in KEYS {
        assert_arrives(key, &client, &kvd).await;
    }
}

async fn without_nodecode_they_would_not(env: Env) {
    let kvd = env.start().await;
    let _created = kvd.create("a/b", "").await;
    let shown = plain().with("AllowEncodedSlashes NoDecode", "AllowEncodedSlashes Off");
    let apache = apache(&env, kvd.address(), shown);
    let mut wire = Wire::connect(apache.address).await;
    let refused = wire.ask("GET", "/items/a%2Fb", "").await.expect(404);
    let media_type = refused.header("content-type").unwrap_or_default();
    assert!(media_type.starts_with("text/html"), "{media_type}");
}

async fn a_put_is_not_sent_twice(env: Env) {
    let kvd = env.start().await;
    let _created = kvd.create("a", "").await;
    let relay = Relay::before(kvd.address()).await;
    let apache = apache(&env, relay.address(), plain());
    let told = put_whose_answer_is_lost(apache.address, &relay, &kvd).await;
    assert_eq!(told, (502, 2));
}

/// `If-None-Match` takes the new name, which only says how the item was sent; `If-Match` compares strongly.
async fn tags_are_kvds_until_apache_compresses(env: Env) {
    let kvd = env.start().await;
    let _created = kvd.create("a", &"x".repeat(5000)).await;
    for (filter, coding, tag) in [
        (None, None, "\"1-1\""),
        (Some("DEFLATE"), Some("gzip"), "\"1-1-gzip\""),
        (Some("BROTLI_COMPRESS"), Some("br"), "\"1-1-br\""),
    ] {
        let shown = filter.map_or_else(plain, compressing);
        let apache = apache(&env, kvd.address(), shown);
        let client = apache.client();
        let get = || client.get("/items/a").header("Accept-Encoding", "gzip, br");
        let answer = get().await.expect(200);
        assert_eq!(answer.header("content-encoding"), coding);
        assert_eq!(answer.etag(), tag);
        let _same = get().header("If-None-Match", tag).await.expect(304);
        let other = tag.replace("1-1", "1-2");
        let _changed = get().header("If-None-Match", &other).await.expect(200);
        if filter.is_some() {
            let put = client.put("/items/a", "b").header("If-Match", tag);
            put.await.problem(412, "precondition-failed");
        }
        let of_member = format!("\"{}\"", client.get("/items/a").await.member("etag"));
        let met = client.delete("/items/a").header("If-Match", "\"0-0\"");
        let _refused = met.await.expect(412);
        let same = client.get("/items/a").header("If-Match", &of_member);
        let _met = same.await.expect(200);
    }
}

async fn a_kvd_that_was_away_is_asked_again_at_once(env: Env) {
    let place = lasting_port().expect("a port");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, place));
    let apache = apache(&env, address, plain());
    let status = async || {
        let mut wire = Wire::connect(apache.address).await;
        wire.ask("GET", "/items/", "").await.status
    };
    assert_eq!(status().await, 503);
    let _back = env.kvd().arg("--listen", address.to_string()).start().await;
    assert_eq!(status().await, 200);
}

async fn the_largest_value_passes_and_more_is_refused_by_kvd(env: Env) {
    let kvd = env.start().await;
    let apache = apache(&env, kvd.address(), plain());
    assert_kvd_bounds_values(&apache.client()).await;
}

async fn what_kvd_says_when_it_is_late_is_what_the_client_hears(env: Env) {
    let kvd = env.start().await;
    let apache = apache(&env, kvd.address(), plain());
    assert_late_answers_arrive(&env, &apache.client()).await;
}
