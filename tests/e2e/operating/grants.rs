//! The handbook's table of rights, and users with exactly these.

use std::{fs, path::Path};

use tests::{Engine, Env, process::Output};

use crate::kvctl::errors::{SECRET, with};

/// A row of the handbook's table: what it is for, and the rights for each engine.
pub(crate) struct Row {
    pub(crate) what: Vec<String>,
    rights: Vec<String>,
}

/// The rows of the table, with the rights for this engine, each on its own.
pub(crate) fn table(engine: Engine) -> Vec<Row> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating.md");
    let text = fs::read_to_string(file).expect("the handbook");
    let (_, section) = text
        .split_once("\n## Rights of the database user\n")
        .expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = |row: &str| row.split('|').map(codes).collect::<Vec<_>>();
    let row = |row: &str| {
        let mut cells = cells(&row.replace("\\|", "/"));
        let column = match engine {
            Engine::Postgres => 2,
            Engine::Mysql | Engine::Sqlite => 3,
        };
        Row {
            rights: cells[column]
                .iter()
                .flat_map(|right| single(right))
                .collect(),
            what: cells.swap_remove(1),
        }
    };
    rows.map(row).collect()
}

/// What stands between backticks.
fn codes(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// `SELECT, INSERT ON items` as two rights.
fn single(right: &str) -> Vec<String> {
    let (privileges, object) = right.split_once(" ON ").expect("privileges ON object");
    let privileges = privileges.split(", ");
    privileges
        .map(|privilege| format!("{privilege} ON {object}"))
        .collect()
}

/// The rights of one row.
fn rights(engine: Engine, what: &str) -> Vec<String> {
    let rows = table(engine);
    let row = rows
        .iter()
        .find(|row| row.what.iter().any(|named| named == what));
    row.unwrap_or_else(|| panic!("no row for {what}"))
        .rights
        .clone()
}

/// How the right is named when it is missing.
pub(crate) fn name(right: &str) -> String {
    let (privilege, object) = right.split_once(" ON ").expect("privilege ON object");
    match (privilege, object) {
        ("SELECT", table) => format!("no right to read the table {table}"),
        ("INSERT", table) => format!("no right to insert into the table {table}"),
        ("UPDATE", table) => format!("no right to update the table {table}"),
        ("DELETE", table) => format!("no right to delete from the table {table}"),
        ("USAGE", "SCHEMA public") => "no right to use the schema public".to_owned(),
        ("USAGE", sequence) => {
            let sequence = sequence.strip_prefix("SEQUENCE ").expect("a sequence");
            format!("no right to use the sequence {sequence}")
        }
        ("TEMPORARY" | "CREATE TEMPORARY TABLES", _) => {
            "no right to create temporary tables".to_owned()
        }
        ("CONNECT", _) => "no right to connect to the database".to_owned(),
        _ => panic!("{right} has no name"),
    }
}

/// A user of the test's own, without any right.
pub(crate) struct User<'a> {
    env: &'a Env,
    name: String,
}

impl<'a> User<'a> {
    pub(crate) async fn create(env: &'a Env) -> Self {
        let name = format!("user_{}", env.database().name());
        let this = Self { env, name };
        match env.engine() {
            Engine::Postgres => {
                this.run(&format!(
                    "CREATE ROLE {} LOGIN PASSWORD '{SECRET}'",
                    this.name
                ))
                .await;
                // What everybody has.
                this.run(&format!(
                    "REVOKE ALL ON DATABASE {} FROM PUBLIC",
                    env.database().name()
                ))
                .await;
                this.run("REVOKE ALL ON SCHEMA public FROM PUBLIC").await;
            }
            Engine::Mysql | Engine::Sqlite => {
                this.run(&format!(
                    "CREATE USER {} IDENTIFIED BY '{SECRET}'",
                    this.account()
                ))
                .await;
            }
        }
        this
    }

    fn account(&self) -> String {
        match self.env.engine() {
            Engine::Postgres => self.name.clone(),
            Engine::Mysql | Engine::Sqlite => format!("{}@'127.0.0.1'", self.name),
        }
    }

    pub(crate) fn url(&self) -> String {
        with(self.env.database(), |url| {
            url.set_username(&self.name).expect("a server's URL");
            url.set_password(Some(SECRET)).expect("a server's URL");
        })
    }

    async fn run(&self, sql: &str) {
        self.env.database().execute(sql).await;
    }

    /// The handbook calls the database `kvd`, and MySQL needs its name before that of a table.
    fn object(&self, object: &str) -> String {
        let database = self.env.database().name();
        match (self.env.engine(), object) {
            (_, "DATABASE kvd") => format!("DATABASE {database}"),
            (_, "kvd.*") => format!("{database}.*"),
            (Engine::Mysql, table) => format!("{database}.{table}"),
            (_, object) => object.to_owned(),
        }
    }

    async fn change(&self, rights: &[String], verb: &str, preposition: &str) {
        for right in rights {
            let (privilege, object) = right.split_once(" ON ").expect("privilege ON object");
            let (object, account) = (self.object(object), self.account());
            self.run(&format!(
                "{verb} {privilege} ON {object} {preposition} {account}"
            ))
            .await;
        }
    }

    pub(crate) async fn grant(&self, rights: &[String]) {
        self.change(rights, "GRANT", "TO").await;
    }

    pub(crate) async fn revoke(&self, rights: &[String]) {
        self.change(rights, "REVOKE", "FROM").await;
    }

    /// A role belongs to the whole server, which other databases share.
    pub(crate) async fn remove(self) {
        if self.env.engine() == Engine::Postgres {
            self.run(&format!("DROP OWNED BY {}", self.name)).await;
            self.run(&format!("DROP ROLE {}", self.name)).await;
        } else {
            self.run(&format!("DROP USER {}", self.account())).await;
        }
    }

    pub(crate) async fn kvctl(&self, words: &[&str], stdin: &str) -> Output {
        let kvctl = tests::kvctl::on(&self.url()).directory(self.env.directory());
        kvctl.args(words).stdin(stdin).await
    }
}

/// What kvd needs to be able to answer at all, and what every command needs.
pub(crate) fn with_base(engine: Engine, what: &str) -> Vec<String> {
    let mut all = rights(engine, "everything");
    all.extend(rights(engine, what));
    all
}
