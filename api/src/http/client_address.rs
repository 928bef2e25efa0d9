//! Whose request it is.
//!
//! Anybody can send an `X-Forwarded-For`, so only what a trusted proxy appended is believed: the
//! list is read from the right, and the first address that is no trusted proxy is the client.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net};
use poem::{
    Request,
    http::{HeaderMap, HeaderName},
};

/// The proxies whose word is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl fmt::Display for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&networks.join(","))
    }
}

impl FromStr for TrustedProxies {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, String> {
        list.split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(|entry| {
                entry
                    .parse::<IpNet>()
                    .or_else(|_| entry.parse::<IpAddr>().map(IpNet::from))
                    .map(canonical)
                    .map_err(|_| {
                        "expected addresses or networks by comma, such as 10.0.0.0/8,::1".to_owned()
                    })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// A network of IPv4-mapped IPv6 addresses is one of IPv4 addresses, as the addresses are.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else {
        return network;
    };
    let inside = mapped.addr().to_ipv4_mapped();
    let bits = mapped.prefix_len().checked_sub(96);
    match (inside, bits) {
        (Some(address), Some(bits)) => Ipv4Net::new(address, bits).map_or(network, IpNet::from),
        _ => network,
    }
}

impl TrustedProxies {
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// The address at the other end of the connection.
pub(super) fn peer(request: &Request) -> IpAddr {
    let peer = request.remote_addr().as_socket_addr();
    let peer = peer.expect("the server listens on IP sockets only");
    peer.ip().to_canonical()
}

/// The address of the client: `peer`, or what trusted proxies say in `header`.
///
/// All lines of the header are one list. The search stops at the first entry from the right that
/// does not parse, because what stands left of it cannot be vouched for.
pub(super) fn client_ip(
    peer: IpAddr,
    headers: &HeaderMap,
    header: &HeaderName,
    trusted: &TrustedProxies,
) -> IpAddr {
    let peer = peer.to_canonical();
    if !trusted.contains(peer) {
        return peer;
    }
    headers
        .get_all(header)
        .iter()
        .rev()
        .flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','))
        .map_while(address)
        .find(|address| !trusted.contains(*address))
        .unwrap_or(peer)
}

/// An address, with or without a port; IPv6 with a port in brackets.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = str::from_utf8(entry).ok()?.trim();
    let bare = entry
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(entry)
        .parse()
        .or_else(|_| entry.parse::<SocketAddr>().map(|with_port| with_port.ip()))
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}

/// What counts as one client for the limiter: an IPv4 address, or the /64 of an IPv6 address, which
/// is what one customer gets.
pub(crate) fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: HeaderName = HeaderName::from_static("x-forwarded-for");

    fn resolve(peer: &str, lines: &[&str], trusted: &str) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HEADER, line.parse().unwrap());
        }
        let trusted = trusted.parse().unwrap();
        client_ip(peer.parse().unwrap(), &headers, &HEADER, &trusted).to_string()
    }

    #[test]
    fn the_header_of_an_untrusted_peer_is_not_read() {
        assert_eq!(resolve("192.0.2.1", &["198.51.100.7"], ""), "192.0.2.1");
        assert_eq!(
            resolve("192.0.2.1", &["198.51.100.7"], "10.0.0.0/8"),
            "192.0.2.1"
        );
    }

    #[test]
    fn the_right_most_address_that_is_no_proxy_is_the_client() {
        let trusted = "10.0.0.0/8, 127.0.0.1, fd00::/8";
        let cases: [(&[&str], &str); 12] = [
            (&[], "10.0.0.1"),
            (&["198.51.100.7"], "198.51.100.7"),
            (&["1.1.1.1, 198.51.100.7"], "198.51.100.7"),
            (&["1.1.1.1, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
            (&["1.1.1.1", "198.51.100.7,10.0.0.2"], "198.51.100.7"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.1"),
            (&["1.1.1.1, nonsense, 10.0.0.2"], "10.0.0.1"),
            (&["1.1.1.1, "], "10.0.0.1"),
            (&["198.51.100.7:4711"], "198.51.100.7"),
            (&["[2001:db8::1]:443"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["::ffff:198.51.100.7, ::ffff:10.0.0.9"], "198.51.100.7"),
        ];
        for (lines, expected) in cases {
            assert_eq!(resolve("10.0.0.1", lines, trusted), expected, "{lines:?}");
            assert_eq!(
                resolve("::ffff:10.0.0.1", lines, trusted),
                expected,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn a_mapped_network_of_proxies_is_one_of_ipv4() {
        for trusted in ["::ffff:10.0.0.0/104", "::ffff:10.0.0.1"] {
            assert_eq!(resolve("10.0.0.1", &["9.9.9.9"], trusted), "9.9.9.9");
        }
    }

    #[test]
    fn ipv6_is_grouped_and_mapped_ipv4_is_ipv4() {
        let network = |text: &str| client_network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(network("192.0.2.1"), "192.0.2.1");
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic_or_name_a_trusted_proxy(lines in prop::collection::vec("[ -~]{0,30}", 0..4)) {
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            let client = resolve("10.0.0.1", &lines, "10.0.0.0/8");
            prop_assert!(client == "10.0.0.1" || !client.starts_with("10."));
        }
    }
}
