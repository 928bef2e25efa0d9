//! The variables of a session: all on which the meaning of a statement depends, and none else.
//!
//! Server, database, role and URL may have set any of them otherwise. What only says how much a session may
//! take, where its tables are, or how durable and how fast it is, stays as they have it:
//! docs/configuration.md has the list.
//!
//! The driver itself asks PostgreSQL for `client_encoding`, `DateStyle` and `TimeZone`, before which whatever
//! a URL's `options` say of them does not count.

use std::{sync::Arc, time::Duration};

use sea_orm::sqlx::{
    self, AssertSqlSafe, ConnectOptions, Executor, MySqlConnection, PgConnection,
    mysql::MySqlConnectOptions, postgres::PgConnectOptions,
};

/// How a session is set up.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// Server-side bound on a statement; none if `None`, whatever the server's default. MySQL bounds
    /// only reads.
    pub statement_timeout: Option<Duration>,
    /// Server-side bound on waiting for a lock.
    pub lock_timeout: Duration,
    /// Create the file of an SQLite database that does not exist.
    pub create_file: bool,
    /// Shown by PostgreSQL in `pg_stat_activity`.
    pub application_name: &'static str,
}

fn milliseconds(duration: Duration) -> String {
    duration.as_millis().max(1).to_string()
}

/// The variables of a session with PostgreSQL.
#[derive(Clone)]
pub(crate) struct PostgresSetup {
    variables: Vec<(&'static str, String)>,
    application_name: &'static str,
    /// A statement may take its time, and so may the one after it.
    is_unlimited: bool,
    /// Begins each transaction, where a pooler gives out connections for one.
    begin: Option<Arc<str>>,
}

impl PostgresSetup {
    pub(crate) fn new(settings: &SessionSettings, pools_transactions: bool) -> Self {
        let statement_timeout = settings.statement_timeout.map(milliseconds);
        let is_unlimited = statement_timeout.is_none();
        let mut variables = vec![
            ("lock_timeout", milliseconds(settings.lock_timeout)),
            (
                "statement_timeout",
                statement_timeout.unwrap_or("0".to_owned()),
            ),
            // The policies of the table decide what is seen of it, and never make a statement fail.
            ("row_security", "on".to_owned()),
            // What a backslash means in the statements' own texts.
            ("standard_conforming_strings", "on".to_owned()),
            // A migration compares a table's definition as PostgreSQL writes it.
            ("quote_all_identifiers", "off".to_owned()),
            // An error is answered by one statement, not by the end of the session.
            ("exit_on_error", "off".to_owned()),
            // An error has a context only if it comes from a function. Known since PostgreSQL 13.
            ("log_parameter_max_length_on_error", "0".to_owned()),
        ];
        let begin = pools_transactions.then(|| {
            let set = variables
                .iter()
                .map(|(name, value)| format!("; SET LOCAL {name} = {value}"));
            format!("{BEGIN}{}", set.collect::<String>()).into()
        });
        // The compare-and-set relies on a waiting update seeing the row it waited for.
        variables.push(("default_transaction_isolation", "read committed".to_owned()));
        Self {
            variables,
            application_name: settings.application_name,
            is_unlimited,
            begin,
        }
    }

    /// Adds what can be asked for while connecting. It goes before what the server, the database and
    /// the role have set, and after the URL's own `options`.
    pub(crate) fn options(&self, options: PgConnectOptions) -> PgConnectOptions {
        let options = options.disable_statement_logging();
        let options = match options.get_application_name() {
            Some(_) => options,
            None => options.application_name(self.application_name),
        };
        match self.begin {
            // PgBouncer refuses options that set a session up.
            Some(_) => options.extra_float_digits(None),
            None => options.options(self.variables.iter().map(|(name, value)| (name, value))),
        }
    }

    /// What begins a transaction, where a pooler gives out connections for one.
    pub(crate) fn begin(&self) -> Option<Arc<str>> {
        self.begin.clone()
    }

    /// Sets what cannot be asked for while connecting.
    pub(crate) async fn apply(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        if self.is_unlimited {
            // As options, servers before PostgreSQL 14 and 17 would refuse two of these.
            let sql = "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN \
                       ('idle_in_transaction_session_timeout', 'idle_session_timeout', \
                       'transaction_timeout')";
            connection.execute(sql).await?;
        }
        Ok(())
    }
}

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// The variables of a session with MySQL or MariaDB that have the same value in every session.
///
/// The modes are all that count: strict, and none that changes what a text, a `NULL` or an operator is.
const MYSQL: &str = "SET NAMES utf8mb4 COLLATE utf8mb4_bin, \
    SESSION time_zone = '+00:00', \
    SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
    SESSION autocommit = 1, \
    SESSION completion_type = 0, \
    SESSION sql_auto_is_null = 0, \
    SESSION sql_safe_updates = 0, \
    SESSION sql_big_selects = 1, \
    SESSION sql_select_limit = 18446744073709551615, \
    SESSION max_sort_length = 4096, \
    SESSION group_concat_max_len = 4096, \
    SESSION sql_quote_show_create = 1, \
    SESSION foreign_key_checks = 1, \
    SESSION unique_checks = 1, \
    SESSION default_storage_engine = 'InnoDB'";

/// READ COMMITTED: looking for a key that does not exist must not lock the gap around it. The first comment
/// is code to MariaDB only, the second to MySQL 8 and later only.
const MYSQL_ISOLATION: &str = " /*M! , SESSION tx_isolation = 'READ-COMMITTED' */ \
    /*!80000 , SESSION transaction_isolation = 'READ-COMMITTED' */";

/// Otherwise a migration finds no error where a table is there already, or where one is not. The comment is code to
/// MariaDB 10.5.2 and later only.
const MARIADB_EXISTS: &str = " /*M!100502 , SESSION sql_if_exists = 0 */";

/// Without a bound on statements, answers may be read and lines may come slowly: for a day.
const MYSQL_UNLIMITED: &str = " /*M! , SESSION max_statement_time = 0, \
    SESSION idle_transaction_timeout = 0, SESSION idle_readonly_transaction_timeout = 0, \
    SESSION idle_write_transaction_timeout = 0 */ \
    /*!80000 , SESSION max_execution_time = 0 */ \
    , SESSION net_write_timeout = 86400, SESSION wait_timeout = 86400";

/// The statement that sets a session with MySQL or MariaDB up, which the connection protocol cannot do.
#[derive(Clone)]
pub(crate) struct MySqlSetup(String);

impl MySqlSetup {
    pub(crate) fn new(settings: &SessionSettings) -> Self {
        let seconds = settings.lock_timeout.as_secs().max(1);
        let limits = match settings.statement_timeout {
            Some(timeout) => format!(
                " /*M! , SESSION max_statement_time = {} */ /*!80000 , SESSION max_execution_time = {} */",
                timeout.as_secs_f64(),
                milliseconds(timeout)
            ),
            None => MYSQL_UNLIMITED.to_owned(),
        };
        Self(format!(
            "{MYSQL}, SESSION innodb_lock_wait_timeout = {seconds}, \
             SESSION lock_wait_timeout = {seconds}{MYSQL_ISOLATION}{MARIADB_EXISTS}{limits}"
        ))
    }

    /// Leaves out what the driver would set by itself, in one more round trip.
    pub(crate) fn options(&self, options: MySqlConnectOptions) -> MySqlConnectOptions {
        options
            .disable_statement_logging()
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .timezone(None)
            .set_names(false)
    }

    pub(crate) async fn apply(&self, connection: &mut MySqlConnection) -> sqlx::Result<()> {
        let done = connection.execute(AssertSqlSafe(self.0.clone())).await;
        let done = match done {
            // MariaDB 11.1 and later have the other name too, and say that this one will go.
            Err(sqlx::Error::Database(error)) if error.message().contains("tx_isolation") => {
                let newer = self.0.replace("tx_isolation", "transaction_isolation");
                connection.execute(AssertSqlSafe(newer)).await
            }
            done => done,
        };
        done.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: SessionSettings = SessionSettings {
        statement_timeout: Some(Duration::from_secs(4)),
        lock_timeout: Duration::from_millis(50),
        create_file: false,
        application_name: "kvd",
    };

    #[test]
    fn the_urls_options_come_before_kvds_so_that_those_win() {
        let url = "postgres://u@h/db?options=-c%20row_security%3Doff";
        let options = PostgresSetup::new(&SETTINGS, false).options(url.parse().unwrap());
        let options = options.get_options().unwrap();
        let (theirs, ours) = (
            options.find("row_security=off"),
            options.find("row_security=on"),
        );
        assert!(theirs.is_some() && theirs < ours, "{options}");
    }

    #[test]
    fn a_pooler_hears_of_every_variable_in_each_transaction() {
        let setup = PostgresSetup::new(&SETTINGS, true);
        let begin = setup.begin().unwrap();
        for (name, value) in &setup.variables {
            let set = format!("SET LOCAL {name} = {value}");
            assert!(begin.contains(&set) || value == "read committed", "{begin}");
        }
        let options = setup.options("postgres://u@h/db".parse().unwrap());
        assert_eq!(options.get_options(), None);
    }

    #[test]
    fn the_url_may_name_the_application() {
        let setup = PostgresSetup::new(&SETTINGS, false);
        for (url, name) in [
            ("postgres://u@h/db", "kvd"),
            ("postgres://u@h/db?application_name=blue", "blue"),
        ] {
            let options = setup.options(url.parse().unwrap());
            assert_eq!(options.get_application_name(), Some(name), "{url}");
        }
    }
}
