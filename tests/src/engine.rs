//! Which engines are tested, and on whose servers: the only place that reads the suite's environment.
//!
//! | variable | meaning |
//! |---|---|
//! | `KVD_TEST_ENGINES` | the engines to test, separated by commas; default: all of them |
//! | `KVD_TEST_POSTGRES_URL` | a server of one's own instead of a private one; its user must be able to create databases |
//! | `KVD_TEST_MYSQL_URL` | the same for MySQL and MariaDB |

use std::env;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Postgres,
    /// MySQL and MariaDB: one protocol, one URL scheme.
    Mysql,
    Sqlite,
}

/// One engine to test.
#[derive(Clone, Debug)]
pub struct Choice {
    pub engine: Engine,
    /// The first part of the tests' names.
    pub name: &'static str,
    /// A server of one's own; `None`: a private one is started.
    pub url: Option<String>,
}

/// All engines, chosen and left out.
pub struct Choices {
    pub chosen: Vec<Choice>,
    pub left_out: Vec<&'static str>,
}

impl Choices {
    /// Reads the environment.
    ///
    /// # Errors
    ///
    /// One line for a person that has set a variable wrong.
    pub fn from_env() -> Result<Self, String> {
        let names = variable("KVD_TEST_ENGINES").unwrap_or_default();
        Self::new(
            &names,
            variable("KVD_TEST_POSTGRES_URL"),
            variable("KVD_TEST_MYSQL_URL"),
        )
    }

    fn new(names: &str, postgres: Option<String>, mysql: Option<String>) -> Result<Self, String> {
        let mysql_name = if mysql.is_some() { "mysql" } else { "mariadb" };
        let known = [
            (Engine::Postgres, "postgres", postgres),
            (Engine::Mysql, mysql_name, mysql),
            (Engine::Sqlite, "sqlite", None),
        ];
        let wanted = parse(names)?;
        let (mut chosen, mut left_out) = (Vec::new(), Vec::new());
        for (engine, name, url) in known {
            if wanted.is_empty() || wanted.contains(&engine) {
                chosen.push(Choice { engine, name, url });
            } else {
                left_out.push(name);
            }
        }
        Ok(Self { chosen, left_out })
    }
}

fn parse(names: &str) -> Result<Vec<Engine>, String> {
    names
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(|name| match name {
            "postgres" => Ok(Engine::Postgres),
            "mariadb" | "mysql" => Ok(Engine::Mysql),
            "sqlite" => Ok(Engine::Sqlite),
            _ => Err(format!(
                "KVD_TEST_ENGINES: unknown engine '{name}'; known are postgres, mariadb (or mysql), sqlite"
            )),
        })
        .collect()
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_engines_are_tested_unless_left_out_by_name() {
        let all = Choices::new("", None, None).unwrap();
        assert_eq!(all.chosen.len(), 3);
        assert!(all.left_out.is_empty());

        let one = Choices::new(" sqlite,", None, None).unwrap();
        assert_eq!(one.chosen.len(), 1);
        assert_eq!(one.left_out, ["postgres", "mariadb"]);
    }

    #[test]
    fn a_misspelt_engine_is_an_error_and_not_an_empty_run() {
        assert!(Choices::new("postgers", None, None).is_err());
    }
}
