//! kvd removes what has expired, beside all else, and nothing else.

use std::time::Duration;

use sea_orm::{ConnectionTrait, TransactionTrait};
use tests::{Engine, Env, load::until};
use tokio::time::sleep;

use crate::operating::grants::{User, with_base};

tests::list! {
    EveryEngine =>
        a_row_written_after_its_end_stays,
        a_deep_page_leaves_out_what_has_expired_and_stays,
        what_the_database_refuses_to_delete_keeps_no_other;
    Only(Engine::Postgres) =>
        what_is_locked_is_passed_over_until_it_is_free,
        without_the_right_to_delete_one_line_says_so,
        a_read_only_database_is_left_alone_in_silence;
    Only(Engine::Mysql) =>
        what_is_locked_is_passed_over_until_it_is_free,
        without_the_right_to_delete_one_line_says_so
}

/// Several rounds of the removal. Silence is no event that one could wait for.
const ROUNDS: Duration = Duration::from_secs(4);

/// Stores items that have expired, the first of them first.
async fn store_expired<const N: usize>(env: &Env, keys: [&str; N]) {
    for (place, key) in keys.into_iter().enumerate() {
        let _put = env.kvctl(["put", key, "x"]).await.expect(0);
        let ago = 1_000 - place;
        let (column, end, written) = match env.engine() {
            Engine::Postgres => (
                "key",
                format!("now() - interval '{ago} seconds'"),
                "now() - interval '1 day'",
            ),
            Engine::Mysql => (
                "`key`",
                format!("UTC_TIMESTAMP(6) - INTERVAL {ago} SECOND"),
                "UTC_TIMESTAMP(6) - INTERVAL 1 DAY",
            ),
            Engine::Sqlite => (
                "key",
                format!("strftime('%Y-%m-%d %H:%M:%f000', 'now', '-{ago} seconds')"),
                "strftime('%Y-%m-%d %H:%M:%f000', 'now', '-1 day')",
            ),
        };
        let sql = format!(
            "UPDATE items SET expires_at = {end}, updated_at = {written} WHERE {column} = '{key}'"
        );
        env.database().execute(&sql).await;
    }
}

/// The keys of the table, also of what has expired.
async fn rows(env: &Env) -> Vec<String> {
    let column = match env.engine() {
        Engine::Mysql => "`key`",
        Engine::Postgres | Engine::Sqlite => "key",
    };
    let sql = format!("SELECT {column} FROM items ORDER BY {column}");
    env.database().column(&sql).await
}

async fn a_row_written_after_its_end_stays(env: Env) {
    store_expired(&env, ["gone", "at its end", "later"]).await;
    let column = match env.engine() {
        Engine::Mysql => "`key`",
        Engine::Postgres | Engine::Sqlite => "key",
    };
    for (key, written) in [
        ("at its end", "expires_at"),
        (
            "later",
            match env.engine() {
                Engine::Postgres => "now()",
                Engine::Mysql => "UTC_TIMESTAMP(6)",
                Engine::Sqlite => "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
            },
        ),
    ] {
        let sql = format!("UPDATE items SET updated_at = {written} WHERE {column} = '{key}'");
        env.database().execute(&sql).await;
    }
    let kvd = env.start().await;
    for round in ["one", "two", "three"] {
        until("the others are removed", async || {
            rows(&env).await == ["at its end", "later"]
        })
        .await;
        store_expired(&env, [round]).await;
    }
    until("the last is removed", async || rows(&env).await.len() == 2).await;
    // For every read it is gone, and its key is free.
    kvd.get("/items/later").await.problem(404, "item-not-found");
    let _created = kvd.post("later", "y").await.expect(201);
    assert_eq!(rows(&env).await, ["at its end", "later"]);
}

async fn a_deep_page_leaves_out_what_has_expired_and_stays(env: Env) {
    let _seeded = env.kvctl(["seed", "--count", "1010"]).await.expect(0);
    let kvd = env.start().await;
    let page = async || {
        let page = kvd.get("/items/?page=101&page_size=10").await.expect(200);
        let page = page.json();
        let items = page["items"].as_array().expect("items");
        let first = items[0]["key"].as_str().expect("a key").to_owned();
        (first, items.len(), page["total"].clone())
    };
    assert_eq!(page().await, ("seed-001001".to_owned(), 10, 1010.into()));
    let column = match env.engine() {
        Engine::Mysql => "`key`",
        Engine::Postgres | Engine::Sqlite => "key",
    };
    let end = format!("UPDATE items SET expires_at = updated_at WHERE {column} = 'seed-000001'");
    env.database().execute(&end).await;
    assert_eq!(page().await, ("seed-001002".to_owned(), 9, 1009.into()));
}

async fn what_the_database_refuses_to_delete_keeps_no_other(env: Env) {
    const TOLD: &str = "the database does not delete an item that has expired";
    let refuse: &[&str] = match env.engine() {
        Engine::Postgres => &[
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF OLD.key < 'c' THEN \
             RAISE EXCEPTION 'kept'; END IF; RETURN OLD; END $$",
            "CREATE TRIGGER keep BEFORE DELETE ON items FOR EACH ROW EXECUTE FUNCTION keep()",
        ],
        Engine::Mysql => &[
            "CREATE TRIGGER keep BEFORE DELETE ON items FOR EACH ROW BEGIN IF OLD.`key` < 'c' THEN \
             SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'kept'; END IF; END",
        ],
        Engine::Sqlite => &[
            "CREATE TRIGGER keep BEFORE DELETE ON items WHEN OLD.key < 'c' BEGIN SELECT RAISE(ABORT, 'kept'); END",
        ],
    };
    for sql in refuse {
        env.database().execute(sql).await;
    }
    store_expired(&env, ["a", "c", "b", "d", "e"]).await;
    let kvd = env.start().await;
    until("the others are removed", async || {
        rows(&env).await == ["a", "b"]
    })
    .await;
    kvd.logged(TOLD).await;
    store_expired(&env, ["f"]).await;
    until("a later one is removed", async || {
        rows(&env).await.len() == 2
    })
    .await;
    assert_eq!(kvd.log().matches(TOLD).count(), 1, "{}", kvd.log());
}

async fn what_is_locked_is_passed_over_until_it_is_free(env: Env) {
    store_expired(&env, ["b", "a", "c"]).await;
    let begun = env.database().connection().await.begin().await;
    let lock = begun.expect("a transaction");
    let column = match env.engine() {
        Engine::Mysql => "`key`",
        Engine::Postgres | Engine::Sqlite => "key",
    };
    // The first that would be removed.
    let select = format!("SELECT id FROM items WHERE {column} = 'b' FOR UPDATE");
    let held = lock.execute_unprepared(&select).await;
    held.expect("the lock");
    let kvds = [env.start().await, env.start().await, env.start().await];
    until("the others are removed", async || rows(&env).await == ["b"]).await;
    for kvd in &kvds {
        kvd.get("/items/b").await.problem(404, "item-not-found");
    }
    lock.rollback().await.expect("released");
    until("it is removed too", async || rows(&env).await.is_empty()).await;
}

async fn without_the_right_to_delete_one_line_says_so(env: Env) {
    const TOLD: &str = "no right to delete";
    let user = User::create(&env).await;
    let all = with_base(env.engine(), "kvd");
    user.grant(&all).await;
    let kvd = env.kvd().env("DATABASE_URL", user.url()).start().await;
    kvd.ready().await;
    let right: Vec<String> = all
        .into_iter()
        .filter(|right| right == "DELETE ON items")
        .collect();
    assert_eq!(right.len(), 1, "kvd has the right to delete");
    user.revoke(&right).await;
    store_expired(&env, ["a", "b"]).await;
    kvd.logged(TOLD).await;
    sleep(ROUNDS).await;
    assert_eq!(kvd.log().matches(TOLD).count(), 1, "{}", kvd.log());
    assert_eq!(rows(&env).await, ["a", "b"]);
    kvd.get("/items/a").await.problem(404, "item-not-found");
    user.grant(&right).await;
    until("they are removed", async || rows(&env).await.is_empty()).await;
    let _ended = kvd.stop().await.expect(0);
    user.remove().await;
}

async fn a_read_only_database_is_left_alone_in_silence(env: Env) {
    store_expired(&env, ["a"]).await;
    let set = async |value: &str| {
        let name = env.database().name();
        let sql = format!("ALTER DATABASE {name} SET default_transaction_read_only = {value}");
        env.database().execute(&sql).await;
    };
    set("on").await;
    let kvd = env.start().await;
    kvd.ready().await;
    let before = kvd.log();
    sleep(ROUNDS).await;
    assert_eq!(kvd.log(), before, "nothing more is logged");
    assert_eq!(rows(&env).await, ["a"]);
    // It was not for want of trying.
    set("off").await;
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = 'kvd'";
    let _ended: i64 = env.database().value(sql).await;
    until("it is removed", async || rows(&env).await.is_empty()).await;
}
