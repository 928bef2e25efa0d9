//! Where to listen, as a user writes it.

use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};

const IN_BRACKETS: &str = "an IPv6 address needs brackets and a port: write it as [::1]:8000";

/// Reads an address or a name, with a port. A name is resolved: of several addresses the first of IPv4 is
/// taken, since the default is one too, else the first.
///
/// # Errors
/// What to write instead.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = host_and_port(text)?;
    let found = (host, port).to_socket_addrs();
    let found: Vec<_> = found
        .map_err(|error| format!("the name {host:?} cannot be resolved: {error}"))?
        .collect();
    let chosen = found.iter().find(|address| address.is_ipv4());
    let chosen = chosen.or(found.first()).copied();
    chosen.ok_or_else(|| format!("the name {host:?} has no address"))
}

fn host_and_port(text: &str) -> Result<(&str, u16), String> {
    if let Some((scheme, rest)) = text.split_once("://") {
        let address = rest.split('/').next().unwrap_or_default();
        host_and_port(address)?;
        return Err(format!(
            "an address has no {scheme}:// before it and no path behind it: write {address}"
        ));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(IN_BRACKETS.to_owned());
    }
    let missing = |host: &str| Err(format!("the port is missing: write {host}:8000"));
    let (host, port) = match text.rsplit_once(':') {
        _ if text.ends_with(']') => return missing(text),
        Some((host, "")) if !host.is_empty() => return missing(host),
        Some(parts) => parts,
        // A number alone is no name.
        None if text.parse::<u16>().is_ok() => ("", text),
        None if text.is_empty() => return missing("127.0.0.1"),
        None => return missing(text),
    };
    let Ok(port) = port.parse() else {
        return Err("the port must be a number from 0 to 65535".to_owned());
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match bare.unwrap_or(host) {
        "" | "*" => Err(format!(
            "the address is missing: write 127.0.0.1:{port} for this machine alone, \
             0.0.0.0:{port} or [::]:{port} for all others too"
        )),
        _ if bare.is_none() && host.contains(':') => Err(IN_BRACKETS.to_owned()),
        host => Ok((host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_a_name_has_a_port() {
        for (text, address) in [
            ("127.0.0.1:8000", "127.0.0.1:8000"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("[::1]:8000", "[::1]:8000"),
            ("[fe80::1%2]:8000", "[fe80::1%2]:8000"),
        ] {
            assert_eq!(listen_address(text), Ok(address.parse().unwrap()));
        }
        let local = listen_address("localhost:8000").unwrap();
        assert!(local.ip().is_loopback() && local.port() == 8000, "{local}");
    }

    #[test]
    fn who_is_mistaken_is_told_what_to_write() {
        for (text, told) in [
            ("localhost", "write localhost:8000"),
            ("127.0.0.1", "write 127.0.0.1:8000"),
            ("127.0.0.1:", "write 127.0.0.1:8000"),
            ("0.0.0.0", "write 0.0.0.0:8000"),
            ("[::1]", "write [::1]:8000"),
            ("[::1]:", "write [::1]:8000"),
            ("::1", "write it as [::1]:8000"),
            ("::1:8000", "write it as [::1]:8000"),
            ("1:2:3:8000", "write it as [::1]:8000"),
            ("8001", "write 127.0.0.1:8001 "),
            (":8001", "0.0.0.0:8001 "),
            ("*:8001", "[::]:8001 "),
            ("[]:8001", "[::]:8001 "),
            ("", "write 127.0.0.1:8000"),
            (":", "from 0 to 65535"),
            ("localhost:http", "from 0 to 65535"),
            ("127.0.0.1:65536", "from 0 to 65535"),
            ("http://localhost:8000", "write localhost:8000"),
            ("https://0.0.0.0:8001/items/", "write 0.0.0.0:8001"),
            ("http://[::1]:8001", "write [::1]:8001"),
            ("http://localhost", "write localhost:8000"),
            ("http://", "write 127.0.0.1:8000"),
            ("a.invalid:8000", "\"a.invalid\" cannot be resolved"),
            ("a b:8000", "\"a b\" cannot be resolved"),
        ] {
            let error = listen_address(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
            assert_eq!(error.lines().count(), 1);
        }
    }
}
