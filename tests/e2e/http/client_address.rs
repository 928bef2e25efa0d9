//! Whose request it is: the socket's peer, or what a trusted proxy says.
//!
//! Seen from outside by what the limiter has left for the client, and by the log.

use tests::{Client, Env, Kvd};

use crate::limits::rate::state;

tests::list! {
    Once =>
        a_header_of_an_untrusted_peer_is_ignored,
        behind_a_trusted_proxy_the_right_most_untrusted_address_is_the_client,
        the_peer_is_the_client_if_the_header_names_nobody_else,
        an_entry_that_does_not_parse_ends_the_search,
        ipv4_mapped_ipv6_counts_as_ipv4,
        ipv6_is_grouped_by_64,
        client_ip_header_chooses_the_header,
        a_mapped_peer_is_an_ipv4_peer,
        the_log_names_the_client_behind_a_trusted_proxy
}

const LIMIT: u64 = 1000;

fn kvd(env: &Env, trusted: &str) -> tests::kvd::Start {
    env.kvd()
        .arg("--rate-limit", LIMIT.to_string())
        .arg("--rate-limit-window", "600s")
        .arg("--trusted-proxies", trusted)
}

/// Sends a request with these lines of `X-Forwarded-For`; how many its client has sent by now.
async fn count(kvd: &Client, lines: &[&str]) -> u64 {
    count_by(kvd, "X-Forwarded-For", lines).await
}

async fn count_by(kvd: &Client, header: &str, lines: &[&str]) -> u64 {
    let mut request = kvd.get("/items/missing");
    for line in lines {
        request = request.header(header, line);
    }
    LIMIT - state(&request.await.expect(404)).0
}

/// All of these are requests of one client that has not sent any before.
async fn assert_one_client(kvd: &Kvd, requests: &[&[&str]]) {
    for (expected, lines) in (1..).zip(requests) {
        assert_eq!(count(kvd, lines).await, expected, "{lines:?}");
    }
}

async fn a_header_of_an_untrusted_peer_is_ignored(env: Env) {
    for trusted in ["", "10.0.0.0/8,192.0.2.1,::1", "127.0.0.2"] {
        let kvd = kvd(&env, trusted).start().await;
        let mut expected = 0;
        for header in [
            "X-Forwarded-For",
            "Forwarded",
            "X-Real-IP",
            "CF-Connecting-IP",
        ] {
            for forged in ["198.51.100.7", "127.0.0.2", "10.0.0.1, 198.51.100.8"] {
                expected += 1;
                assert_eq!(count_by(&kvd, header, &[forged]).await, expected);
            }
        }
        // Another peer is another client, whatever it says.
        let other = kvd.client_at("127.0.0.3");
        assert_eq!(count(&other, &["127.0.0.1"]).await, 1);
    }
}

async fn behind_a_trusted_proxy_the_right_most_untrusted_address_is_the_client(env: Env) {
    let kvd = kvd(&env, "127.0.0.1, 10.0.0.0/8, fd00::/8").start().await;
    assert_one_client(
        &kvd,
        &[
            &["198.51.100.7"],
            &["203.0.113.9, 198.51.100.7"],
            &["203.0.113.9,198.51.100.7 , 10.1.2.3"],
            &["203.0.113.9", "198.51.100.7"],
            &["203.0.113.9", "203.0.113.10, 198.51.100.7", "10.0.0.2"],
            &["198.51.100.7, 10.0.0.2", "10.0.0.3,fd00::1"],
            &["nonsense, 198.51.100.7"],
        ],
    )
    .await;
    assert_one_client(&kvd, &[&["203.0.113.9"], &["198.51.100.7, 203.0.113.9"]]).await;
}

async fn the_peer_is_the_client_if_the_header_names_nobody_else(env: Env) {
    let kvd = kvd(&env, "127.0.0.1,10.0.0.0/8").start().await;
    assert_one_client(
        &kvd,
        &[
            &[],
            &["10.0.0.2"],
            &["10.0.0.3, 10.0.0.2"],
            &["127.0.0.1", "10.0.0.2"],
        ],
    )
    .await;
    // This peer is no proxy: its word does not count.
    let other = kvd.client_at("127.0.0.2");
    assert_eq!(count(&other, &["198.51.100.7"]).await, 1);
    assert_eq!(count(&other, &["198.51.100.8"]).await, 2);
}

async fn an_entry_that_does_not_parse_ends_the_search(env: Env) {
    let kvd = kvd(&env, "127.0.0.1,10.0.0.0/8").start().await;
    assert_one_client(
        &kvd,
        &[
            &[],
            &["198.51.100.7, nonsense"],
            &["198.51.100.7, unknown, 10.0.0.2"],
            &["198.51.100.7", "1.2.3", "10.0.0.2"],
            &["198.51.100.7, 256.1.1.1"],
            &["198.51.100.7; 10.0.0.2"],
        ],
    )
    .await;
}

async fn ipv4_mapped_ipv6_counts_as_ipv4(env: Env) {
    let kvd = kvd(&env, "127.0.0.1,10.0.0.0/8").start().await;
    assert_one_client(
        &kvd,
        &[
            &["198.51.100.7"],
            &["::ffff:198.51.100.7"],
            &["::ffff:c633:6407"],
            &["198.51.100.7, ::ffff:10.0.0.1"],
        ],
    )
    .await;
    assert_eq!(count(&kvd, &["::ffff:198.51.100.8"]).await, 1);
}

async fn ipv6_is_grouped_by_64(env: Env) {
    let kvd = kvd(&env, "127.0.0.1").start().await;
    assert_one_client(
        &kvd,
        &[
            &["2001:db8:1:2::1"],
            &["2001:db8:1:2::2"],
            &["2001:DB8:1:2:ffff:ffff:ffff:ffff"],
            &["203.0.113.9, 2001:db8:1:2:3:4:5:6"],
        ],
    )
    .await;
    assert_eq!(count(&kvd, &["2001:db8:1:3::1"]).await, 1);
    assert_eq!(count(&kvd, &["2001:db8:1:1:ffff::"]).await, 1);
}

async fn client_ip_header_chooses_the_header(env: Env) {
    let start = kvd(&env, "127.0.0.1").arg("--client-ip-header", "X-Real-IP");
    let kvd = start.start().await;
    let by = |address| count_by(&kvd, "x-real-ip", address);
    assert_eq!(by(&["198.51.100.7"]).await, 1);
    assert_eq!(by(&["198.51.100.7"]).await, 2);
    assert_eq!(by(&["198.51.100.8"]).await, 1);
    // The other header is not read.
    assert_eq!(count(&kvd, &["198.51.100.7"]).await, 1);
    assert_eq!(count(&kvd, &["198.51.100.9"]).await, 2);
}

/// A socket for both protocols sees IPv4 clients under IPv4-mapped addresses.
async fn a_mapped_peer_is_an_ipv4_peer(env: Env) {
    let kvd = kvd(&env, "127.0.0.1")
        .arg("--listen", "[::]:0")
        .env("AUTH", "off");
    let kvd = kvd.start().await;
    let port = kvd.address().port();
    let client = |local: &str| {
        let address = ([127, 0, 0, 1], port).into();
        Client::new(address, Some(local.parse().expect("an address")))
    };
    assert_eq!(count(&client("127.0.0.1"), &["198.51.100.7"]).await, 1);
    assert_eq!(count(&client("127.0.0.1"), &["198.51.100.8"]).await, 1);
    assert_eq!(count(&client("127.0.0.2"), &["198.51.100.9"]).await, 1);
    assert_eq!(count(&client("127.0.0.1"), &["127.0.0.2"]).await, 2);
}

async fn the_log_names_the_client_behind_a_trusted_proxy(env: Env) {
    let kvd = kvd(&env, "127.0.0.1").start().await;
    for (id, client) in [("one", "198.51.100.7"), ("two", "2001:db8:1:2::7")] {
        let request = kvd.get("/items/").header("X-Request-Id", id);
        let _answer = request.header("X-Forwarded-For", client).await.expect(200);
        kvd.logged(id).await;
        let log = kvd.log();
        let line = log.lines().find(|line| line.contains(id));
        assert!(line.is_some_and(|line| line.contains(client)), "{log}");
    }
}
