//! Sessions that end again and again while all clients are at work.

use std::time::Duration;

use tests::{
    Client, Env, item,
    load::{Load, Told, together, told},
};
use tokio::time::sleep;

use crate::faults::contract::{Written, assert_as_told, assert_pool_whole, in_time, kvd};

tests::list! {
    Faults =>
        reads_do_not_notice_and_writes_are_honest_when_sessions_are_killed,
        nobody_notices_sessions_that_ended_while_they_were_idle
}

const CLIENTS: usize = 8;
const KILLS: usize = 20;

async fn reads_do_not_notice_and_writes_are_honest_when_sessions_are_killed(env: Env) {
    let start = kvd(&env).arg("--database-max-connections", "6");
    let kvd = start.start().await;
    kvd.create_all((0..CLIENTS).map(|n| format!("w-{n}"))).await;
    let readers = readers(Client::clone(&kvd));
    let writers = writers(Client::clone(&kvd));
    let mut killed = 0;
    for _ in 0..KILLS {
        killed += env.server().end_sessions(env.database().name()).await;
        // So that no request meets two kills: it is promised one retry.
        readers.go_on(2).await;
        writers.go_on(2).await;
    }
    let (reads, writes) = (readers.stop().await, writers.stop().await);
    assert!(killed >= KILLS, "{killed} sessions were killed");
    let failed: Vec<&Told> = reads.iter().filter(|read| !is_normal(read)).collect();
    assert!(
        failed.is_empty(),
        "{} of {} reads noticed, such as {:?}",
        failed.len(),
        reads.len(),
        failed[0]
    );
    for write in &writes {
        write.told.expect_or_503(&[200, 504], in_time());
    }
    assert_as_told(&env, 1, &writes).await;
    assert_pool_whole(&env, &kvd, 6).await;
}

/// As after a restart or a failover, for longer than kvd uses a session without a question first.
async fn nobody_notices_sessions_that_ended_while_they_were_idle(env: Env) {
    let kvd = kvd(&env).start().await;
    let _created = kvd.create("a", "x").await;
    for n in 0..3 {
        let busy = together(40, |_| told(kvd.get("/items/")));
        assert!(busy.await.iter().all(is_normal));
        assert!(env.server().end_sessions(env.database().name()).await > 0);
        sleep(Duration::from_secs(1)).await;
        let _written = kvd.put("/items/a", &n.to_string()).await.expect(200);
        let _read = kvd.get("/items/a").await.expect(200);
    }
}

fn is_normal(read: &Told) -> bool {
    let expected = if read.asked.ends_with("missing") {
        404
    } else {
        200
    };
    read.status() == expected && read.taken < in_time()
}

fn readers(kvd: Client) -> Load<Told> {
    Load::start(CLIENTS, move |client, round| {
        told(match round % 3 {
            0 => kvd.get(&item(&format!("w-{client}"))),
            1 => kvd.get("/items/missing"),
            _ => kvd.get("/items/?prefix=w"),
        })
    })
}

/// Each has a key of its own.
pub(crate) fn writers(kvd: Client) -> Load<Written> {
    Load::start(CLIENTS, move |client, round| {
        let (key, value) = (format!("w-{client}"), format!("{client}-{round}"));
        let put = kvd.put(&item(&key), &value);
        async move {
            Written {
                told: told(put).await,
                key,
                value,
            }
        }
    })
}
