//! The rights that the handbook's table lists: with exactly these everything works, and with one less the missing one
//! is named.

use std::{env, fs, path::Path};

use tests::{Answer, Client, Engine, Env, Kvd, item, load::until, process::Output};

use crate::kvctl::errors::{SECRET, with};

tests::list! {
    Only(Engine::Postgres) =>
        kvd_needs_the_rights_of_the_handbook_and_names_a_missing_one,
        each_command_needs_the_rights_of_the_handbook_and_names_a_missing_one,
        a_user_that_may_only_read_is_served_and_refused_what_it_may_not;
    Only(Engine::Mysql) =>
        kvd_needs_the_rights_of_the_handbook_and_names_a_missing_one,
        each_command_needs_the_rights_of_the_handbook_and_names_a_missing_one,
        a_user_that_may_only_read_is_served_and_refused_what_it_may_not
}

/// A row of the handbook's table: what it is for, and the rights for each engine.
struct Row {
    what: Vec<String>,
    rights: Vec<String>,
}

/// The rows of the table, with the rights for this engine, each on its own.
fn table(engine: Engine) -> Vec<Row> {
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
fn name(right: &str) -> String {
    let (privilege, object) = right.split_once(" ON ").expect("privilege ON object");
    match (privilege, object) {
        ("SELECT", table) => format!("no right to read the table {table}"),
        ("INSERT", table) => format!("no right to insert into the table {table}"),
        ("UPDATE", table) => format!("no right to update the table {table}"),
        ("DELETE", table) => format!("no right to delete from the table {table}"),
        ("USAGE", "SCHEMA public") => "no right to use the schema public".to_owned(),
        ("USAGE", "SEQUENCE items_id_seq") => {
            "no right to use the sequence items_id_seq".to_owned()
        }
        ("TEMPORARY" | "CREATE TEMPORARY TABLES", _) => {
            "no right to create temporary tables".to_owned()
        }
        ("CONNECT", _) => "no right to connect to the database".to_owned(),
        _ => panic!("{right} has no name"),
    }
}

/// A user of the test's own, without any right.
struct User<'a> {
    env: &'a Env,
    name: String,
}

impl<'a> User<'a> {
    async fn create(env: &'a Env) -> Self {
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

    fn url(&self) -> String {
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

    async fn grant(&self, rights: &[String]) {
        self.change(rights, "GRANT", "TO").await;
    }

    async fn revoke(&self, rights: &[String]) {
        self.change(rights, "REVOKE", "FROM").await;
    }

    /// A role belongs to the server, which may be somebody's own.
    async fn remove(self) {
        if self.env.engine() == Engine::Postgres {
            self.run(&format!("DROP OWNED BY {}", self.name)).await;
            self.run(&format!("DROP ROLE {}", self.name)).await;
        } else {
            self.run(&format!("DROP USER {}", self.account())).await;
        }
    }

    async fn kvctl(&self, words: &[&str], stdin: &str) -> Output {
        let kvctl = tests::kvctl::on(&self.url()).directory(self.env.directory());
        kvctl.args(words).stdin(stdin).await
    }
}

/// What kvd needs to be able to answer at all, and what every command needs.
fn with_base(engine: Engine, what: &str) -> Vec<String> {
    let mut all = rights(engine, "everything");
    all.extend(rights(engine, what));
    all
}

async fn kvd_needs_the_rights_of_the_handbook_and_names_a_missing_one(env: Env) {
    let user = User::create(&env).await;
    let all = with_base(env.engine(), "kvd");
    user.grant(&all).await;
    let kvd = env.kvd().env("DATABASE_URL", user.url()).start().await;
    kvd.ready().await;
    let _created = kvd.post("a", "1").await.expect(201);
    for left_out in &all {
        env.note(format!("without {left_out}"));
        user.revoke(std::slice::from_ref(left_out)).await;
        // A session that is open already keeps its connection.
        let end = if left_out.starts_with("CONNECT") {
            kvd_sessions_end(&env).await;
            true
        } else {
            false
        };
        let named = until_named(&kvd, &name(left_out)).await;
        assert!(named.contains(&name(left_out)), "{left_out}: {named}");
        assert_writes_refused(&kvd, left_out, end).await;
        user.grant(std::slice::from_ref(left_out)).await;
        kvd.ready().await;
    }
    let _updated = kvd.put("/items/a", "2").await.expect(200);
    let _created = kvd.put("/items/b?upsert=true", "2").await.expect(201);
    let _deleted = kvd.delete("/items/a").await.expect(204);
    let _ended = kvd.stop().await.expect(0);
    user.remove().await;
}

async fn kvd_sessions_end(env: &Env) {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = 'kvd'";
    let _ended: i64 = env.database().value(sql).await;
}

/// What `/readyz` says as soon as it names this; its answer is cached for a second.
async fn until_named(kvd: &Kvd, named: &str) -> String {
    let detail =
        |answer: &Answer| answer.problem(503, "database-unavailable")["detail"].to_string();
    let lower = |text: String| text.replacen("No right", "no right", 1);
    until("/readyz is 503", async || {
        kvd.get("/readyz").await.status == 503
    })
    .await;
    until("the right is named", async || {
        lower(detail(&kvd.get("/readyz").await)).contains(named)
            || detail(&kvd.get("/readyz").await).contains(named)
    })
    .await;
    lower(detail(&kvd.get("/readyz").await))
}

/// What needs the right is refused for good; all else is served. Nothing is 503 or 504.
async fn assert_writes_refused(kvd: &Client, left_out: &str, all: bool) {
    let refused = |call: &str| {
        all || match (
            left_out.split_once(" ON ").expect("privilege ON object"),
            call,
        ) {
            (("SELECT", "items"), _) => true,
            // The update is a part of the statement.
            (("INSERT", "items"), "POST" | "upsert") | (("UPDATE", "items"), "PUT" | "upsert") => {
                true
            }
            (("DELETE", "items"), "DELETE") => true,
            (("USAGE", "SEQUENCE items_id_seq"), "POST" | "upsert") => true,
            _ => false,
        }
    };
    // Its tables seem not to be there.
    if left_out == "USAGE ON SCHEMA public" {
        return;
    }
    let _ensured = kvd.get(&item("gone")).await;
    for (name, call) in [
        ("GET", kvd.get("/items/a")),
        ("list", kvd.get("/items/")),
        ("POST", kvd.post(&format!("new {left_out}"), "x")),
        ("PUT", kvd.put("/items/a", "x")),
        (
            "DELETE",
            kvd.delete("/items/missing").header("If-Match", "*"),
        ),
    ] {
        let answer = call.await;
        if refused(name) {
            answer.problem(500, "database-refused");
        } else {
            assert!(
                answer.status < 500,
                "{left_out}: {}: {}",
                answer.asked,
                answer.status
            );
        }
    }
}

async fn each_command_needs_the_rights_of_the_handbook_and_names_a_missing_one(env: Env) {
    let user = User::create(&env).await;
    let _put = env.kvctl(["put", "there", "1"]).await.expect(0);
    let mut commands = 0;
    for row in table(env.engine()) {
        for command in row.what.iter().filter(|what| what.starts_with("kvctl ")) {
            if command.starts_with("kvctl migrate up") {
                continue;
            }
            commands += 1;
            check_command(&env, &user, command).await;
        }
    }
    assert!(commands >= 10, "only {commands} commands in the table");
    user.remove().await;
}

/// The command with its rights, and then with one less each time.
async fn check_command(env: &Env, user: &User<'_>, command: &str) {
    let mut all = with_base(env.engine(), command);
    all.dedup();
    user.grant(&all).await;
    let words = words(command);
    let line = |key: &str| format!("{{\"key\":\"{key}\",\"value\":\"x\"}}\n");
    let key = command.replace(' ', "-");
    if command.starts_with("kvctl delete") {
        let _put = env.kvctl(["put", "victim", "1"]).await.expect(0);
    }
    let output = user.kvctl(&words, &line(&key)).await;
    assert_eq!(output.code, 0, "{command} with {all:?}: {}", output.stderr);
    if command.starts_with("kvctl delete") {
        let _put = env.kvctl(["put", "victim", "1"]).await.expect(0);
    }
    for left_out in &all {
        user.revoke(std::slice::from_ref(left_out)).await;
        let output = user.kvctl(&words, &line(&format!("{key}-again"))).await;
        let said = &output.stderr;
        assert_eq!(
            output.code,
            2,
            "{command} without {left_out}: {}{said}",
            output.text()
        );
        assert!(
            said.contains(&name(left_out)),
            "{command} without {left_out}: {said}"
        );
        assert_eq!(
            said.lines().count(),
            1,
            "{command} without {left_out}: {said}"
        );
        user.grant(std::slice::from_ref(left_out)).await;
    }
    user.revoke(&all).await;
}

/// The arguments of a command of the table, so that it does all it can.
fn words(command: &str) -> Vec<&str> {
    let mut words: Vec<&str> = command.split(' ').skip(1).collect();
    match words[0] {
        "get" => words.push("there"),
        "put" => words.extend(["made", "x"]),
        "delete" => words.push("victim"),
        "seed" => words.extend(["--count", "1"]),
        "import" => words.insert(1, "-"),
        _ => {}
    }
    words
}

async fn a_user_that_may_only_read_is_served_and_refused_what_it_may_not(env: Env) {
    let user = User::create(&env).await;
    user.grant(&with_base(env.engine(), "kvctl get")).await;
    let _put = env.kvctl(["put", "a", "1"]).await.expect(0);
    let kvd = env.kvd().env("DATABASE_URL", user.url()).start().await;
    kvd.ready().await;
    assert_eq!(kvd.get("/items/a").await.expect(200).member("value"), "1");
    let _page = kvd.get("/items/").await.expect(200);
    for write in [
        kvd.post("b", "x"),
        kvd.put("/items/a", "x"),
        kvd.delete("/items/a"),
    ] {
        write.await.problem(500, "database-refused");
    }
    let _ended = kvd.stop().await.expect(0);
    user.remove().await;
}
