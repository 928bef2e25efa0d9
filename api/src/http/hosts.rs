//! Which host a request is meant for (RFC 9110, 7.2), and whether kvd answers to it.
//!
//! A web page can let its own name lead to 127.0.0.1 (DNS rebinding), and browsers then take a kvd on this
//! machine for the page's own server. Such a request says the name of the page, and never an address.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use poem::{
    Request,
    http::{HeaderValue, Method, Version, header},
};

use super::{
    client_address::{TrustedProxies, peer},
    percent::is_percent_encoded,
    problem::Problem,
    problem_code::Code,
};

/// Every name.
const ANY: &str = "*";

/// The names by which kvd is asked, beside `localhost` and its addresses. Empty if they are not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts(Vec<String>);

impl fmt::Display for AllowedHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

impl FromStr for AllowedHosts {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, String> {
        list.split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(|entry| match without_root(entry) {
                name if entry == ANY || is_domain_name(name) => Ok(name.to_owned()),
                _ => Err(format!(
                    "{entry:?} is no name of a host: expected names without port by comma, such as \
                     kvd.example.com, or * for every name"
                )),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Whether the name system can have this name, which has no dot at its end (RFC 1035, 2.3.4).
fn is_domain_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(is_plain);
    name.len() <= 253 && name.split('.').all(is_label)
}

impl AllowedHosts {
    fn contains(&self, name: &str) -> bool {
        let is_it = |allowed: &String| allowed == ANY || allowed.eq_ignore_ascii_case(name);
        self.0.iter().any(is_it)
    }
}

/// To which hosts a listener answers.
#[derive(Clone)]
pub(crate) struct HostSettings {
    /// Whether the listener is bound to a loopback address. On any other, every host is answered.
    pub loopback: bool,
    pub allowed_hosts: AllowedHosts,
    /// Their word is taken while no names are set.
    pub trusted_proxies: TrustedProxies,
}

impl HostSettings {
    /// # Errors
    /// A 400 if the host is missing or malformed, and a 421 if it is another one's.
    pub(super) fn check(&self, request: &Request) -> Result<(), Problem> {
        match host(request)? {
            Some(Host::Name(name)) if !self.answers_to(name, peer(request)) => {
                Err(misdirected(name))
            }
            Some(Host::Name(_) | Host::Address) | None => Ok(()),
        }
    }

    fn answers_to(&self, name: &str, peer: IpAddr) -> bool {
        !self.loopback
            || is_localhost(name)
            || self.allowed_hosts.contains(name)
            || self.allowed_hosts.0.is_empty() && self.trusted_proxies.contains(peer)
    }
}

/// The problem of a request for a name that is not one of kvd's.
pub(crate) fn misdirected(name: &str) -> Problem {
    let detail = format!(
        "This address does not answer to the name {name:?}, unless ALLOWED_HOSTS names it, or a \
         proxy of TRUSTED_PROXIES sends it."
    );
    Problem::quoting(Code::MisdirectedRequest, detail)
}

/// The host of a request; `None` if it has none, as HTTP/1.0 allows.
fn host(request: &Request) -> Result<Option<Host<'_>>, Problem> {
    let mut lines = request.headers().get_all(header::HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err(Problem::invalid("The header Host is given more than once."));
    }
    if line.is_none() && request.version() >= Version::HTTP_11 {
        return Err(Problem::invalid("The header Host is missing."));
    }
    let said = line.map(of_header).transpose()?;
    let Some(authority) = request.uri().authority() else {
        return Ok(said);
    };
    // RFC 9112, 3.2: a target that is nothing but an authority belongs to CONNECT.
    if request.uri().scheme().is_none() && request.method() != Method::CONNECT {
        return Err(Problem::invalid("The target is neither a path nor a URL."));
    }
    let host = Host::parse(authority.as_str());
    let host = host.ok_or_else(|| Problem::invalid("The target names no valid host."))?;
    Ok(Some(host))
}

fn of_header(line: &HeaderValue) -> Result<Host<'_>, Problem> {
    let host = line.to_str().ok().and_then(Host::parse);
    host.ok_or_else(|| Problem::invalid("The header Host is not a host with or without a port."))
}

/// The host of a request, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
enum Host<'a> {
    /// An IP literal: no name leads there.
    Address,
    Name(&'a str),
}

impl<'a> Host<'a> {
    /// Reads a host that an optional port follows (RFC 3986, 3.2.2). HTTP allows no empty host.
    fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                address.parse::<Ipv6Addr>().ok()?;
                (Self::Address, port)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                let (name, port) = text.split_at(end);
                (Self::unbracketed(name)?, port)
            }
        };
        is_port(port).then_some(host)
    }

    fn unbracketed(text: &'a str) -> Option<Self> {
        if text.parse::<Ipv4Addr>().is_ok() {
            return Some(Self::Address);
        }
        let allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte);
        let is_name = !text.is_empty() && text.bytes().all(allowed) && is_percent_encoded(text);
        is_name.then_some(Self::Name(without_root(text)))
    }
}

/// Nothing, or a colon with a port that may be left out.
fn is_port(text: &str) -> bool {
    match text.strip_prefix(':') {
        Some("") => true,
        Some(digits) => {
            digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok()
        }
        None => text.is_empty(),
    }
}

/// The same name without the dot of the root at its end.
fn without_root(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether a name leads to this machine wherever it is looked up (RFC 6761, 6.3).
fn is_localhost(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings(allowed_hosts: &str, trusted_proxies: &str) -> HostSettings {
        HostSettings {
            loopback: true,
            allowed_hosts: allowed_hosts.parse().unwrap(),
            trusted_proxies: trusted_proxies.parse().unwrap(),
        }
    }

    fn answers(settings: &HostSettings, host: &str) -> bool {
        match Host::parse(host).unwrap() {
            Host::Address => true,
            Host::Name(name) => settings.answers_to(name, [127, 0, 0, 1].into()),
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        let addresses = ["127.0.0.1", "0.0.0.0:1", "[::1]", "[::ffff:127.0.0.1]:8000"];
        for address in addresses {
            assert_eq!(Host::parse(address), Some(Host::Address), "{address}");
        }
        for (text, name) in [
            ("kvd", "kvd"),
            ("kvd:", "kvd"),
            ("kvd.example.:65535", "kvd.example"),
            ("127.1", "127.1"),
            ("127.0.0.1.", "127.0.0.1"),
            ("a_b%41", "a_b%41"),
        ] {
            assert_eq!(Host::parse(text), Some(Host::Name(name)), "{text}");
        }
    }

    #[test]
    fn what_no_server_can_have_is_no_host() {
        for text in [
            "",
            ":80",
            "::1",
            "[::1",
            "[kvd]",
            "[::1]x",
            "[fe80::1%25eth0]",
            "kvd:x",
            "kvd:+1",
            "kvd:65536",
            "kvd:1:2",
            "a b",
            "a/b",
            "me@kvd",
            "a?",
            "a#",
            "a\\b",
            "\u{e9}",
            "a%zz",
            "<a>",
            "a\"",
        ] {
            assert_eq!(Host::parse(text), None, "{text}");
        }
    }

    #[test]
    fn localhost_is_answered_and_other_names_only_if_they_are_set() {
        let unset = settings("", "");
        for host in ["localhost", "LOCALHOST:1", "localhost.", "a.b.Localhost:80"] {
            assert!(answers(&unset, host), "{host}");
        }
        for host in [
            "kvd",
            "localhost.kvd",
            "notlocalhost",
            "localhost..",
            "127.1",
        ] {
            assert!(!answers(&unset, host), "{host}");
        }
        let set = settings("kvd.example, KVD.", "");
        for host in ["kvd", "kvd.:8000", "Kvd.Example", "localhost"] {
            assert!(answers(&set, host), "{host}");
        }
        for host in ["a.kvd.example", "example", "other"] {
            assert!(!answers(&set, host), "{host}");
        }
        assert!(answers(&settings("*", ""), "other"));
    }

    #[test]
    fn a_trusted_proxy_may_send_any_name_while_none_are_set() {
        assert!(answers(&settings("", "127.0.0.1"), "other"));
        assert!(!answers(&settings("", "10.0.0.0/8"), "other"));
        assert!(!answers(&settings("kvd", "127.0.0.1"), "other"));
        let other = HostSettings {
            loopback: false,
            ..settings("kvd", "")
        };
        assert!(answers(&other, "other"));
    }

    #[test]
    fn allowed_hosts_are_names_and_nothing_else() {
        let (label, long) = ("a".repeat(63), "a.".repeat(127));
        for wrong in [
            "http://kvd",
            "kvd:80",
            "*.example.com",
            "a b",
            "[::1]",
            "é",
            ".",
            "..",
            "a..b",
            ".a",
            "*.",
            &format!("a{label}.b"),
            &format!("{long}ab"),
        ] {
            let told = format!("ok,{wrong}").parse::<AllowedHosts>().unwrap_err();
            assert!(told.starts_with(&format!("{wrong:?} is no name")), "{told}");
        }
        for right in [&format!("{label}.b."), &*long, "a_b.c-d.127"] {
            assert!(right.parse::<AllowedHosts>().is_ok(), "{right}");
        }
        let given: AllowedHosts = " a.example. ,, b ".parse().unwrap();
        assert_eq!(given.to_string(), "a.example,b");
    }

    proptest! {
        #[test]
        fn letter_case_and_port_do_not_count(name in "[a-z][a-z0-9-]{0,20}", port in any::<u16>()) {
            let set = settings(&name, "");
            let host = format!("{}:{port}", name.to_uppercase());
            prop_assert!(answers(&set, &host));
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _host = Host::parse(&text);
        }
    }
}
