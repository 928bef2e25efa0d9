//! Behind HAProxy, as the handbook has it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use nix::sys::signal::Signal;
use tests::{
    Client, Env, Kvd, Wire,
    handbook::{Block, block},
    kvd::setting,
    load::{together, until},
    openssl::Authority,
    pace::stretched,
    process::{free_port, lasting_port},
    program::{Program, RunningProgram},
    relay::Relay,
};

use crate::operating::behind_a_proxy::{
    KEYS, assert_arrives, counted, put_whose_answer_is_lost, status_by_tls,
};

tests::list! {
    Once =>
        tls_ends_at_haproxy_and_kvd_asks_for_a_token,
        each_client_has_its_own_limit_and_cannot_choose_it,
        keys_arrive_as_they_were_sent,
        a_put_is_not_sent_twice,
        with_more_retries_it_would_be,
        a_kvd_that_is_gone_is_noticed_by_nobody,
        when_no_kvd_is_ready_haproxy_says_503
}

/// Where a kvd of the handbook listens: for the public, and for HAProxy's checks.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Place {
    /// A place whose ports stay free while no program listens there.
    pub(crate) fn new() -> Self {
        let address = || (Ipv4Addr::LOCALHOST, lasting_port().expect("a port")).into();
        Self {
            public: address(),
            admin: address(),
        }
    }

    /// A kvd with the handbook's settings, but without tokens; ready.
    pub(crate) async fn start(self, env: &Env) -> Kvd {
        self.start_with(env, self.settings().with("AUTH=tokens", "AUTH=off"))
            .await
    }

    /// The handbook's settings.
    fn settings(self) -> Block {
        let delay = stretched(Duration::from_secs(3));
        block("# /etc/kvd/kvd.env, behind HAProxy")
            .with("10.0.0.1:8000", &self.public.to_string())
            .with("10.0.0.1:8001", &self.admin.to_string())
            .with("10.0.0.9", "127.0.0.1")
            .with(
                "SHUTDOWN_DELAY=3s",
                &format!("SHUTDOWN_DELAY={}", setting(delay)),
            )
    }

    async fn start_with(self, env: &Env, settings: Block) -> Kvd {
        let settings = settings.text();
        let settings = settings.lines().filter_map(|line| line.split_once('='));
        let kvd = settings.fold(env.kvd(), |kvd, (name, value)| kvd.env(name, value));
        let kvd = kvd.start().await;
        kvd.admin().ready().await;
        kvd
    }
}

/// HAProxy, as long as this lives.
pub(crate) struct HaProxy {
    pub(crate) address: SocketAddr,
    authority: Authority,
    _running: RunningProgram,
}

impl HaProxy {
    pub(crate) fn client(&self) -> Client {
        Client::new(self.address, None)
    }

    /// Until it serves.
    pub(crate) async fn serves(self) -> Self {
        until("HAProxy has found a kvd", async || {
            let mut wire = Wire::connect(self.address).await;
            wire.ask("GET", "/items/", "").await.status == 200
        })
        .await;
        self
    }
}

/// On a slow machine with fewer checks, each of which has more time.
fn shown() -> Block {
    let inter = stretched(Duration::from_secs(1)).as_secs();
    let connect = stretched(Duration::from_secs(2)).as_secs();
    block("# /etc/haproxy/haproxy.cfg")
        .with("check inter 1s", &format!("check inter {inter}s"))
        .with("timeout connect 2s", &format!("timeout connect {connect}s"))
}

/// As shown, but without TLS.
pub(crate) fn plain() -> Block {
    shown().with(" ssl crt /etc/haproxy/kvd.pem", "")
}

/// Runs this configuration before two kvd.
pub(crate) fn haproxy(env: &Env, kvd: [Place; 2], shown: Block) -> HaProxy {
    let port = free_port().expect("a port");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let program = Program::new(env, "haproxy");
    let authority = Authority::new();
    let (certificate, key) = authority.issue("DNS:localhost");
    let server = |place: Place| {
        format!(
            "{} addr {} port {}",
            place.public,
            place.admin.ip(),
            place.admin.port()
        )
    };
    let config = shown
        // Few files may be open here.
        .with("maxconn 20000", "maxconn 200")
        .with("bind :443", &format!("bind {address}"))
        .with("10.0.0.1:8000 port 8001", &server(kvd[0]))
        .with("10.0.0.2:8000 port 8001", &server(kvd[1]))
        .text()
        .replace("/etc/haproxy/kvd.pem", &program.path("kvd.pem"));
    let running = program
        .file("haproxy.cfg", config)
        .file("kvd.pem", certificate + key.as_str())
        .start("haproxy", ["-db", "-f", "haproxy.cfg"], address);
    HaProxy {
        address,
        authority,
        _running: running,
    }
}

async fn tls_ends_at_haproxy_and_kvd_asks_for_a_token(env: Env) {
    let places = [Place::new(), Place::new()];
    let _kvd = places[0].start_with(&env, places[0].settings()).await;
    let _put = env.kvctl(["put", "a", "b"]).await.expect(0);
    let token = env.token(["app", "--read", "a"]).await;
    let bearer = format!("Authorization: Bearer {token}");
    let haproxy = haproxy(&env, places, shown());
    let authority = haproxy.authority.certificate();
    let status = |arguments: &[&str]| status_by_tls(haproxy.address.port(), &authority, arguments);
    until("HAProxy has found kvd", async || {
        status(&["-H", &bearer]) == "200"
    })
    .await;
    assert_eq!(status(&[]), "401");
    assert_eq!(status(&["-u", "me:secret"]), "401");
}

async fn each_client_has_its_own_limit_and_cannot_choose_it(env: Env) {
    let places = [Place::new(), Place::new()];
    let limit = |kvd: tests::kvd::Start| kvd.env("RATE_LIMIT", "50");
    let kvd = limit(env.kvd().env("TRUSTED_PROXIES", "127.0.0.1"));
    let kvd = kvd.arg("--listen", places[0].public.to_string());
    let _kvd = kvd
        .arg("--admin-listen", places[0].admin.to_string())
        .start()
        .await;
    let haproxy = haproxy(&env, places, plain()).serves().await;
    let counted = counted(haproxy.address, 50).await;
    assert_eq!(counted, [1, 2, 3, 1]);
}

async fn keys_arrive_as_they_were_sent(env: Env) {
    let places = [Place::new(), Place::new()];
    let kvd = places[0].start(&env).await;
    let haproxy = haproxy(&env, places, plain()).serves().await;
    let client = haproxy.client();
    for key in KEYS.into_iter().chain(["../../a"]) {
        assert_arrives(key, &client, &kvd).await;
    }
    client.get("/items/a%00").await.problem(400, "invalid-key");
}

/// The status that HAProxy gives, and the item's version.
async fn after_a_lost_answer(env: &Env, shown: Block) -> (u16, i64) {
    let place = Place::new();
    let kvd = place.start(env).await;
    let _created = kvd.create("a", "").await;
    let relay = Relay::before(kvd.address()).await;
    let by_relay = Place {
        public: relay.address(),
        ..place
    };
    let haproxy = haproxy(env, [by_relay; 2], shown).serves().await;
    put_whose_answer_is_lost(haproxy.address, &relay, &kvd).await
}

async fn a_put_is_not_sent_twice(env: Env) {
    assert_eq!(after_a_lost_answer(&env, plain()).await, (502, 2));
}

async fn with_more_retries_it_would_be(env: Env) {
    let shown = plain().with("retry-on conn-failure", "retry-on all-retryable-errors");
    let (_status, version) = after_a_lost_answer(&env, shown).await;
    assert!(version > 2, "it was sent once");
}

async fn a_kvd_that_is_gone_is_noticed_by_nobody(env: Env) {
    let places = [Place::new(), Place::new()];
    let (gone, stays) = (places[0].start(&env).await, places[1].start(&env).await);
    let haproxy = haproxy(&env, places, plain()).serves().await;
    stays.create_all(["a"]).await;
    gone.signal(Signal::SIGKILL);
    let _ended = gone.end().await;
    let asked = together(100, |n| {
        let client = haproxy.client();
        async move {
            let _read = client.get("/items/a").await.expect(200);
            client.create(&format!("k-{n}"), "").await
        }
    });
    asked.await;
}

async fn when_no_kvd_is_ready_haproxy_says_503(env: Env) {
    let haproxy = haproxy(&env, [Place::new(), Place::new()], plain());
    until("HAProxy has looked", async || {
        let mut wire = Wire::connect(haproxy.address).await;
        wire.ask("PUT", "/items/a", "").await.status == 503
    })
    .await;
}
