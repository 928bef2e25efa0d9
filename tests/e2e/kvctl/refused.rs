//! What `kvctl` says when a trigger, a rule or a constraint keeps a row from being stored, in silence or not.

use tests::{Engine, Env};

use crate::kvctl::{
    errors::assert_told,
    import::{ERROR, OVERWRITE, SKIP, count, get, import, lines},
};

tests::list! {
    EveryEngine =>
        an_import_names_the_line_that_a_constraint_refuses;
    Only(Engine::Postgres) =>
        a_row_that_is_silently_not_stored_is_a_failure,
        an_import_names_the_line_that_is_silently_not_stored,
        an_import_stores_nothing_if_a_trigger_changes_a_key,
        a_delete_that_a_rule_keeps_back_is_a_failure;
    Only(Engine::Mysql) =>
        an_import_stores_nothing_if_a_trigger_changes_a_key;
    Only(Engine::Sqlite) =>
        a_row_that_is_silently_not_stored_is_a_failure,
        an_import_names_the_line_that_is_silently_not_stored
}

const IGNORED: &[&str] = &["a trigger, a rule or a policy", "nothing was written"];

/// Has a trigger leave rows out whose key begins with `no`.
async fn ignore(env: &Env) {
    if env.engine() == Engine::Postgres {
        let sql = "CREATE FUNCTION ignore_item() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                   IF coalesce(NEW.key, OLD.key) LIKE 'no%' THEN RETURN NULL; END IF; \
                   RETURN coalesce(NEW, OLD); END $$; \
                   CREATE TRIGGER ignore_item BEFORE INSERT OR UPDATE OR DELETE ON items \
                   FOR EACH ROW EXECUTE FUNCTION ignore_item()";
        env.database().execute(sql).await;
        return;
    }
    for (event, row) in [("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")] {
        let sql = format!(
            "CREATE TRIGGER no_{event} BEFORE {event} ON items WHEN {row}.key LIKE 'no%' \
             BEGIN SELECT RAISE(IGNORE); END"
        );
        env.database().execute(&sql).await;
    }
}

async fn a_row_that_is_silently_not_stored_is_a_failure(env: Env) {
    let _put = env.kvctl(["put", "no", "old"]).await.expect(0);
    let _put = env.kvctl(["put", "yes", "old"]).await.expect(0);
    ignore(&env).await;
    for words in [
        &["put", "no", "x"][..],
        &["put", "no", "x", "--update"],
        &["put", "no-new", "x"],
        &["put", "no-new", "x", "--create"],
        &["delete", "no"],
        &["delete", "yes", "no"],
        &["seed", "--prefix", "no", "--count", "3"],
    ] {
        assert_told(env.kvctl([]).args(words).await, 2, IGNORED);
    }
    let exists = env.kvctl(["put", "no", "x", "--create"]).await;
    assert_told(exists, 1, &["exists already"]);
    assert_eq!(get(&env, "no").await, "old");
    assert_eq!(count(&env).await, 2);
}

async fn an_import_names_the_line_that_is_silently_not_stored(env: Env) {
    let _put = env.kvctl(["put", "no-there", "old"]).await.expect(0);
    let _put = env.kvctl(["put", "yes", "old"]).await.expect(0);
    ignore(&env).await;
    let new = [("zz", "1"), ("a", "1"), ("no-new", "1"), ("b", "1")];
    for flags in [ERROR, SKIP, OVERWRITE] {
        let output = import(&env, flags, lines(new)).await;
        assert_told(output, 2, &["line 3", "\"no-new\"", IGNORED[0], IGNORED[1]]);
    }
    // Of an item that is there only an update is ignored.
    let there = [("yes", "2"), ("no-there", "old"), ("c", "2")];
    let output = import(&env, OVERWRITE, lines(there)).await;
    assert_told(
        output,
        2,
        &["line 2", "\"no-there\"", IGNORED[0], IGNORED[1]],
    );
    let skipped = import(&env, SKIP, lines(there)).await.expect(0);
    assert_eq!(skipped.text(), "created 1, updated 0, skipped 2\n");
    assert_eq!(get(&env, "yes").await, "old");
    assert_eq!(count(&env).await, 3);
}

async fn an_import_stores_nothing_if_a_trigger_changes_a_key(env: Env) {
    let _put = env.kvctl(["put", "there", "old"]).await.expect(0);
    let sql = match env.engine() {
        Engine::Mysql => {
            "CREATE TRIGGER renames BEFORE INSERT ON items FOR EACH ROW \
             SET NEW.`key` = IF(NEW.`key` = 'no', 'there', NEW.`key`)"
        }
        Engine::Postgres | Engine::Sqlite => {
            "CREATE FUNCTION renames() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF NEW.key = 'no' THEN NEW.key := 'elsewhere'; END IF; RETURN NEW; END $$; \
             CREATE TRIGGER renames BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION renames()"
        }
    };
    env.database().execute(sql).await;
    let new = [("zz", "1"), ("no", "1"), ("b", "1")];
    for flags in [ERROR, SKIP, OVERWRITE] {
        let output = import(&env, flags, lines(new)).await;
        assert_told(output, 2, &["line 2", "\"no\"", IGNORED[1]]);
    }
    assert_eq!(get(&env, "there").await, "old");
    assert_eq!(count(&env).await, 1);
}

async fn a_delete_that_a_rule_keeps_back_is_a_failure(env: Env) {
    let _put = env.kvctl(["put", "a", "old"]).await.expect(0);
    let rule = "CREATE RULE keep AS ON DELETE TO items DO INSTEAD NOTHING";
    env.database().execute(rule).await;
    assert_told(env.kvctl(["delete", "a"]).await, 2, IGNORED);
    assert_eq!(get(&env, "a").await, "old");
}

async fn an_import_names_the_line_that_a_constraint_refuses(env: Env) {
    let sql = match env.engine() {
        Engine::Postgres | Engine::Mysql => {
            "ALTER TABLE items ADD CONSTRAINT not_bad CHECK (value <> 'bad')"
        }
        Engine::Sqlite => {
            "CREATE TRIGGER not_bad BEFORE INSERT ON items WHEN NEW.value = 'bad' \
             BEGIN SELECT RAISE(ABORT, 'not_bad'); END"
        }
    };
    env.database().execute(sql).await;
    let items = [("z", "1"), ("m", "bad"), ("a", "1")];
    for flags in [ERROR, SKIP, OVERWRITE] {
        let output = import(&env, flags, lines(items)).await;
        assert_told(
            output,
            2,
            &["line 2", "\"m\"", "not_bad", "nothing was written"],
        );
    }
    assert_eq!(count(&env).await, 0);
}
