//! Behind nginx, as the handbook has it.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;
use tests::{
    Answer, Client, Env, Wire,
    handbook::{Block, block},
    kvd::Start,
    openssl::Authority,
    process::free_port,
    program::{Program, RunningProgram},
    relay::Relay,
};

use crate::operating::behind_a_proxy::{
    KEYS, assert_arrives, assert_kvd_bounds_values, assert_late_answers_arrive, counted,
    put_whose_answer_is_lost, status_by_tls,
};

tests::list! {
    Once =>
        tls_ends_at_nginx_and_kvd_asks_for_a_token,
        each_client_has_its_own_limit_and_cannot_choose_it,
        with_neither_setting_nginx_is_misdirected,
        keys_arrive_as_they_were_sent,
        with_a_path_in_proxy_pass_they_would_not,
        below_a_path_what_kvd_names_lies_outside_of_it,
        a_put_is_not_sent_twice,
        as_nginx_is_by_itself_it_would_be,
        a_post_that_could_not_be_sent_is_sent_again,
        tags_are_strong_until_nginx_compresses,
        the_largest_value_passes_and_more_is_refused_by_kvd,
        what_kvd_says_when_it_is_late_is_what_the_client_hears
}

/// nginx, as long as this lives.
struct Nginx {
    address: SocketAddr,
    authority: Authority,
    _running: RunningProgram,
}

impl Nginx {
    fn client(&self) -> Client {
        Client::new(self.address, None)
    }

    /// An answer that may be nginx's own.
    async fn ask(&self, method: &str, path: &str) -> Answer {
        let mut wire = Wire::connect(self.address).await;
        wire.ask(method, path, "").await
    }
}

fn shown() -> Block {
    block("# /etc/nginx/conf.d/kvd.conf")
}

/// As shown, but without TLS.
fn plain() -> Block {
    shown().with("443 ssl", "443")
}

/// What Debian's nginx.conf does around it, without what only root may do.
fn around_it(program: &Program) -> String {
    let directories = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let directories = directories.map(|name| format!("{name}_temp_path {};\n", program.path(name)));
    format!(
        "daemon off; master_process off; pid {}; error_log stderr; events {{}}\n\
         http {{ access_log off; {} include {}; }}\n",
        program.path("pid"),
        directories.concat(),
        program.path("kvd.conf"),
    )
}

/// Runs this configuration before a kvd.
fn nginx(env: &Env, kvd: SocketAddr, shown: Block) -> Nginx {
    let port = free_port().expect("a port");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let program = Program::new(env, "nginx");
    let authority = Authority::new();
    let (certificate, key) = authority.issue("DNS:localhost");
    let site = shown
        .with("listen 443", &format!("listen {address}"))
        .with("127.0.0.1:8000", &kvd.to_string())
        .with("/etc/nginx/kvd.pem", &program.path("kvd.pem"))
        .with("/etc/nginx/kvd.key", &program.path("kvd.key"));
    let main = around_it(&program);
    let prefix = program.directory().display().to_string();
    let running = program
        .file("nginx.conf", main)
        .file("kvd.conf", site.text())
        .file("kvd.pem", certificate)
        .file("kvd.key", key)
        .start(
            "www-data",
            ["-p", &prefix, "-c", "nginx.conf", "-e", "stderr"],
            address,
        );
    Nginx {
        address,
        authority,
        _running: running,
    }
}

/// A setting of kvd, as the handbook has it.
fn setting(name: &str) -> String {
    let settings = block("# /etc/kvd/kvd.env, behind a proxy on the same machine").text();
    let mut settings = settings.lines().filter_map(|line| line.split_once('='));
    let setting = settings.find(|(set, _)| *set == name);
    setting.expect("it is set").1.to_owned()
}

/// The proxies that kvd trusts.
fn trusted() -> String {
    setting("TRUSTED_PROXIES")
}

/// A kvd that answers to the host that nginx sends.
fn behind_nginx(env: &Env) -> Start {
    env.kvd().env("TRUSTED_PROXIES", trusted())
}

async fn tls_ends_at_nginx_and_kvd_asks_for_a_token(env: Env) {
    let start = behind_nginx(&env).env("AUTH", setting("AUTH"));
    let kvd = start.start().await;
    let _put = env.kvctl(["put", "a", "b"]).await.expect(0);
    let token = env.token(["app", "--write", "a"]).await;
    let bearer = format!("Authorization: Bearer {token}");
    let nginx = nginx(&env, kvd.address(), shown());
    let authority = nginx.authority.certificate();
    let status = |arguments: &[&str]| status_by_tls(nginx.address.port(), &authority, arguments);
    let put = ["-X", "PUT", "--json", "{\"value\":\"c\"}"];
    let me = ["-H", bearer.as_str()];
    assert_eq!(status(&[]), "401");
    assert_eq!(status(&["-u", "me:secret"]), "401");
    assert_eq!(status(&put), "401");
    assert_eq!(status(&me), "200");
    assert_eq!(status(&[&put[..], &me].concat()), "200");
    let stored = kvd.with_token(&token).get("/items/a").await;
    assert_eq!(stored.member("value"), "c");
}

async fn each_client_has_its_own_limit_and_cannot_choose_it(env: Env) {
    const LIMIT: u64 = 50;
    // As the handbook sets it, and as it is with the other of the two settings.
    for (name, value, expected) in [
        ("TRUSTED_PROXIES", trusted(), [1, 2, 3, 1]),
        ("ALLOWED_HOSTS", "kvd".to_owned(), [1, 2, 3, 4]),
    ] {
        let kvd = env.kvd().env("RATE_LIMIT", LIMIT.to_string());
        let kvd = kvd.env(name, value).start().await;
        let nginx = nginx(&env, kvd.address(), plain());
        assert_eq!(counted(nginx.address, LIMIT).await, expected);
    }
}

async fn with_neither_setting_nginx_is_misdirected(env: Env) {
    let kvd = env.start().await;
    let nginx = nginx(&env, kvd.address(), plain());
    let answer = nginx.client().get("/items/").await;
    let problem = answer.problem(421, "misdirected-request");
    let detail = problem["detail"].as_str().expect("a detail");
    for setting in ["\"kvd\"", "ALLOWED_HOSTS", "TRUSTED_PROXIES"] {
        assert!(detail.contains(setting), "{detail}");
    }
}

async fn keys_arrive_as_they_were_sent(env: Env) {
    let kvd = behind_nginx(&env).start().await;
    let nginx = nginx(&env, kvd.address(), plain());
    let client = nginx.client();
    for key in KEYS {
        assert_arrives(key, &client, &kvd).await;
    }
    // What nginx refuses itself, as the handbook says.
    for path in ["/items/a%00", "/items/..%2F..%2Fa"] {
        let answer = nginx.ask("GET", path).await.expect(400);
        assert_eq!(answer.header("content-type"), Some("text/html"), "{path}");
    }
}

async fn with_a_path_in_proxy_pass_they_would_not(env: Env) {
    let kvd = behind_nginx(&env).start().await;
    kvd.create_all(["a/b", "ab"]).await;
    let shown = plain().with(
        "# No path behind the name.\n        proxy_pass http://kvd;",
        "proxy_pass http://kvd/;",
    );
    let nginx = nginx(&env, kvd.address(), shown);
    let client = nginx.client();
    let _plain_key = client.get("/items/ab").await.expect(200);
    client
        .get("/items/a%2Fb")
        .await
        .problem(404, "route-not-found");
}

/// The handbook says that this is not supported.
async fn below_a_path_what_kvd_names_lies_outside_of_it(env: Env) {
    let kvd = behind_nginx(&env).start().await;
    let shown = plain().with("location / {", "location /kv/ {").with(
        "# No path behind the name.\n        proxy_pass http://kvd;",
        "proxy_pass http://kvd/;",
    );
    let nginx = nginx(&env, kvd.address(), shown);
    let body = r#"{"key":"a","value":"b"}"#;
    let head = "Host: localhost\r\nContent-Type: application/json";
    let mut wire = Wire::connect(nginx.address).await;
    wire.send(format!(
        "POST /kv/items/ HTTP/1.1\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
    .await;
    let created = wire.answer().await.expect(201);
    let page = nginx.ask("GET", "/kv/items/?page_size=1").await.expect(200);
    let start = nginx.ask("GET", "/kv/").await.expect(307);
    let document = nginx
        .ask("GET", "/kv/openapi.json")
        .await
        .expect(200)
        .json();
    assert_eq!(document["servers"], json!([{ "url": "/" }]));
    for named in [
        created.header("location").expect("a location"),
        start.header("location").expect("a location"),
        &page.links()["first"],
    ] {
        assert!(!named.starts_with("/kv/"), "{named}");
    }
    let outside = nginx.ask("GET", "/items/a").await;
    let _of_nginx = outside.expect(404);
}

/// The status that nginx gives, and the item's version.
async fn after_a_lost_answer(env: &Env, shown: Block) -> (u16, i64) {
    let kvd = behind_nginx(env).start().await;
    let _created = kvd.create("a", "").await;
    let relay = Relay::before(kvd.address()).await;
    let shown = shown.with(
        "server 127.0.0.1:8000;",
        &format!("server {}; server 127.0.0.1:8000 backup;", relay.address()),
    );
    let nginx = nginx(env, kvd.address(), shown);
    put_whose_answer_is_lost(nginx.address, &relay, &kvd).await
}

async fn a_put_is_not_sent_twice(env: Env) {
    assert_eq!(after_a_lost_answer(&env, plain()).await, (502, 2));
}

async fn as_nginx_is_by_itself_it_would_be(env: Env) {
    let shown = plain().with("(PUT|DELETE)", "(NOTHING)");
    assert_eq!(after_a_lost_answer(&env, shown).await, (200, 3));
}

async fn a_post_that_could_not_be_sent_is_sent_again(env: Env) {
    let kvd = behind_nginx(&env).start().await;
    let nobody = free_port().expect("a port");
    let shown = plain().with(
        "server 127.0.0.1:8000;",
        &format!("server 127.0.0.1:{nobody}; server 127.0.0.1:8000 backup;"),
    );
    let nginx = nginx(&env, kvd.address(), shown);
    let _created = nginx.client().create("a", "b").await;
}

async fn tags_are_strong_until_nginx_compresses(env: Env) {
    let kvd = behind_nginx(&env).start().await;
    let _created = kvd.create("a", &"x".repeat(5000)).await;
    let get = |client: &Client| client.get("/items/a").header("Accept-Encoding", "gzip");
    {
        let nginx = nginx(&env, kvd.address(), plain());
        let tag = get(&nginx.client()).await.expect(200).etag();
        assert_eq!(tag, "\"1-1\"");
    }
    let shown = plain().with("gzip off;", "gzip on; gzip_types application/json;");
    let nginx = nginx(&env, kvd.address(), shown);
    let client = nginx.client();
    let answer = get(&client).await.expect(200);
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    let tag = answer.etag();
    assert_eq!(tag, "W/\"1-1\"");
    let _same = get(&client).header("If-None-Match", &tag).await.expect(304);
    let put = || client.put("/items/a", "b");
    put()
        .header("If-Match", &tag)
        .await
        .problem(412, "precondition-failed");
    let of_member = format!("\"{}\"", client.get("/items/a").await.member("etag"));
    let _updated = put().header("If-Match", &of_member).await.expect(200);
}

async fn the_largest_value_passes_and_more_is_refused_by_kvd(env: Env) {
    let kvd = behind_nginx(&env).start().await;
    let nginx = nginx(&env, kvd.address(), plain());
    assert_kvd_bounds_values(&nginx.client()).await;
}

async fn what_kvd_says_when_it_is_late_is_what_the_client_hears(env: Env) {
    let kvd = behind_nginx(&env).start().await;
    let nginx = nginx(&env, kvd.address(), plain());
    assert_late_answers_arrive(&env, &nginx.client()).await;
}
