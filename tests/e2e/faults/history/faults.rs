//! What happens to kvd, to its sessions and to its keys meanwhile.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use fastrand::Rng;
use nix::sys::signal::Signal;
use sea_orm::{ConnectionTrait, DbErr, TransactionTrait};
use tests::{
    Engine,
    pace::{Progress, stretched},
    relay::Relay,
};
use tokio::time::sleep;

use crate::faults::history::run::{Run, Service, lock, milliseconds, start};

/// In milliseconds; longer than a request may take, by its `--request-timeout`, before that is stretched.
const LONG: Range<u64> = 2_100..2_600;

#[derive(Clone, Copy)]
enum Fault {
    Kill,
    Freeze,
    HoldLock,
    HoldLockLong,
    LoseAnswers,
    LoseAnswersLong,
    Cut,
    EndSessions,
}

/// All of them come before one comes again.
fn faults(engine: Engine) -> Vec<Fault> {
    use Fault::{
        Cut, EndSessions, Freeze, HoldLock, HoldLockLong, Kill, LoseAnswers, LoseAnswersLong,
    };
    match engine {
        // Lost answers make the most trouble, so they come twice.
        Engine::Postgres | Engine::Mysql => [
            [Kill, Freeze, HoldLock, HoldLockLong, Cut, EndSessions].as_slice(),
            &[LoseAnswers, LoseAnswersLong].repeat(2),
        ]
        .concat(),
        // A lock is one of the whole database there.
        Engine::Sqlite => vec![Kill, Freeze, HoldLock],
    }
}

/// Breaks one thing after the other until enough has happened.
pub(super) async fn break_things(run: &Run, random: &mut Rng) {
    let mut next = Vec::new();
    let mut progress = Progress::new("the clients get answers");
    while !run.has_done_enough() {
        progress.at(run.done.load(Ordering::SeqCst));
        sleep(milliseconds(random, 150..800)).await;
        if next.is_empty() {
            next = faults(run.env.engine());
            random.shuffle(&mut next);
        }
        if let Some(fault) = next.pop() {
            break_it(run, fault, random).await;
            run.faults.fetch_add(1, Ordering::SeqCst);
        }
    }
    run.over.store(true, Ordering::SeqCst);
}

async fn break_it(run: &Run, fault: Fault, random: &mut Rng) {
    let service = &run.services[random.usize(..run.services.len())];
    let long = stretched(milliseconds(random, LONG));
    match fault {
        Fault::Kill => kill(run, service, random).await,
        Fault::Freeze => freeze(service, milliseconds(random, 20..1_000)).await,
        Fault::HoldLock => hold_a_lock(run, milliseconds(random, 10..600), random).await,
        Fault::HoldLockLong => hold_a_lock(run, long, random).await,
        Fault::LoseAnswers => lose_answers(run, service, milliseconds(random, 2..300)).await,
        Fault::LoseAnswersLong => lose_answers(run, service, long).await,
        Fault::Cut => service.relay.iter().for_each(Relay::cut),
        Fault::EndSessions => end_sessions(run, random).await,
    }
}

/// `kill -9`; for a while there is no such kvd, then there is another.
async fn kill(run: &Run, service: &Service, random: &mut Rng) {
    let kvd = service.kvd();
    kvd.signal(Signal::SIGKILL);
    let _killed = kvd.end().await;
    sleep(milliseconds(random, 0..200)).await;
    let again = start(&run.env, service.relay.as_ref()).await;
    *lock(&service.kvd) = Arc::new(again);
}

async fn freeze(service: &Service, time: Duration) {
    let kvd = service.kvd();
    kvd.signal(Signal::SIGSTOP);
    sleep(time).await;
    kvd.signal(Signal::SIGCONT);
}

/// The database does what it is asked, and its answers are lost.
async fn lose_answers(run: &Run, service: &Service, time: Duration) {
    let to = match run.env.engine() {
        // Of a transaction's statements only this one leaves doubts.
        Engine::Mysql => "COMMIT",
        Engine::Postgres | Engine::Sqlite => "",
    };
    if let Some(relay) = &service.relay {
        relay.lose_answers(to, time).await;
    }
}

/// A transaction of other software holds a row, or has inserted one, and is rolled back in the end.
async fn hold_a_lock(run: &Run, time: Duration, random: &mut Rng) {
    let key = Run::key(run.choose_key(random));
    let column = match run.env.engine() {
        Engine::Mysql => "`key`",
        Engine::Postgres | Engine::Sqlite => "\"key\"",
    };
    let sql = match random.bool() {
        true => format!("UPDATE items SET value = 'never' WHERE {column} = '{key}'"),
        false => format!("INSERT INTO items ({column}, value) VALUES ('{key}', 'never')"),
    };
    let held = async {
        let transaction = run.env.database().connection().await.begin().await?;
        // It may have to wait itself, or find the key there already.
        let _locked = transaction.execute_unprepared(&sql).await;
        sleep(time).await;
        transaction.rollback().await
    };
    // Whatever became of it, it is no more.
    let _released: Result<(), DbErr> = held.await;
}

/// Ends the sessions of both kvd and of every kvctl, or half of them, once or several times.
async fn end_sessions(run: &Run, random: &mut Rng) {
    for _ in 0..random.u8(1..4) {
        let half = random.bool();
        match run.env.engine() {
            Engine::Postgres => {
                let mut sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                    WHERE datname = current_database() AND application_name LIKE 'kv%'"
                    .to_owned();
                if half {
                    sql.push_str(" AND pid % 2 = 0");
                }
                let _ended: i64 = run.env.database().value(&sql).await;
            }
            Engine::Mysql => {
                let sql = "SELECT CAST(id AS CHAR) FROM information_schema.processlist \
                    WHERE db = DATABASE() AND id <> CONNECTION_ID()";
                for id in run.env.database().column::<String>(sql).await {
                    if !half || random.bool() {
                        // It may be gone already.
                        let kill = format!("KILL {id}");
                        let connection = run.env.database().connection().await;
                        let _killed = connection.execute_unprepared(&kill).await;
                    }
                }
            }
            Engine::Sqlite => {}
        }
        sleep(milliseconds(random, 5..60)).await;
    }
}
