//! The parts of a server's URL, read as libpq reads them:
//! `scheme://user:password@host:port/database?name=value&…`, each of them percent-encoded, or left out.
//!
//! A general reader of URLs refuses an empty host behind a user, and takes `+` for a space.

use std::fs::File;

use percent_encoding::percent_decode_str;

use crate::url::invalid::InvalidDatabaseUrl;

/// What a URL's text says. A part that is empty counts as left out.
pub(super) struct ServerUrl {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    /// A name, an address without brackets, or the path of a socket or its directory.
    pub(super) host: Option<String>,
    pub(super) port: Option<String>,
    pub(super) database: Option<String>,
    parameters: Vec<(String, String)>,
    /// The text without password.
    pub(super) shown: String,
    /// An `@` after the host means that the password may reach into what looks like a parameter.
    is_suspicious: bool,
}

/// The first of these that is not empty.
pub(super) fn first<const N: usize>(texts: [Option<String>; N]) -> Option<String> {
    let mut given = texts.into_iter().flatten();
    given.find(|text| !text.is_empty())
}

/// Reads a port from 1 to 65535.
pub(super) fn port_number(text: &str) -> Result<u16, InvalidDatabaseUrl> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or(InvalidDatabaseUrl::Malformed(
        "its port is no number from 1 to 65535".to_owned(),
    ))
}

impl ServerUrl {
    /// Reads what follows `scheme://`.
    pub(super) fn read(scheme: &str, rest: &str) -> Result<Self, InvalidDatabaseUrl> {
        let (place, query) = split(rest, '?');
        let (authority, path) = split(place, '/');
        let path = path.map(|path| path.trim_start_matches('/'));
        if rest.contains('#') || path.is_some_and(|path| path.contains('@')) {
            return Err(InvalidDatabaseUrl::Unescaped);
        }
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, authority),
        };
        let (user, password) = split(login.unwrap_or_default(), ':');
        let (host, port) = host_and_port(address)?;
        let mut url = Self {
            user: part(user)?,
            password: part(password.unwrap_or_default())?,
            host: part(host)?,
            port: part(port)?,
            database: part(path.unwrap_or_default())?,
            parameters: Vec::new(),
            shown: format!("{scheme}://"),
            is_suspicious: query.is_some_and(|query| query.contains('@')),
        };
        if !user.is_empty() {
            url.shown += &format!("{user}@");
        }
        url.shown += address;
        if let Some(path) = path {
            url.shown += &format!("/{path}");
        }
        url.read_parameters(query.unwrap_or_default())?;
        Ok(url)
    }

    fn read_parameters(&mut self, query: &str) -> Result<(), InvalidDatabaseUrl> {
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(InvalidDatabaseUrl::Malformed(
                    "one of its parameters has no value".to_owned(),
                ));
            };
            let name = decoded(name)?;
            if name == "password" {
                self.password = part(value)?;
                continue;
            }
            // The mode of a pooler says how kvd uses the database, not which it is.
            if name != "pool_mode" {
                let before = if self.shown.contains('?') { '&' } else { '?' };
                self.shown += &format!("{before}{pair}");
            }
            self.parameters.push((name, decoded(value)?));
        }
        Ok(())
    }

    /// Takes a parameter out; of several the last counts.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let taken = self.parameters.extract_if(.., |(known, _)| known == name);
        taken.last().map(|(_, value)| value)
    }

    /// The parameters that were not taken, for the driver.
    ///
    /// # Errors
    /// The driver does not know one, so that a mistyped one does not silently mean no TLS, or a file
    /// that one names cannot be read.
    pub(super) fn rest(
        self,
        known: &[&str],
        files: &[&str],
    ) -> Result<Vec<(String, String)>, InvalidDatabaseUrl> {
        for (name, value) in &self.parameters {
            if !known.contains(&name.as_str()) && !files.contains(&name.as_str()) {
                return Err(match self.is_suspicious {
                    true => InvalidDatabaseUrl::Unescaped,
                    false => InvalidDatabaseUrl::Parameter(name.clone()),
                });
            }
            if files.contains(&name.as_str())
                && let Err(error) = File::open(value)
            {
                return Err(InvalidDatabaseUrl::File(name.clone(), error.to_string()));
            }
        }
        Ok(self.parameters)
    }
}

/// What is before and after the first such character.
fn split(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// Splits `host:port`, where an IPv6 address is in brackets.
fn host_and_port(address: &str) -> Result<(&str, &str), InvalidDatabaseUrl> {
    if address.contains(',') {
        return Err(InvalidDatabaseUrl::Hosts);
    }
    let malformed = |why: &str| InvalidDatabaseUrl::Malformed(why.to_owned());
    if let Some(literal) = address.strip_prefix('[') {
        let closed = literal.split_once(']');
        let (host, port) = closed.ok_or_else(|| malformed("its IPv6 address has no ]"))?;
        if port.is_empty() {
            return Ok((host, ""));
        }
        let port = port.strip_prefix(':');
        return port
            .map(|port| (host, port))
            .ok_or_else(|| malformed("something follows the ] of its IPv6 address"));
    }
    let (host, port) = split(address, ':');
    let port = port.unwrap_or_default();
    if port.contains(':') {
        // It may as well be a password without a user's name, so it is not repeated.
        return Err(malformed(
            "its host has several colons; an IPv6 address is written in brackets",
        ));
    }
    Ok((host, port))
}

fn part(text: &str) -> Result<Option<String>, InvalidDatabaseUrl> {
    Ok(Some(decoded(text)?).filter(|text| !text.is_empty()))
}

/// Decodes `%XX`.
pub(super) fn decoded(text: &str) -> Result<String, InvalidDatabaseUrl> {
    let is_escape = |after: &str| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_escape) {
        return Err(InvalidDatabaseUrl::Percent);
    }
    let text = percent_decode_str(text).decode_utf8();
    let text = text.map_err(|_| InvalidDatabaseUrl::Malformed("it is not UTF-8".to_owned()))?;
    if text.contains('\0') {
        return Err(InvalidDatabaseUrl::Malformed("it has a %00".to_owned()));
    }
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rest: &str) -> ServerUrl {
        ServerUrl::read("postgres", rest).unwrap()
    }

    #[test]
    fn every_part_may_be_left_out() {
        for (rest, user, host, port, database) in [
            ("", None, None, None, None),
            ("/db", None, None, None, Some("db")),
            ("u@/db", Some("u"), None, None, Some("db")),
            ("u@h", Some("u"), Some("h"), None, None),
            (":5433/db", None, None, Some("5433"), Some("db")),
            ("h:/db", None, Some("h"), None, Some("db")),
            ("[::1]/db", None, Some("::1"), None, Some("db")),
            (
                "u:p@[fe80::1%25lo]:1/db",
                Some("u"),
                Some("fe80::1%lo"),
                Some("1"),
                Some("db"),
            ),
            (
                "u%40x@%2Frun%2Fdb/a%2Fb",
                Some("u@x"),
                Some("/run/db"),
                None,
                Some("a/b"),
            ),
        ] {
            let url = read(rest);
            assert_eq!(url.user.as_deref(), user, "{rest}");
            assert_eq!(url.host.as_deref(), host, "{rest}");
            assert_eq!(url.port.as_deref(), port, "{rest}");
            assert_eq!(url.database.as_deref(), database, "{rest}");
        }
    }

    #[test]
    fn passwords_are_decoded_and_never_shown() {
        for (rest, password, shown) in [
            ("u:a%2Fb+c@h/db", "a/b+c", "postgres://u@h/db"),
            ("u:p@ss@h/db", "p@ss", "postgres://u@h/db"),
            (":p@h/db", "p", "postgres://h/db"),
            (
                "u@h/db?x=1&password=p%26&y=2",
                "p&",
                "postgres://u@h/db?x=1&y=2",
            ),
            ("u:old@h/db?p%61ssword=new", "new", "postgres://u@h/db"),
        ] {
            let url = read(rest);
            assert_eq!(url.password.as_deref(), Some(password), "{rest}");
            assert_eq!(url.shown, shown, "{rest}");
        }
    }

    #[test]
    fn of_a_repeated_parameter_the_last_counts() {
        let mut url = read("h?a=1&b=2&a=3+4");
        assert_eq!(url.take("a").as_deref(), Some("3+4"));
        assert_eq!(url.take("a"), None);
        assert_eq!(url.rest(&["b"], &[]).unwrap(), [("b".into(), "2".into())]);
    }
}
