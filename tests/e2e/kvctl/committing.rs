//! A load that is interrupted, or loses its connection, around its commit.

use std::time::Duration;

use nix::sys::signal::Signal;
use tests::{
    Engine, Env,
    pace::{PATIENCE, timeout},
};
use tokio::time::sleep;

use crate::kvctl::{
    interrupted::{count, lines, reading},
    said::assert_failed,
};

tests::list! {
    Only(Engine::Postgres) =>
        interrupted_while_it_commits_it_tells_what_came_of_it,
        a_connection_lost_before_the_commit_is_nothing_written,
        a_connection_lost_in_the_commit_is_an_unknown_outcome
}

/// Makes every commit of an insert last for this time.
async fn slow_commits(env: &Env, seconds: f64) {
    env.database()
        .execute(&format!(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON items DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW EXECUTE FUNCTION slow()"
        ))
        .await;
}

/// Waits until kvctl is at this statement, and gives its session.
async fn session_at(env: &Env, statement: &str) -> i64 {
    let sql = format!(
        "SELECT pid::bigint FROM pg_stat_activity WHERE datname = current_database() \
         AND application_name = 'kvctl' AND query LIKE '{statement}%'"
    );
    let found = async {
        loop {
            if let Some(session) = env.database().column(&sql).await.pop() {
                return session;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, found).await.expect("it comes that far")
}

async fn terminate(env: &Env, session: i64) {
    let sql = format!("SELECT pg_terminate_backend({session}::int)");
    assert!(env.database().value::<bool>(&sql).await);
}

async fn interrupted_while_it_commits_it_tells_what_came_of_it(env: Env) {
    slow_commits(&env, 1.0).await;
    let mut import = env.kvctl(["import", "-"]).spawn();
    import.send(&lines(1)).await;
    import.close();
    let _committing = session_at(&env, "COMMIT").await;
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        import.signal(signal);
    }
    let done = import.ended().await.expect(0);
    assert_eq!(done.text(), "created 1, updated 0, skipped 0\n");
    assert_eq!(count(&env).await, "1");
}

async fn a_connection_lost_before_the_commit_is_nothing_written(env: Env) {
    let mut import = reading(&env).await;
    terminate(&env, session_at(&env, "").await).await;
    import.send(&lines(1)).await;
    assert_failed(import.end().await, 2, "nothing was written");
    assert_eq!(count(&env).await, "0");
}

async fn a_connection_lost_in_the_commit_is_an_unknown_outcome(env: Env) {
    slow_commits(&env, 50.0).await;
    let mut import = env.kvctl(["import", "-"]).spawn();
    import.send(&lines(1)).await;
    import.close();
    terminate(&env, session_at(&env, "COMMIT").await).await;
    let unknown = import.ended().await;
    assert!(
        !unknown.stderr.contains("nothing was written"),
        "{}",
        unknown.stderr
    );
    assert_failed(unknown, 2, "may or may not");
}
