//! Writes for which the database has no room left, as on a full disk. The server itself says so here, for some keys.

use sea_orm::ConnectionTrait;
use tests::{Client, Engine, Env, client::Call, item, load::together};

use crate::{faults::contract::key_column, http::refused::on_one_connection};

tests::list! {
    EveryEngine => who_finds_no_room_fails_no_other_of_its_batch
}

async fn who_finds_no_room_fails_no_other_of_its_batch(env: Env) {
    let kvd = on_one_connection(&env).await;
    kvd.create_all(["no-old", "yes-old"]).await;
    for sql in no_room(env.engine()) {
        let done = env
            .database()
            .connection()
            .await
            .execute_unprepared(sql)
            .await;
        let fills = sql.starts_with("INSERT INTO room SELECT");
        assert_eq!(done.is_err(), fills, "{sql}: {done:?}");
    }
    let room = |n| if n % 4 == 0 { "no" } else { "yes" };
    let answers = together(60, |n| {
        let write = write(&kvd, room(n), n);
        async move { (room(n), write.await) }
    });
    for (room, answer) in answers.await {
        match room {
            "no" => drop(answer.problem(503, "database-unavailable")),
            _ => assert!(matches!(answer.status, 200 | 201), "{}", answer.text()),
        }
    }
    let stored = format!(
        "SELECT count(*) FROM items WHERE {} LIKE 'no%'",
        key_column(&env)
    );
    assert_eq!(env.database().value::<i64>(&stored).await, 1);
    for sql in room_again(env.engine()) {
        env.database().execute(sql).await;
    }
    for write in [kvd.post("no-new", "x"), kvd.put("/items/no-old", "x")] {
        assert!(matches!(write.await.status, 200 | 201));
    }
}

/// A creation, another one, or an update.
fn write(kvd: &Client, room: &str, n: usize) -> Call {
    let new = format!("{room}-{n}");
    match n % 3 {
        0 => kvd.post(&new, "x"),
        1 => kvd.put(&item(&new), "x").header("If-None-Match", "*"),
        _ => kvd.put(&item(&format!("{room}-old")), "x"),
    }
}

/// Has the server find no room for keys that begin with `no`.
fn no_room(engine: Engine) -> &'static [&'static str] {
    match engine {
        Engine::Postgres => &[
            "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             RAISE EXCEPTION 'full' USING ERRCODE = 'disk_full'; END $$",
            "CREATE TRIGGER no_room BEFORE INSERT OR UPDATE ON items FOR EACH ROW \
             WHEN (NEW.key LIKE 'no%') EXECUTE FUNCTION no_room()",
        ],
        Engine::Mysql => &[
            "CREATE TABLE room (filler char(255)) ENGINE = MEMORY",
            "INSERT INTO room SELECT 'x' FROM information_schema.columns AS a, information_schema.columns AS b",
            "CREATE TRIGGER no_room_insert BEFORE INSERT ON items FOR EACH ROW \
             IF NEW.`key` LIKE 'no%' THEN INSERT INTO room VALUES ('x'); END IF",
            "CREATE TRIGGER no_room_update BEFORE UPDATE ON items FOR EACH ROW \
             IF NEW.`key` LIKE 'no%' THEN INSERT INTO room VALUES ('x'); END IF",
        ],
        // There is no id after the last one.
        Engine::Sqlite => &[
            "CREATE TABLE room (id INTEGER PRIMARY KEY AUTOINCREMENT)",
            "INSERT INTO room VALUES (9223372036854775807)",
            "CREATE TRIGGER no_room_insert BEFORE INSERT ON items WHEN NEW.key LIKE 'no%' \
             BEGIN INSERT INTO room VALUES (NULL); END",
            "CREATE TRIGGER no_room_update BEFORE UPDATE ON items WHEN NEW.key LIKE 'no%' \
             BEGIN INSERT INTO room VALUES (NULL); END",
        ],
    }
}

fn room_again(engine: Engine) -> &'static [&'static str] {
    match engine {
        Engine::Postgres => &["DROP TRIGGER no_room ON items"],
        Engine::Mysql => &["DELETE FROM room"],
        Engine::Sqlite => &[
            "DELETE FROM room",
            "DELETE FROM sqlite_sequence WHERE name = 'room'",
        ],
    }
}
