//! What a URL means to PostgreSQL's driver. What the URL leaves out, libpq's variables say.

use std::{net::IpAddr, path::Path};

use sea_orm::sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use crate::url::{
    invalid::InvalidDatabaseUrl,
    server_url::{ServerUrl, first, port_number},
    user::user_name,
};

/// The parameters that the driver knows beside [`FILES`].
const PARAMETERS: [&str; 5] = [
    "sslmode",
    "ssl-mode",
    "statement-cache-capacity",
    "application_name",
    "options",
];

/// The parameters that name a file.
const FILES: [&str; 7] = [
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
];

/// Where PostgreSQL has its socket: Debian, and PostgreSQL's own default.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Where the database is.
struct Place {
    host: String,
    port: u16,
    /// The URL names both a host and its address, which is taken.
    has_two_names: bool,
}

/// The URL in the driver's words, without password. The variables that are not asked for here
/// (`PGPASSWORD`, `PGPASSFILE`, `PGOPTIONS`, `PGAPPNAME` and those of certificates) the driver reads.
pub(super) fn driver_url(
    mut url: ServerUrl,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Url, InvalidDatabaseUrl> {
    check_parameters(&mut url, &variable)?;
    let place = place(&mut url, &variable)?;
    let user = first([url.take("user"), url.user.take(), variable("PGUSER")]);
    let user = user.map_or_else(user_name, Ok)?;
    let database = [
        url.take("dbname"),
        url.database.take(),
        variable("PGDATABASE"),
    ];
    let database = first(database).unwrap_or_else(|| user.clone());
    let rest = url.rest(&PARAMETERS, &FILES)?;
    let driver = with_pairs(&place, &user, &database, &rest);
    match driver.as_str().parse::<PgConnectOptions>() {
        Err(error) => Err(InvalidDatabaseUrl::Malformed(error.to_string())),
        Ok(options)
            if place.has_two_names && matches!(options.get_ssl_mode(), PgSslMode::VerifyFull) =>
        {
            let why =
                "is left out with verify-full: the driver would look for it in the certificate";
            Err(InvalidDatabaseUrl::Value("hostaddr", why))
        }
        Ok(_) => Ok(driver),
    }
}

fn with_pairs(place: &Place, user: &str, database: &str, rest: &[(String, String)]) -> Url {
    let mut driver = Url::parse("postgres:///").expect("a scheme and an empty host are a URL");
    let mut pairs = driver.query_pairs_mut();
    let is_socket = place.host.starts_with('/');
    if is_socket {
        // By this name the driver looks for the password in ~/.pgpass.
        pairs.append_pair("host", "localhost");
    }
    pairs.append_pair("host", &place.host);
    pairs.append_pair("port", &place.port.to_string());
    pairs.append_pair("user", user);
    pairs.append_pair("dbname", database);
    pairs.extend_pairs(rest);
    if is_socket {
        // As libpq has it: there is no TLS on a socket of the machine itself.
        pairs.append_pair("sslmode", "disable");
    }
    drop(pairs);
    driver
}

fn place(
    url: &mut ServerUrl,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<Place, InvalidDatabaseUrl> {
    let address = url.take("hostaddr");
    let host = first([url.take("host"), url.host.take()]);
    let port = first([url.take("port"), url.port.take(), variable("PGPORT")]);
    if [&address, &host, &port]
        .iter()
        .any(|part| part.as_ref().is_some_and(|p| p.contains(',')))
    {
        return Err(InvalidDatabaseUrl::Hosts);
    }
    let port = port.map_or(Ok(5432), |port| port_number(&port))?;
    let is_address = |address: &String| address.parse::<IpAddr>().is_ok();
    if !address.as_ref().is_none_or(is_address) {
        return Err(InvalidDatabaseUrl::Value("hostaddr", "is an IP address"));
    }
    let has_two_names = address.is_some() && host.is_some();
    let host = first([address, host, variable("PGHOSTADDR"), variable("PGHOST")]);
    if host.as_ref().is_some_and(|host| host.starts_with('@')) {
        let why = "is no abstract socket (@NAME): the driver knows only those in a directory";
        return Err(InvalidDatabaseUrl::Value("host", why));
    }
    Ok(Place {
        host: host.unwrap_or_else(|| default_host(port)),
        port,
        has_two_names,
    })
}

/// The directory of the socket that listens, or else this machine by its name.
fn default_host(port: u16) -> String {
    let socket = format!(".s.PGSQL.{port}");
    let listens = |directory: &&&str| Path::new(directory).join(&socket).exists();
    let directory = SOCKET_DIRECTORIES.iter().find(listens);
    (*directory.unwrap_or(&"localhost")).to_owned()
}

/// A parameter that only has values which the driver obeys without knowing it.
struct Fixed {
    name: &'static str,
    variable: &'static str,
    allowed: &'static [&'static str],
    otherwise: &'static str,
}

const FIXED: [Fixed; 3] = [
    Fixed {
        name: "channel_binding",
        variable: "PGCHANNELBINDING",
        allowed: &["prefer", "disable"],
        otherwise: "can only be prefer or disable: the driver cannot bind; sslmode=verify-full tells it the server",
    },
    Fixed {
        name: "target_session_attrs",
        variable: "PGTARGETSESSIONATTRS",
        allowed: &["any"],
        otherwise: "can only be any: there is one host, and it is taken as it is",
    },
    Fixed {
        name: "gssencmode",
        variable: "PGGSSENCMODE",
        allowed: &["disable", "prefer"],
        otherwise: "can only be disable or prefer: the driver has TLS only (sslmode)",
    },
];

/// Takes out what the driver does not know, if it is what the driver does anyway.
fn check_parameters(
    url: &mut ServerUrl,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<(), InvalidDatabaseUrl> {
    let is_of = |value: String, allowed: &[&str]| allowed.contains(&&*value.to_ascii_lowercase());
    // Not PGCLIENTENCODING, which is for what libpq shows on a terminal, and which the driver does not read.
    let encoding = url.take("client_encoding");
    if encoding.is_some_and(|encoding| !is_of(encoding, &["utf8", "utf-8", "auto"])) {
        let why = "can only be UTF8: under another, bytes would mean other characters";
        return Err(InvalidDatabaseUrl::Value("client_encoding", why));
    }
    for fixed in FIXED {
        let value = first([url.take(fixed.name), variable(fixed.variable)]);
        if value.is_some_and(|value| !is_of(value, fixed.allowed)) {
            return Err(InvalidDatabaseUrl::Value(fixed.name, fixed.otherwise));
        }
    }
    match variable("PGSSLMODE").filter(|mode| !mode.is_empty()) {
        // The driver would silently take it for `prefer`.
        Some(mode) if mode.parse::<PgSslMode>().is_err() => Err(InvalidDatabaseUrl::SslMode),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(rest: &str, variables: &[(&str, &str)]) -> PgConnectOptions {
        driver(rest, variables).unwrap().as_str().parse().unwrap()
    }

    fn driver(rest: &str, variables: &[(&str, &str)]) -> Result<Url, InvalidDatabaseUrl> {
        let url = ServerUrl::read("postgres", rest)?;
        driver_url(url, |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_url_is_read_as_libpq_reads_it() {
        for (rest, host, port, user, database) in [
            ("u@h/db", "h", 5432, "u", "db"),
            ("u@[::1]:6000/db", "::1", 6000, "u", "db"),
            ("u@h", "h", 5432, "u", "u"),
            (
                "a@h/b?user=u&host=other&port=1&dbname=db",
                "other",
                1,
                "u",
                "db",
            ),
            ("u@h/db?hostaddr=::1", "::1", 5432, "u", "db"),
            ("u@h/a%20b", "h", 5432, "u", "a b"),
        ] {
            let options = options(rest, &[]);
            assert_eq!(options.get_socket(), None, "{rest}");
            assert_eq!(options.get_host(), host, "{rest}");
            assert_eq!(options.get_port(), port, "{rest}");
            assert_eq!(options.get_username(), user, "{rest}");
            assert_eq!(options.get_database(), Some(database), "{rest}");
        }
    }

    #[test]
    fn a_path_as_host_is_the_directory_of_a_socket_without_tls() {
        for rest in [
            "u@/db?host=/run/db&sslmode=verify-full",
            "u@/db?host=%2Frun%2Fdb",
            "u@%2Frun%2Fdb/db",
            "/db?user=u&host=/run/db",
        ] {
            let options = options(rest, &[("PGHOST", "elsewhere")]);
            assert_eq!(options.get_socket(), Some(&"/run/db".into()), "{rest}");
            assert!(
                matches!(options.get_ssl_mode(), PgSslMode::Disable),
                "{rest}"
            );
        }
    }

    #[test]
    fn what_is_left_out_the_variables_of_libpq_say_and_then_the_system() {
        let set = [
            ("PGHOST", "h"),
            ("PGPORT", "7"),
            ("PGUSER", "u"),
            ("PGDATABASE", "db"),
        ];
        let by_variables = options("", &set);
        assert_eq!(by_variables.get_host(), "h");
        assert_eq!(by_variables.get_port(), 7);
        assert_eq!(by_variables.get_username(), "u");
        assert_eq!(by_variables.get_database(), Some("db"));
        let by_url = options("v@g:8/e", &set);
        assert_eq!(by_url.get_host(), "g");
        assert_eq!(by_url.get_port(), 8);
        assert_eq!(by_url.get_username(), "v");
        assert_eq!(by_url.get_database(), Some("e"));
        let by_system = options("h", &[]);
        let name = user_name().unwrap();
        assert_eq!(by_system.get_username(), name);
        assert_eq!(by_system.get_database(), Some(&*name));
    }

    #[test]
    fn what_the_driver_does_anyway_may_be_said() {
        let said = "u@h/db?client_encoding=UTF8&channel_binding=prefer&target_session_attrs=any\
                    &gssencmode=disable";
        let _options = options(said, &[]);
        for (rest, variables, named) in [
            ("u@h/db?client_encoding=latin1", &[][..], "client_encoding"),
            ("u@h/db?channel_binding=require", &[], "sslmode=verify-full"),
            (
                "u@h/db",
                &[("PGCHANNELBINDING", "require")],
                "channel_binding",
            ),
            (
                "u@h/db?target_session_attrs=primary",
                &[],
                "target_session_attrs",
            ),
            ("u@h/db?gssencmode=require", &[], "gssencmode"),
            ("u@/db?host=@abstract", &[], "abstract socket"),
            ("u@%40abstract/db", &[], "abstract socket"),
            ("u@/db", &[("PGHOST", "@abstract")], "abstract socket"),
            ("u@h/db?hostaddr=h", &[], "hostaddr"),
            ("u@h/db?hostaddr=::1&sslmode=verify-full", &[], "hostaddr"),
            ("u@h/db", &[("PGSSLMODE", "verify_full")], "PGSSLMODE"),
            ("u@h/db?sslmode=bogus", &[], "bogus"),
            ("u@g,h/db", &[], "several hosts"),
            ("u@g:1,h:2/db", &[], "several hosts"),
            ("u@/db?host=g,h", &[], "several hosts"),
            ("u@h/db?port=1,2", &[], "several hosts"),
            ("u@h/db", &[("PGPORT", "many")], "port"),
        ] {
            let error = driver(rest, variables).unwrap_err().to_string();
            assert!(error.contains(named), "{rest}: {error}");
        }
    }
}
