//! What a URL means to the driver of MySQL and MariaDB.

use std::path::{Path, PathBuf};

use sea_orm::sqlx::{self, mysql::MySqlConnectOptions};
use url::Url;

use crate::url::{
    invalid::InvalidDatabaseUrl,
    server_url::{ServerUrl, first, port_number},
    user::user_name,
};

/// The parameters that the driver knows beside [`FILES`].
const PARAMETERS: [&str; 3] = ["sslmode", "ssl-mode", "statement-cache-capacity"];

/// The parameters that name a file.
const FILES: [&str; 6] = [
    "sslca", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key",
];

/// Where servers have their socket: Debian, Red Hat, and the default of MySQL and MariaDB.
const SOCKETS: [&str; 3] = [
    "/run/mysqld/mysqld.sock",
    "/var/lib/mysql/mysql.sock",
    "/tmp/mysql.sock",
];

/// A database of MySQL or MariaDB, without password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct MySqlUrl {
    host: String,
    port: u16,
    socket: Option<PathBuf>,
    user: String,
    database: String,
    /// The driver's other parameters.
    parameters: Url,
}

impl MySqlUrl {
    pub(super) fn new(mut url: ServerUrl) -> Result<Self, InvalidDatabaseUrl> {
        check_parameters(&mut url)?;
        let host = first([url.take("host"), url.host.take()]);
        let socket = match &host {
            Some(path) if path.starts_with('/') => host.clone(),
            _ => first([url.take("socket")]),
        };
        let default = || {
            let socket = SOCKETS.iter().find(|path| Path::new(path).exists());
            socket.filter(|_| host.is_none()).map(PathBuf::from)
        };
        let port = first([url.take("port"), url.port.take()]);
        if host.as_deref().is_some_and(|host| host.contains(',')) {
            return Err(InvalidDatabaseUrl::Hosts);
        }
        let user = first([url.take("user"), url.user.take()]);
        let this = Self {
            socket: socket.map(PathBuf::from).or_else(default),
            host: host.unwrap_or_else(|| "localhost".to_owned()),
            port: port.map_or(Ok(3306), |port| port_number(&port))?,
            user: user.map_or_else(user_name, Ok)?,
            database: url.database.take().ok_or(InvalidDatabaseUrl::NoDatabase)?,
            parameters: driver_parameters(url)?,
        };
        let malformed = |error: sqlx::Error| InvalidDatabaseUrl::Malformed(error.to_string());
        this.options().map_err(malformed)?;
        Ok(this)
    }

    pub(super) fn options(&self) -> sqlx::Result<MySqlConnectOptions> {
        let options: MySqlConnectOptions = self.parameters.as_str().parse()?;
        let options = options
            .host(&self.host)
            .port(self.port)
            .username(&self.user)
            .database(&self.database);
        Ok(match &self.socket {
            Some(socket) => options.socket(socket),
            None => options,
        })
    }
}

fn driver_parameters(url: ServerUrl) -> Result<Url, InvalidDatabaseUrl> {
    let rest = url.rest(&PARAMETERS, &FILES)?;
    let mut driver = Url::parse("mysql:///").expect("a scheme and an empty host are a URL");
    if !rest.is_empty() {
        driver.query_pairs_mut().extend_pairs(&rest);
    }
    Ok(driver)
}

/// Takes out what would change what a statement means, if it says what kvd's sessions are anyway.
fn check_parameters(url: &mut ServerUrl) -> Result<(), InvalidDatabaseUrl> {
    let is_utf8 = |name: &str| name.eq_ignore_ascii_case("utf8mb4");
    if url
        .take("charset")
        .is_some_and(|charset| !is_utf8(&charset))
    {
        let why = "can only be utf8mb4: under another, bytes would mean other characters";
        return Err(InvalidDatabaseUrl::Value("charset", why));
    }
    if let Some(collation) = url.take("collation")
        && !collation
            .split_once('_')
            .is_some_and(|(charset, _)| is_utf8(charset))
    {
        let why =
            "can only be one of utf8mb4, and changes nothing: keys have their own; leave it out";
        return Err(InvalidDatabaseUrl::Value("collation", why));
    }
    for name in ["timezone", "time-zone"] {
        if url
            .take(name)
            .is_some_and(|zone| zone != "+00:00" && zone != "UTC")
        {
            return Err(InvalidDatabaseUrl::Value(
                name,
                "can only be UTC, which is what times are stored in",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rest: &str) -> Result<MySqlUrl, InvalidDatabaseUrl> {
        MySqlUrl::new(ServerUrl::read("mysql", rest)?)
    }

    #[test]
    fn a_server_is_a_host_or_a_socket() {
        for (rest, host, port, socket) in [
            ("u@h/db", "h", 3306, None),
            ("u@[::1]:33/db", "::1", 33, None),
            ("u@h/db?socket=/run/x.sock", "h", 3306, Some("/run/x.sock")),
            (
                "u@/db?socket=%2Frun%2Fx.sock",
                "localhost",
                3306,
                Some("/run/x.sock"),
            ),
            (
                "u@%2Frun%2Fx.sock/db",
                "/run/x.sock",
                3306,
                Some("/run/x.sock"),
            ),
        ] {
            let options = read(rest).unwrap().options().unwrap();
            assert_eq!(options.get_host(), host, "{rest}");
            assert_eq!(options.get_port(), port, "{rest}");
            assert_eq!(
                options.get_socket(),
                socket.map(PathBuf::from).as_ref(),
                "{rest}"
            );
            assert_eq!(options.get_username(), "u", "{rest}");
            assert_eq!(options.get_database(), Some("db"), "{rest}");
        }
        let options = read("h/db").unwrap().options().unwrap();
        assert_eq!(options.get_username(), user_name().unwrap());
    }

    #[test]
    fn what_would_change_the_meaning_of_bytes_or_times_is_refused() {
        for said in [
            "charset=utf8mb4",
            "collation=utf8mb4_unicode_ci",
            "time-zone=%2B00:00&timezone=UTC",
        ] {
            assert!(read(&format!("u@h/db?{said}")).is_ok(), "{said}");
        }
        for (said, named) in [
            ("charset=latin1", "charset can only be utf8mb4"),
            ("charset=utf8", "charset can only be utf8mb4"),
            ("charset=utf8mb3", "charset can only be utf8mb4"),
            ("charset=", "charset can only be utf8mb4"),
            (
                "charset=utf8mb4&charset=latin1",
                "charset can only be utf8mb4",
            ),
            ("collation=latin1_bin", "collation can only be"),
            ("time-zone=SYSTEM", "time-zone can only be UTC"),
            ("timezone=%2B01:00", "timezone can only be UTC"),
            ("ssl-mode=bogus", "bogus"),
            ("sql_mode=ORACLE", "\"sql_mode\""),
        ] {
            let error = read(&format!("u@h/db?{said}")).err();
            let error = error.map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(named), "{said}: {error}");
        }
    }
}
