//! MySQL and MariaDB: schema changes are not transactional there, and they lock whole tables.

use std::time::Duration;

use sea_orm::{ConnectionTrait, TransactionTrait};
use tests::{Engine, Env, database::Database, kvd::setting, load::until, pace::stretched};

tests::list! {
    Only(Engine::Mysql) =>
        a_migration_stopped_half_way_is_taken_up_again,
        the_record_of_a_newer_version_is_never_forgotten,
        writes_behind_a_locked_table_do_not_linger
}

/// Whoever is killed while taking the migration back leaves the record of it without the table.
async fn a_migration_stopped_half_way_is_taken_up_again(env: Env) {
    let (up, fresh, down) = (
        half_way(&env).await,
        half_way(&env).await,
        half_way(&env).await,
    );
    let _up = env.kvctl_on(&up, ["migrate"]).await.expect(0);
    let again = ["migrate", "fresh", "--yes"];
    let _fresh = env.kvctl_on(&fresh, again).await.expect(0);
    let _down = env
        .kvctl_on(&down, ["migrate", "down", "--steps", "99"])
        .await
        .expect(0);
    let _up = env.kvctl_on(&down, ["migrate"]).await.expect(0);
    for database in [up, fresh, down] {
        let _put = env.kvctl_on(&database, ["put", "a", "b"]).await.expect(0);
    }
}

/// A newer version may have its reasons for a database without the table, and its record is kept.
async fn the_record_of_a_newer_version_is_never_forgotten(env: Env) {
    let database = half_way(&env).await;
    let newer = "INSERT INTO kvd_migrations (version, applied_at) VALUES ('m29990101_newer', 0)";
    database.execute(newer).await;
    let recorded = "SELECT count(*) FROM kvd_migrations";
    let before: i64 = database.value(recorded).await;
    // Whatever this version makes of it, there being no table.
    let _output = env.kvctl_on(&database, ["migrate"]).await;
    let kept: i64 = database.value(recorded).await;
    assert_eq!(kept, before);
}

async fn half_way(env: &Env) -> std::sync::Arc<Database> {
    let database = env.empty_database().await;
    let _up = env.kvctl_on(&database, ["migrate"]).await.expect(0);
    database.execute("DROP TABLE items").await;
    database
}

/// As a tool that dumps the table locks it.
async fn writes_behind_a_locked_table_do_not_linger(env: Env) {
    let kvd = env
        .kvd()
        .arg(
            "--request-timeout",
            setting(stretched(Duration::from_secs(2))),
        )
        .arg("--database-max-connections", "4")
        .start()
        .await;
    let database = env.database();
    let connection = database.connection().await;
    let holder = connection.begin().await.expect("a connection");
    let lock = holder.execute_unprepared("LOCK TABLES items READ").await;
    lock.expect("the table locked");
    for n in 0..4 {
        let written = kvd.post(&format!("k{n}"), "v").await;
        written.problem(503, "database-unavailable");
    }
    let waiting = "SELECT count(*) FROM information_schema.processlist \
                   WHERE db = DATABASE() AND state = 'Waiting for table metadata lock'";
    until("no abandoned write lingers", async || {
        database.value::<i64>(waiting).await == 0
    })
    .await;
    kvd.get("/items/k0").await.problem(404, "item-not-found");
    let unlock = holder.execute_unprepared("UNLOCK TABLES").await;
    unlock.expect("the table unlocked");
    holder.rollback().await.expect("the end");
    let _written = kvd.post("k0", "v").await.expect(201);
}
