//! `kill -9` while hundreds write.

use nix::sys::signal::Signal;
use tests::{
    Client, Engine, Env, Kvd, item,
    load::{Load, told, until},
};
use tokio::time::sleep;

use crate::faults::contract::{Written, assert_as_told, assert_back, in_time, kvd, moment};

tests::list! {
    Faults =>
        what_kvd_acknowledged_before_kill_9_is_there_and_nothing_it_refused,
        what_the_database_acknowledged_before_kill_9_is_there_and_nothing_refused;
    Only(Engine::Sqlite) => what_kvd_acknowledged_before_kill_9_is_there_and_nothing_it_refused
}

const CLIENTS: usize = 200;

/// Each client creates keys of its own, and updates each once.
fn writers(kvd: &Kvd) -> Load<Written> {
    let kvd = Client::clone(kvd);
    Load::start(CLIENTS, move |client, round| {
        let (key, value) = (
            format!("w-{client}-{}", round / 2),
            format!("{client}-{round}"),
        );
        let write = match round % 2 {
            0 => kvd.post(&key, &value),
            _ => kvd.put(&format!("{}?upsert=true", item(&key)), &value),
        };
        async move {
            let told = told(write).await;
            if told.status() == 0 {
                // No kvd is there: the other tasks get the machine.
                moment().await;
            }
            Written { key, value, told }
        }
    })
}

async fn what_kvd_acknowledged_before_kill_9_is_there_and_nothing_it_refused(env: Env) {
    let first = kvd(&env).start().await;
    let load = writers(&first);
    load.go_on(3).await;
    first.signal(Signal::SIGKILL);
    assert_eq!(first.end().await.code, -9);
    let writes = load.stop().await;
    assert_acknowledged(&writes);
    let second = kvd(&env).start().await;
    let _serves = second.get("/items/").await.expect(200);
    assert_as_told(&env, 0, &writes).await;
}

async fn what_the_database_acknowledged_before_kill_9_is_there_and_nothing_refused(env: Env) {
    let kvd = kvd(&env).start().await;
    let load = writers(&kvd);
    load.go_on(3).await;
    env.server().kill().await;
    // While it is away, too.
    sleep(in_time() / 2).await;
    env.server().start().await;
    until("writes succeed", async || {
        kvd.put("/items/x?upsert=true", "").await.status < 300
    })
    .await;
    load.go_on(1).await;
    let writes = load.stop().await;
    assert_acknowledged(&writes);
    for write in &writes {
        // A create of a key whose first one was not answered may find it there.
        write.told.expect_or_503(&[200, 201, 504], in_time());
    }
    assert_back(&kvd, in_time()).await;
    assert_as_told(&env, 0, &writes).await;
}

fn assert_acknowledged(writes: &[Written]) {
    let done = writes.iter().filter(|write| write.told.is_done()).count();
    assert!(done > 2 * CLIENTS, "only {done} were acknowledged");
    let cut = writes.iter().filter(|write| !write.told.is_done()).count();
    assert!(cut > 0, "nobody was caught by it");
}
