//! What other software has added to the table `items`: rules, policies, indexes, ids, and triggers of all kinds.

use tests::{Client, Engine, Env, load::together};

use crate::{
    http::refused::{assert_database_refused, assert_unchanged, postgres_trigger, start},
    kvctl::errors::with,
};

tests::list! {
    Only(Engine::Postgres) =>
        a_row_that_a_rule_keeps_back_is_database_refused,
        a_row_that_a_policy_hides_or_keeps_back_is_database_refused,
        a_row_that_a_trigger_stores_under_another_key_is_database_refused,
        an_update_of_which_a_trigger_keeps_the_version_is_no_creation,
        a_creation_is_one_whatever_version_and_times_a_trigger_sets,
        what_a_trigger_raises_means_what_it_says,
        a_trigger_that_names_what_is_not_there_is_no_missing_migration,
        a_duplicate_of_another_column_is_no_conflict_of_keys,
        a_sequence_that_is_behind_is_drawn_from_until_it_is_not;
    Only(Engine::Mysql) =>
        a_row_that_a_trigger_stores_under_another_key_is_database_refused,
        an_update_of_which_a_trigger_keeps_the_version_is_no_creation,
        what_a_trigger_signals_is_a_refusal_whatever_its_number,
        a_trigger_that_names_what_is_not_there_is_no_missing_migration,
        a_duplicate_of_another_column_is_no_conflict_of_keys;
    Only(Engine::Sqlite) =>
        a_trigger_that_names_what_is_not_there_is_no_missing_migration,
        a_duplicate_of_another_column_is_no_conflict_of_keys
}

async fn a_row_that_a_rule_keeps_back_is_database_refused(env: Env) {
    let kvd = start(&env).await;
    for event in ["UPDATE", "DELETE", "INSERT"] {
        let rule = format!("CREATE RULE keep AS ON {event} TO items DO INSTEAD NOTHING");
        env.database().execute(&rule).await;
        let writes = match event {
            "UPDATE" => vec![kvd.put("/items/no", "x")],
            "DELETE" => vec![kvd.delete("/items/no")],
            _ => vec![kvd.post("new", "x"), kvd.put("/items/new?upsert=true", "x")],
        };
        for write in writes {
            assert_database_refused(&write.await);
        }
        env.database().execute("DROP RULE keep ON items").await;
    }
    assert_unchanged(&env, "no").await;
}

async fn a_row_that_a_policy_hides_or_keeps_back_is_database_refused(env: Env) {
    let database = env.database();
    let role = format!("policed_{}", database.name());
    let sql = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'policed'; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON items TO {role}; \
         GRANT USAGE ON SEQUENCE items_id_seq TO {role}; GRANT SELECT ON kvd_migrations TO {role}; \
         ALTER TABLE items ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY sees ON items FOR SELECT USING (key NOT LIKE 'hidden%'); \
         CREATE POLICY makes ON items FOR INSERT WITH CHECK (key NOT LIKE 'kept%'); \
         CREATE POLICY changes ON items FOR UPDATE USING (key NOT LIKE 'no%'); \
         CREATE POLICY removes ON items FOR DELETE USING (key NOT LIKE 'no%'); \
         INSERT INTO items (key, value) VALUES ('no', 'old-no'), ('hidden', 'theirs')"
    );
    database.execute(&sql).await;
    let url = with(database, |url| {
        url.set_username(&role).expect("a server's URL");
        url.set_password(Some("policed")).expect("a server's URL");
    });
    let kvd = env.kvd().env("DATABASE_URL", url).start().await;
    for write in [
        kvd.put("/items/no", "x"),
        kvd.delete("/items/no"),
        kvd.post("kept", "x"),
        kvd.put("/items/kept?upsert=true", "x"),
        kvd.post("hidden", "x"),
        kvd.put("/items/hidden?upsert=true", "x"),
    ] {
        let answer = write.await;
        assert_database_refused(&answer);
        let detail = answer.member("detail");
        assert!(!detail.contains("right"), "{}: {detail}", answer.asked);
    }
    let _hidden = kvd.get("/items/hidden").await.expect(404);
    let _stored = kvd.post("yes", "x").await.expect(201);
    let _ended = kvd.stop().await.expect(0);
    let drop = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    database.execute(&drop).await;
}

async fn a_row_that_a_trigger_stores_under_another_key_is_database_refused(env: Env) {
    let kvd = start(&env).await;
    match env.engine() {
        Engine::Postgres => postgres_trigger(&env, "NEW.key := lower(NEW.key);").await,
        Engine::Mysql | Engine::Sqlite => {
            let sql = "CREATE TRIGGER lowers BEFORE INSERT ON items FOR EACH ROW \
                       SET NEW.`key` = lower(NEW.`key`)";
            env.database().execute(sql).await;
        }
    }
    assert_database_refused(&kvd.post("A", "x").await);
    assert_database_refused(&kvd.put("/items/A?upsert=true", "x").await);
    let answers = together(32, |n| {
        let (client, key) = (Client::clone(&kvd), format!("{}-{n}", ["k", "K"][n % 2]));
        async move { (n, client.post(&key, "x").await) }
    });
    for (n, answer) in answers.await {
        match n % 2 {
            0 => drop(answer.expect(201)),
            _ => assert_database_refused(&answer),
        }
    }
    let stored: i64 = env.database().value("SELECT count(*) FROM items").await;
    assert_eq!(stored, 1 + 16, "and nothing under another key");
}

/// Has a trigger give every updated item the version that it had.
pub(crate) async fn keep_versions(env: &Env) {
    match env.engine() {
        Engine::Postgres => {
            let keep = "IF TG_OP = 'UPDATE' THEN NEW.version := OLD.version; END IF;";
            postgres_trigger(env, keep).await;
        }
        Engine::Mysql | Engine::Sqlite => {
            let sql = "CREATE TRIGGER keeps BEFORE UPDATE ON items FOR EACH ROW SET NEW.version = OLD.version";
            env.database().execute(sql).await;
        }
    }
}

async fn an_update_of_which_a_trigger_keeps_the_version_is_no_creation(env: Env) {
    let kvd = start(&env).await;
    keep_versions(&env).await;
    let _updated = kvd.put("/items/no", "1").await.expect(200);
    let _updated = kvd.put("/items/no?upsert=true", "2").await.expect(200);
    let _created = kvd.put("/items/new?upsert=true", "2").await.expect(201);
    // One that is refused has all that were sent with it sent again, each alone.
    let constraint = "ALTER TABLE items ADD CONSTRAINT secret_rule CHECK (value <> 'bad')";
    env.database().execute(constraint).await;
    let answers = together(48, |n| {
        let client = Client::clone(&kvd);
        let (key, value) = [("no", "3"), ("more", "3"), ("more", "bad")][n % 3];
        let path = match key {
            "no" => "/items/no?upsert=true".to_owned(),
            more => format!("/items/{more}-{n}?upsert=true"),
        };
        async move { (n, client.put(&path, value).await) }
    });
    for (n, answer) in answers.await {
        assert_eq!(answer.status, [200, 201, 500][n % 3], "{}", answer.asked);
    }
}

async fn a_creation_is_one_whatever_version_and_times_a_trigger_sets(env: Env) {
    let kvd = start(&env).await;
    let set =
        "IF TG_OP <> 'DELETE' THEN NEW.updated_at := clock_timestamp(); NEW.version := 7; END IF;";
    postgres_trigger(&env, set).await;
    let _created = kvd.put("/items/new?upsert=true", "1").await.expect(201);
    let _updated = kvd.put("/items/new?upsert=true", "2").await.expect(200);
    let file = env.directory().join("two.ndjson");
    let lines = "{\"key\":\"new\",\"value\":\"3\"}\n{\"key\":\"newer\",\"value\":\"3\"}\n";
    std::fs::write(&file, lines).expect("written");
    let import = ["import", "two.ndjson", "--on-conflict", "overwrite"];
    let imported = env.kvctl(import).await.expect(0);
    let said = format!("{}{}", imported.text(), imported.stderr);
    assert!(said.contains("created 1, updated 1"), "{said}");
}

async fn what_a_trigger_raises_means_what_it_says(env: Env) {
    let kvd = start(&env).await;
    // Missing tables, duplicates and rights of other tables are not kvd's, nor is the end of a connection that a
    // function tells of; a deadlock, or a full disk, may pass.
    for (status, code, all_raised) in [
        (
            500,
            "database-refused",
            &[
                "P0001", "23514", "23505", "42P01", "42703", "42501", "ZZ123", "57P01", "57P02",
                "57P05", "08006", "08007", "08P01", "40003", "25P03", "53300", "57P03", "25006",
            ][..],
        ),
        (
            503,
            "database-unavailable",
            &["40001", "40P01", "57014", "53100"],
        ),
    ] {
        for raised in all_raised {
            raise(&env, raised).await;
            for write in [
                kvd.post("no-new", "x"),
                kvd.put("/items/no", "x"),
                kvd.put("/items/no-new?upsert=true", "x"),
                kvd.delete("/items/no"),
            ] {
                let asked = write.asked().to_owned();
                let answer = write.await;
                assert_eq!(answer.status, status, "{raised}: {asked}");
                let _problem = answer.problem(status, code);
            }
            assert_neighbours_stored(&kvd, raised, status).await;
        }
    }
    // It is tried again as long as a locked key is.
    raise(&env, "55P03").await;
    assert_neighbours_stored(&kvd, "55P03", 503).await;
    assert_unchanged(&env, "no").await;
}

/// Has a trigger raise this code for each key that begins with `no`.
async fn raise(env: &Env, code: &str) {
    let raise = format!(
        "IF coalesce(NEW.key, OLD.key) LIKE 'no%' THEN \
         RAISE EXCEPTION 'secret text' USING ERRCODE = '{code}'; END IF;"
    );
    postgres_trigger(env, &raise).await;
}

/// The numbers are those of a deadlock, a lock, a read-only server, a lost connection and a missing column.
async fn what_a_trigger_signals_is_a_refusal_whatever_its_number(env: Env) {
    let kvd = start(&env).await;
    for number in [1213, 1205, 1290, 1317, 1927, 2013, 1040, 1054, 1062, 1142] {
        let signal = format!(
            "IF NEW.`key` LIKE 'no%' THEN SIGNAL SQLSTATE '45000' \
             SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'secret text'; END IF"
        );
        before(&env, "INSERT", &signal).await;
        assert_database_refused(&kvd.post("no-new", "x").await);
        assert_database_refused(&kvd.put("/items/no-new?upsert=true", "x").await);
        assert_neighbours_stored(&kvd, &number.to_string(), 500).await;
    }
}

/// The table of the trigger has not the columns that the trigger names, or is not there at all.
async fn a_trigger_that_names_what_is_not_there_is_no_missing_migration(env: Env) {
    let kvd = start(&env).await;
    env.database().execute("CREATE TABLE audit (a INT)").await;
    // Elsewhere a column of a name of ours is taken for ours.
    let columns = match env.engine() {
        Engine::Postgres => &["nope", "value", "version"][..],
        Engine::Mysql | Engine::Sqlite => &["nope"],
    };
    let of_columns = columns.iter().flat_map(|column| {
        [
            format!("INSERT INTO audit ({column}) VALUES (1)"),
            format!("UPDATE audit SET {column} = 2"),
            format!("DELETE FROM audit WHERE {column} = 'x'"),
        ]
    });
    for does in of_columns.chain(["INSERT INTO absent VALUES (1)".to_owned()]) {
        for event in ["INSERT", "UPDATE", "DELETE"] {
            before(&env, event, &does).await;
        }
        for write in [
            kvd.post("new", "x"),
            kvd.put("/items/no", "x"),
            kvd.put("/items/no?upsert=true", "x"),
            kvd.put("/items/new?upsert=true", "x"),
            kvd.delete("/items/no"),
        ] {
            env.note(format!("{does}: {}", write.asked()));
            assert_database_refused(&write.await);
        }
    }
    assert_unchanged(&env, "no").await;
}

/// Has a trigger do this before each write of this kind.
async fn before(env: &Env, event: &str, does: &str) {
    let body = match env.engine() {
        Engine::Postgres => return postgres_trigger(env, &format!("{does};")).await,
        Engine::Mysql => format!("FOR EACH ROW {does}"),
        Engine::Sqlite => format!("BEGIN {does}; END"),
    };
    // As one text, since SQLite's driver keeps a `DROP` of its own that found nothing as one that does nothing.
    let sql = format!(
        "DROP TRIGGER IF EXISTS before_{event}; CREATE TRIGGER before_{event} BEFORE {event} ON items {body}"
    );
    env.database().execute(&sql).await;
}

/// Of many writes at once, half are refused with this status, and all others are done.
async fn assert_neighbours_stored(kvd: &Client, raised: &str, status: u16) {
    let answers = together(16, |n| {
        let key = format!("{}-{raised}-{n}", ["yes", "no"][n % 2]);
        let client = Client::clone(kvd);
        async move { (n, client.post(&key, "x").await) }
    });
    for (n, answer) in answers.await {
        let expected = if n % 2 == 0 { 201 } else { status };
        assert_eq!(answer.status, expected, "{raised}: {}", answer.asked);
    }
}

async fn a_duplicate_of_another_column_is_no_conflict_of_keys(env: Env) {
    let kvd = start(&env).await;
    let sql = match env.engine() {
        Engine::Mysql => "CREATE UNIQUE INDEX secret_index ON items (value(50))",
        Engine::Postgres | Engine::Sqlite => "CREATE UNIQUE INDEX secret_index ON items (value)",
    };
    env.database().execute(sql).await;
    assert_database_refused(&kvd.post("new", "old-no").await);
    assert_database_refused(&kvd.put("/items/new?upsert=true", "old-no").await);
    kvd.post("no", "old-no").await.problem(409, "key-exists");
    let _stored = kvd.post("new", "other").await.expect(201);
    assert_database_refused(&kvd.put("/items/new", "old-no").await);
    assert_database_refused(&kvd.put("/items/new?upsert=true", "old-no").await);
}

/// Other software may have chosen ids itself.
async fn a_sequence_that_is_behind_is_drawn_from_until_it_is_not(env: Env) {
    let kvd = env.start().await;
    let sql = "INSERT INTO items (id, key, value) SELECT n, 'theirs-' || n, '' FROM generate_series(1, 20) n";
    env.database().execute(sql).await;
    let _created = kvd.post("ours", "x").await.expect(201);
}
