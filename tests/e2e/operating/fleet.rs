//! Several kvd on one database, as the handbook has it.

use std::time::Duration;

use tests::{
    Client, Env,
    handbook::block,
    item,
    load::{Load, Told, told},
    pace::stretched,
};
use tokio::time::sleep;

use crate::{
    limits::rate::state,
    operating::haproxy::{Place, haproxy, plain},
};

tests::list! {
    EveryEngine => a_fleet_is_upgraded_and_no_request_fails;
    Once =>
        each_kvd_limits_for_itself,
        a_balancer_that_knows_its_clients_makes_the_limit_exact
}

/// As a newer version's `kvctl migrate` would have done it.
const NEWER: &str = "INSERT INTO kvd_migrations (version, applied_at) \
                     SELECT 'm99991231_235959_newer', applied_at FROM kvd_migrations LIMIT 1";

async fn a_fleet_is_upgraded_and_no_request_fails(env: Env) {
    let places = [Place::new(), Place::new()];
    let mut fleet = [places[0].start(&env).await, places[1].start(&env).await];
    let haproxy = haproxy(&env, places, plain()).serves().await;
    fleet[0].create_all((0..4).map(|n| format!("w-{n}"))).await;
    let load = readers_and_writers(haproxy.client());
    load.go_on(2).await;

    let commands = block("# an upgrade").text();
    let migrate = commands
        .lines()
        .find_map(|line| line.strip_prefix("kvctl "));
    assert_eq!(migrate, Some("migrate"));
    env.database().execute(NEWER).await;
    let _nothing_to_do = env.kvctl(["migrate"]).await.expect(0);
    let status = env.kvctl(["migrate", "status"]).await.expect(0);
    assert!(status.text().contains("newer"), "{}", status.text());
    for (kvd, place) in fleet.iter_mut().zip(places) {
        assert_eq!(kvd.stop().await.code, 0);
        *kvd = place.start(&env).await;
        // HAProxy sends it requests again, so that the other one can be spared.
        kvd.logged("route=\"/items/").await;
        load.go_on(2).await;
    }
    let told = load.stop().await;
    let failed: Vec<&Told> = told.iter().filter(|told| told.status() != 200).collect();
    assert!(
        failed.is_empty(),
        "{} of {}: {:?}",
        failed.len(),
        told.len(),
        failed[0]
    );
    let _refused = env.kvctl(["migrate", "down"]).await.expect(2);
}

fn readers_and_writers(kvd: Client) -> Load<Told> {
    Load::start(4, move |client, round| {
        let path = item(&format!("w-{client}"));
        told(match round % 3 {
            0 => kvd.put(&path, &round.to_string()),
            1 => kvd.get(&path),
            _ => kvd.get("/items/?prefix=w"),
        })
    })
}

async fn each_kvd_limits_for_itself(env: Env) {
    let limited = || env.kvd().env("RATE_LIMIT", "10").start();
    for kvd in [limited().await, limited().await] {
        let first = kvd.get("/items/").await.expect(200);
        assert_eq!(state(&first).0, 9);
        for _ in 0..9 {
            let _let_in = kvd.get("/items/").await.expect(200);
        }
        kvd.get("/items/").await.problem(429, "rate-limited");
    }
}

async fn a_balancer_that_knows_its_clients_makes_the_limit_exact(env: Env) {
    let places = [Place::new(), Place::new()];
    let start = async |place: Place| {
        let kvd = env
            .kvd()
            .env("RATE_LIMIT", "10")
            .env("TRUSTED_PROXIES", "127.0.0.1");
        let kvd = kvd.arg("--listen", place.public.to_string());
        kvd.arg("--admin-listen", place.admin.to_string())
            .start()
            .await
    };
    let _fleet = [start(places[0]).await, start(places[1]).await];
    for (balance, expected) in [("balance roundrobin", 20), ("balance source", 10)] {
        let forwarded = "option forwardfor\n";
        let shown = plain().with(forwarded, &format!("{forwarded}    {balance}\n"));
        let haproxy = haproxy(&env, places, shown);
        // Two of its checks.
        sleep(stretched(Duration::from_secs(2))).await;
        // Other clients for each kind of balance.
        for number in 0..3 {
            let local = format!("127.0.{expected}.{number}")
                .parse()
                .expect("an address");
            let client = Client::new(haproxy.address, Some(local));
            let mut let_in = 0;
            for _ in 0..30 {
                let_in += u32::from(client.get("/items/").await.status == 200);
            }
            assert_eq!(let_in, expected, "{balance}");
        }
    }
}
