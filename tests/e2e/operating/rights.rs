//! The rights that the handbook's table lists: with exactly these everything works, and with one less the missing one
//! is named.

use std::slice;

use tests::{Client, Engine, Env, Kvd, item, load::until, process::Output, token::made_up};

use crate::{
    kvctl::import::{OVERWRITE, lines, said},
    operating::grants::{User, name, table, with_base},
};

tests::list! {
    Only(Engine::Postgres) =>
        kvd_needs_the_rights_of_the_handbook_and_names_a_missing_one,
        with_tokens_kvd_needs_to_read_them,
        each_command_needs_the_rights_of_the_handbook_and_names_a_missing_one,
        a_migration_needs_the_rights_of_the_handbook,
        a_user_that_may_only_read_is_served_and_refused_what_it_may_not,
        rights_on_columns_are_enough,
        an_index_of_ones_own_is_taken_for_no_sequence;
    Only(Engine::Mysql) =>
        kvd_needs_the_rights_of_the_handbook_and_names_a_missing_one,
        with_tokens_kvd_needs_to_read_them,
        each_command_needs_the_rights_of_the_handbook_and_names_a_missing_one,
        a_migration_needs_the_rights_of_the_handbook,
        a_user_that_may_only_read_is_served_and_refused_what_it_may_not
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
        user.revoke(slice::from_ref(left_out)).await;
        if left_out.starts_with("CONNECT") {
            // A session that is open already stays.
            end_sessions(&env).await;
        }
        until_named(&kvd, &name(left_out)).await;
        // Something to delete.
        let _put = env.kvctl(["put", left_out, "x"]).await.expect(0);
        assert_refused(&kvd, left_out).await;
        user.grant(slice::from_ref(left_out)).await;
        kvd.ready().await;
    }
    let _updated = kvd.put("/items/a", "2").await.expect(200);
    let _created = kvd.put("/items/b?upsert=true", "2").await.expect(201);
    let _deleted = kvd.delete("/items/a").await.expect(204);
    let _ended = kvd.stop().await.expect(0);
    user.remove().await;
}

async fn with_tokens_kvd_needs_to_read_them(env: Env) {
    const RIGHT: &str = "SELECT ON kvd_tokens";
    let user = User::create(&env).await;
    let all = with_base(env.engine(), "AUTH=tokens");
    let mut without = with_base(env.engine(), "kvd");
    without.push(RIGHT.to_owned());
    assert_eq!(all, without, "one right more than without");
    user.grant(&all).await;
    let start = || env.kvd().env("DATABASE_URL", user.url());
    let (kvd, off) = (
        start().env("AUTH", "tokens").start().await,
        start().start().await,
    );
    let token = env.token(["app", "--write", ""]).await;
    kvd.ready().await;
    let _created = kvd.with_token(&token).post("a", "1").await.expect(201);
    user.revoke(&[RIGHT.to_owned()]).await;
    until_named(&kvd, &name(RIGHT)).await;
    let stranger = kvd.with_token(&made_up()).get("/items/a").await;
    stranger.problem(500, "database-refused");
    off.ready().await;
    let _read = off.get("/items/a").await.expect(200);
    user.grant(&[RIGHT.to_owned()]).await;
    kvd.ready().await;
    let _read = kvd.with_token(&token).get("/items/a").await.expect(200);
    for kvd in [kvd, off] {
        let _ended = kvd.stop().await.expect(0);
    }
    user.remove().await;
}

async fn an_index_of_ones_own_is_taken_for_no_sequence(env: Env) {
    for table in ["items", "kvd_tokens"] {
        let index = format!("CREATE INDEX ON {table} (created_at)");
        env.database().execute(&index).await;
    }
    let kvd = env.kvd().env("AUTH", "tokens").start().await;
    kvd.ready().await;
    let _counted = env.kvctl(["count"]).await.expect(0);
}

async fn end_sessions(env: &Env) {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = 'kvd'";
    let _ended: i64 = env.database().value(sql).await;
}

/// `/readyz` names the right as soon as its last answer, which is kept for a second, is over.
async fn until_named(kvd: &Kvd, named: &str) {
    until("the missing right is named", async || {
        let answer = kvd.get("/readyz").await;
        answer.status == 503 && answer.member("detail").to_lowercase().contains(named)
    })
    .await;
    let answer = kvd.get("/readyz").await;
    let problem = answer.problem(503, "database-unavailable");
    let detail = problem["detail"].as_str().expect("a detail").to_lowercase();
    assert_eq!(detail.matches("no right").count(), 1, "{detail}");
}

/// What needs the right is refused for good, and all else is served.
async fn assert_refused(kvd: &Client, left_out: &str) {
    let refused: &[&str] = match left_out {
        // The tables seem not to be there.
        "USAGE ON SCHEMA public" => return,
        "CONNECT ON DATABASE kvd" | "SELECT ON items" => {
            &["GET", "list", "POST", "PUT", "upsert", "DELETE"]
        }
        "INSERT ON items" | "USAGE ON SEQUENCE items_id_seq" => &["POST", "upsert"],
        "UPDATE ON items" => &["PUT"],
        "DELETE ON items" => &["DELETE"],
        _ => &[],
    };
    let upserted = item(&format!("upserted {left_out}"));
    for (name, call) in [
        ("GET", kvd.get("/items/a")),
        ("list", kvd.get("/items/")),
        ("POST", kvd.post(&format!("made {left_out}"), "x")),
        ("PUT", kvd.put("/items/a", "x")),
        ("upsert", kvd.put(&format!("{upserted}?upsert=true"), "x")),
        ("DELETE", kvd.delete(&item(left_out))),
    ] {
        let answer = call.await;
        if refused.contains(&name) {
            let _problem = answer.problem(500, "database-refused");
        } else if name != "upsert" {
            assert!(
                answer.status < 300,
                "without {left_out}: {}: {}",
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
        let commands_of = row.what.iter().filter(|what| what.starts_with("kvctl "));
        for command in commands_of.filter(|what| *what != "kvctl migrate") {
            commands += 1;
            check_command(&env, &user, command).await;
        }
    }
    assert!(commands >= 10, "only {commands} commands in the table");
    user.remove().await;
}

/// The command with its rights, and then with one less each time.
async fn check_command(env: &Env, user: &User<'_>, command: &str) {
    let all = with_base(env.engine(), command);
    user.grant(&all).await;
    let words = words(command);
    let line = |key: &str| format!("{{\"key\":\"{key}\",\"value\":\"x\"}}\n");
    let key = command.replace(' ', "-");
    prepare(env, "").await;
    let output = user.kvctl(&words, &line(&key)).await;
    assert_eq!(output.code, 0, "{command} with {all:?}: {}", output.stderr);
    for left_out in &all {
        user.revoke(slice::from_ref(left_out)).await;
        prepare(env, left_out).await;
        // An import looks at the table only if a key exists.
        let imported = match left_out.as_str() {
            "SELECT ON items" => "there".to_owned(),
            _ => format!("{key}-again"),
        };
        let output = user.kvctl(&words, &line(&imported)).await;
        // Without any right left, a user of MySQL or MariaDB is not let in.
        let named = match all.len() {
            1 => name("CONNECT ON DATABASE kvd"),
            _ => name(left_out),
        };
        assert_named(&output, &named, &format!("{command} without {left_out}"));
        // That has no right to the table of the items at all, and says so too.
        if command != "kvctl migrate status" {
            let said = &output.stderr;
            let rights = said.matches("no right").count();
            assert_eq!(rights, 1, "{command} without {left_out}: {said}");
        }
        user.grant(slice::from_ref(left_out)).await;
    }
    user.revoke(&all).await;
}

/// One line names the right, apart from the one that says that a run is dry.
fn assert_named(output: &Output, named: &str, done: &str) {
    let said = &output.stderr;
    assert_eq!(output.code, 2, "{done}: {}{said}", output.text());
    assert!(said.contains(named), "{done}: {said}");
    let note = "kvctl: dry run: nothing is written";
    let lines = said.lines().filter(|line| *line != note).count();
    assert_eq!(lines, 1, "{done}: {said}");
}

/// What is there before a command: the item that `delete` takes, and the one that `put` updates. Without the right
/// to insert there is none, so that `put` has to.
async fn prepare(env: &Env, left_out: &str) {
    let _put = env.kvctl(["put", "victim", "1"]).await.expect(0);
    let _made = match left_out {
        "INSERT ON items" => env.kvctl(["delete", "--ignore-missing", "made"]).await,
        _ => env.kvctl(["put", "made", "1"]).await,
    }
    .expect(0);
    // Of the tokens `made` is not live, and the other two are.
    let _revoked = env.kvctl(["token", "revoke", "made"]).await;
    for name in ["victim", "turned"] {
        let _perhaps_there = env.kvctl(["token", "create", name, "--read", ""]).await;
    }
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
        "token" => match words[1] {
            "create" => words.extend(["made", "--read", ""]),
            "revoke" => words.push("victim"),
            "rotate" => words.push("turned"),
            _ => {}
        },
        _ => {}
    }
    words
}

async fn a_migration_needs_the_rights_of_the_handbook(env: Env) {
    let _reverted = env
        .kvctl(["migrate", "down", "--steps", "99"])
        .await
        .expect(0);
    env.database().execute("DROP TABLE kvd_migrations").await;
    let user = User::create(&env).await;
    let mut all = with_base(env.engine(), "kvctl migrate");
    all.retain(|right| right != "SELECT ON kvd_migrations");
    user.grant(&all).await;
    for words in [
        &["migrate"][..],
        &["migrate", "status"],
        &["migrate", "fresh", "--yes"],
        &["migrate", "down", "--steps", "99"],
    ] {
        let _done = user.kvctl(words, "").await.expect(0);
    }
    env.database().execute("DROP TABLE kvd_migrations").await;
    let create = all.iter().find(|right| right.starts_with("CREATE ON"));
    user.revoke(slice::from_ref(create.expect("the right to create")))
        .await;
    let refused = user.kvctl(&["migrate"], "").await.expect(2);
    assert!(
        refused.stderr.contains("lacks a right"),
        "{}",
        refused.stderr
    );
    user.remove().await;
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
        let _problem = write.await.problem(500, "database-refused");
    }
    let _ended = kvd.stop().await.expect(0);
    user.remove().await;
}

async fn rights_on_columns_are_enough(env: Env) {
    let user = User::create(&env).await;
    let mut all = with_base(env.engine(), "kvctl import --on-conflict overwrite");
    all.retain(|right| !right.ends_with(" ON items"));
    let of_columns = [
        "SELECT (id, key, value, version, created_at, updated_at, expires_at) ON items",
        "INSERT (key, value, expires_at) ON items",
        "UPDATE (id, value, version, created_at, updated_at, expires_at) ON items",
        "DELETE ON items",
    ];
    all.extend(of_columns.map(str::to_owned));
    user.grant(&all).await;
    let kvd = env.kvd().env("DATABASE_URL", user.url()).start().await;
    kvd.ready().await;
    let _created = kvd.post("a", "1").await.expect(201);
    let _updated = kvd.put("/items/a", "2").await.expect(200);
    let _updated = kvd.put("/items/a?upsert=true", "3").await.expect(200);
    let _created = kvd.put("/items/b?upsert=true", "1").await.expect(201);
    let _deleted = kvd.delete("/items/b").await.expect(204);
    for _ in ["created", "updated"] {
        let _put = user.kvctl(&["put", "c", "1"], "").await.expect(0);
    }
    let items = lines([("c", "2"), ("d", "1")]);
    let words = [&["import", "-"], OVERWRITE].concat();
    let imported = user.kvctl(&words, &items).await.expect(0);
    assert_eq!(imported.text(), said(1, 1, 0));
    let _deleted = user.kvctl(&["delete", "d"], "").await.expect(0);
    let _ended = kvd.stop().await.expect(0);
    user.remove().await;
}
