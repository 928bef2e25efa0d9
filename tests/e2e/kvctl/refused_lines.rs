//! Which line of an import `kvctl` names, in whichever way the database refuses it, and that nothing else than the
//! lines is ever stored.

use tests::{Engine, Env};

use crate::{
    http::{foreign_rules::keep_versions, refused::postgres_trigger},
    kvctl::{
        errors::assert_told,
        import::{ERROR, OVERWRITE, SKIP, count, get, import, lines, numbered, said},
    },
    operating::grants::{User, with_base},
};

tests::list! {
    EveryEngine =>
        an_import_names_the_line_that_is_a_duplicate_in_another_index,
        an_import_names_the_second_of_two_lines_that_another_index_keeps_apart;
    Only(Engine::Postgres) =>
        whatever_a_trigger_raises_the_line_is_named,
        a_line_that_a_policy_refuses_is_named_and_no_right_is_missing,
        a_right_that_an_import_does_not_need_is_not_what_it_lacks,
        a_sequence_that_is_behind_is_said_to_be_and_no_line_is_blamed,
        an_update_of_which_a_trigger_keeps_the_version_is_counted_as_one;
    Only(Engine::Mysql) =>
        whatever_a_trigger_raises_the_line_is_named,
        what_a_trigger_makes_null_is_refused_and_not_stored_as_an_empty_value,
        an_update_of_which_a_trigger_keeps_the_version_is_counted_as_one;
    Only(Engine::Sqlite) =>
        in_whichever_way_a_trigger_raises_the_line_is_named
}

const NOTHING: &str = "nothing was written";

async fn unique_values(env: &Env) {
    let column = match env.engine() {
        Engine::Mysql => "value(50)",
        Engine::Postgres | Engine::Sqlite => "value",
    };
    let sql = format!("CREATE UNIQUE INDEX other_index ON items ({column})");
    env.database().execute(&sql).await;
}

async fn an_import_names_the_line_that_is_a_duplicate_in_another_index(env: Env) {
    let _put = env.kvctl(["put", "there", "taken"]).await.expect(0);
    unique_values(&env).await;
    let new = [("z", "1"), ("m", "taken"), ("a", "2")];
    for flags in [ERROR, SKIP, OVERWRITE] {
        let output = import(&env, flags, lines(new)).await;
        assert_told(output, 2, &["line 2", "\"m\"", NOTHING]);
    }
    let _put = env.kvctl(["put", "m", "old"]).await.expect(0);
    let output = import(&env, OVERWRITE, lines(new)).await;
    assert_told(output, 2, &["line 2", "\"m\"", NOTHING]);
    let _deleted = env.kvctl(["delete", "m"]).await.expect(0);
    // A key that exists is told as such.
    let exists = import(&env, ERROR, lines([("m", "1"), ("there", "2")])).await;
    assert_told(exists, 1, &["line 2", "\"there\"", "exists already"]);
    assert_eq!(
        (count(&env).await, get(&env, "there").await),
        (1, "taken".into())
    );
}

async fn an_import_names_the_second_of_two_lines_that_another_index_keeps_apart(env: Env) {
    unique_values(&env).await;
    // The first of the two is merged long before the second.
    let own = (0..6_000).map(|n| (format!("k{n:05}"), n.to_string()));
    let text = lines(own.chain([("k05500-same".to_owned(), "7".to_owned())]));
    for flags in [ERROR, SKIP, OVERWRITE] {
        let output = import(&env, flags, text.as_str()).await;
        assert_told(output, 2, &["line 6001", "\"k05500-same\"", NOTHING]);
    }
    assert_eq!(count(&env).await, 0);
}

/// Has a trigger raise this when the row of this key is written.
async fn raise(env: &Env, key: &str, raised: &str) {
    if env.engine() == Engine::Postgres {
        let raise = format!(
            "IF NEW.key = '{key}' THEN RAISE EXCEPTION 'their text' USING ERRCODE = '{raised}'; END IF;"
        );
        return postgres_trigger(env, &raise).await;
    }
    for event in ["INSERT", "UPDATE"] {
        let drop = format!("DROP TRIGGER IF EXISTS no_{event}");
        env.database().execute(&drop).await;
        let sql = format!(
            "CREATE TRIGGER no_{event} BEFORE {event} ON items FOR EACH ROW IF NEW.`key` = '{key}' \
             THEN SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {raised}, MESSAGE_TEXT = 'their text'; END IF"
        );
        env.database().execute(&sql).await;
    }
}

async fn whatever_a_trigger_raises_the_line_is_named(env: Env) {
    let raised: &[&str] = match env.engine() {
        Engine::Postgres => &["P0001", "23505", "42501", "40001", "57014"],
        Engine::Mysql | Engine::Sqlite => &["1644", "1062", "1142", "1213", "1317"],
    };
    let text = [numbered((0..600).rev(), "new"), lines([("z", "last")])].concat();
    for raised in raised {
        raise(&env, "k00550", raised).await;
        for flags in [ERROR, SKIP, OVERWRITE] {
            env.note(format!("{raised} {flags:?}"));
            let output = import(&env, flags, text.as_str()).await;
            let named = &["line 50", "\"k00550\"", "their text", NOTHING];
            assert_told(output, 2, named);
        }
    }
    raise(&env, "seed-000007", "40001").await;
    let seeded = env.kvctl(["seed"]).await;
    assert_told(seeded, 2, &["line 7", "\"seed-000007\"", NOTHING]);
    assert_eq!(count(&env).await, 0);
}

/// A user with the rights of this command.
async fn user_of<'a>(env: &'a Env, command: &str) -> User<'a> {
    let user = User::create(env).await;
    user.grant(&with_base(env.engine(), command)).await;
    user
}

async fn a_line_that_a_policy_refuses_is_named_and_no_right_is_missing(env: Env) {
    let user = user_of(&env, "kvctl import --on-conflict overwrite").await;
    let sql = "ALTER TABLE items ENABLE ROW LEVEL SECURITY; \
               CREATE POLICY sees ON items FOR SELECT USING (true); \
               CREATE POLICY makes ON items FOR INSERT WITH CHECK (key <> 'no'); \
               CREATE POLICY changes ON items FOR UPDATE USING (true) WITH CHECK (value <> 'bad')";
    env.database().execute(sql).await;
    let items = lines([("z", "1"), ("no", "1"), ("a", "1")]);
    for flags in [ERROR, SKIP, OVERWRITE] {
        let words = [&["import", "-"], flags].concat();
        let output = user.kvctl(&words, &items).await;
        assert!(!output.stderr.contains("right"), "{}", output.stderr);
        assert_told(output, 2, &["line 2", "\"no\"", "policy", NOTHING]);
    }
    let put = user.kvctl(&["put", "no", "1"], "").await;
    assert!(!put.stderr.contains("right"), "{}", put.stderr);
    assert_told(put, 2, &["policy", NOTHING]);
    let _put = env.kvctl(["put", "m", "old"]).await.expect(0);
    let items = lines([("z", "1"), ("a", "1"), ("m", "bad")]);
    let words = [&["import", "-"], OVERWRITE].concat();
    let output = user.kvctl(&words, &items).await;
    assert_told(output, 2, &["line 3", "\"m\"", "policy", NOTHING]);
    assert_eq!((count(&env).await, get(&env, "m").await), (1, "old".into()));
    user.remove().await;
}

async fn a_right_that_an_import_does_not_need_is_not_what_it_lacks(env: Env) {
    let user = user_of(&env, "kvctl import").await;
    raise(&env, "a", "42501").await;
    let items = lines([("z", "1"), ("a", "1")]);
    let output = user.kvctl(&["import", "-"], &items).await;
    assert_told(output, 2, &["line 2", "\"a\"", "their text", NOTHING]);
    user.remove().await;
}

async fn a_sequence_that_is_behind_is_said_to_be_and_no_line_is_blamed(env: Env) {
    let sql = "INSERT INTO items (id, key, value) SELECT n, 'theirs-' || n, '' FROM generate_series(1, 5000) n";
    env.database().execute(sql).await;
    let items = lines([("z", "1"), ("a", "1")]);
    for flags in [ERROR, SKIP, OVERWRITE] {
        let output = import(&env, flags, items.as_str()).await;
        assert!(!output.stderr.contains("line "), "{}", output.stderr);
        assert_told(output, 2, &["sequence", "setval(", "items_pkey", NOTHING]);
    }
    let put = env.kvctl(["put", "a", "1"]).await;
    assert_told(put, 2, &["sequence", "setval(", NOTHING]);
    let mends = "SELECT setval(pg_get_serial_sequence('items', 'id'), max(id)) FROM items";
    let _last: i64 = env.database().value(mends).await;
    let imported = import(&env, ERROR, items).await.expect(0);
    assert_eq!(imported.text(), said(2, 0, 0));
}

async fn what_a_trigger_makes_null_is_refused_and_not_stored_as_an_empty_value(env: Env) {
    let sql = "CREATE TRIGGER empties BEFORE INSERT ON items FOR EACH ROW \
               SET NEW.value = IF(NEW.`key` IN ('no', 'seed-000002'), NULL, NEW.value)";
    env.database().execute(sql).await;
    for flags in [ERROR, SKIP, OVERWRITE] {
        let output = import(&env, flags, lines([("z", "1"), ("no", "1"), ("a", "1")])).await;
        assert_told(output, 2, &["line 2", "\"no\"", "null", NOTHING]);
    }
    let alone = import(&env, SKIP, lines([("no", "1")])).await;
    assert_told(alone, 2, &["line 1", "\"no\"", NOTHING]);
    let seeded = env.kvctl(["seed", "--count", "3"]).await;
    assert_told(seeded, 2, &["line 2", "\"seed-000002\"", NOTHING]);
    assert_eq!(count(&env).await, 0);
}

async fn an_update_of_which_a_trigger_keeps_the_version_is_counted_as_one(env: Env) {
    let _put = env.kvctl(["put", "there", "old"]).await.expect(0);
    keep_versions(&env).await;
    let items = lines([("there", "new"), ("new", "1")]);
    let imported = import(&env, OVERWRITE, items).await.expect(0);
    assert_eq!(imported.text(), said(1, 1, 0));
}

/// `FAIL` keeps what the statement has done until then, and `ROLLBACK` ends the transaction.
async fn in_whichever_way_a_trigger_raises_the_line_is_named(env: Env) {
    let text = [numbered((0..12_000).rev(), "new"), lines([("z", "last")])].concat();
    for way in ["ABORT", "FAIL", "ROLLBACK"] {
        // Most lines depend on one that is merged long before.
        let sql = format!(
            "CREATE TRIGGER raises_{way} BEFORE INSERT ON items WHEN NEW.key = 'k07777' \
             OR NEW.key > 'k00000' AND NOT EXISTS (SELECT 1 FROM items WHERE key = 'k00000') \
             BEGIN SELECT RAISE({way}, 'their text'); END"
        );
        env.database().execute(&sql).await;
        for flags in [ERROR, SKIP, OVERWRITE] {
            env.note(format!("{way} {flags:?}"));
            let output = import(&env, flags, text.as_str()).await;
            let named = &["line 4223", "\"k07777\"", "their text", NOTHING];
            assert_told(output, 2, named);
        }
        let drop = format!("DROP TRIGGER raises_{way}");
        env.database().execute(&drop).await;
    }
    assert_eq!(count(&env).await, 0);
}
