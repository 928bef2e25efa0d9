//! Totals of prefixes, which requests share that wait for the same one.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use sea_orm::{ConnectionTrait, TransactionTrait};
use tests::{
    Client, Engine, Env, Kvd,
    kvd::Start,
    load::{Load, together, until},
};

use crate::http::pages::page;

tests::list! {
    EveryEngine =>
        a_total_counts_all_that_was_created_before_it_was_asked_for,
        a_total_fits_the_page_however_many_came_in_between;
    Only(Engine::Postgres) => lists_that_wait_for_the_same_total_share_one_count
}

/// The creations that had begun, and those that had been answered.
#[derive(Default)]
struct Creations {
    begun: AtomicU64,
    answered: AtomicU64,
}

/// However slow the machine.
fn patient(env: &Env) -> Start {
    env.kvd().arg("--request-timeout", "50s")
}

async fn total(kvd: &Client, query: &str) -> u64 {
    page(kvd, query).await["total"].as_u64().expect("a total")
}

async fn a_total_counts_all_that_was_created_before_it_was_asked_for(env: Env) {
    let kvd = patient(&env).start().await;
    let creations = Arc::new(Creations::default());
    let client = Client::clone(&kvd);
    let load = Load::start(8, move |number, round| {
        let (client, creations) = (client.clone(), creations.clone());
        async move {
            if number < 2 {
                creations.begun.fetch_add(1, Ordering::SeqCst);
                let _created = client.create(&format!("k-{number}-{round}"), "").await;
                creations.answered.fetch_add(1, Ordering::SeqCst);
                return;
            }
            let at_least = creations.answered.load(Ordering::SeqCst);
            let total = total(&client, "?prefix=k-&page_size=1").await;
            let at_most = creations.begun.load(Ordering::SeqCst);
            assert!(
                (at_least..=at_most).contains(&total),
                "{at_least} {total} {at_most}"
            );
        }
    });
    load.go_on(60).await;
    load.stop().await;
}

async fn a_total_fits_the_page_however_many_came_in_between(env: Env) {
    let kvd = patient(&env).start().await;
    let client = Client::clone(&kvd);
    let load = Load::start(6, move |number, round| {
        let client = client.clone();
        async move {
            if number == 0 {
                let _created = client.create(&format!("k-{round}"), "").await;
                return;
            }
            let page = page(&client, "?prefix=k-&page_size=20").await;
            let items = page["items"].as_array().expect("items").len() as u64;
            let total = page["total"].as_u64().expect("a total");
            if page["next_cursor"].is_string() {
                assert!(total > items, "{page}");
            } else {
                assert_eq!(total, items, "{page}");
            }
        }
    });
    load.go_on(60).await;
    load.stop().await;
}

/// While the first waits for the table, on the only connection.
async fn lists_that_wait_for_the_same_total_share_one_count(env: Env) {
    const LISTS: usize = 40;
    let kvd = patient(&env).arg("--database-max-connections", "1");
    let kvd = kvd.start().await;
    kvd.create_all(["a", "b", "c"]).await;
    let lock = env.database().connection().await.begin().await;
    let lock = lock.expect("a transaction");
    let locked = lock.execute_unprepared("LOCK TABLE items").await;
    let _locked = locked.expect("the lock");
    let client = Client::clone(&kvd);
    let first = tokio::spawn(async move { total(&client, "").await });
    until("it counts", async || counts(&kvd, "count").await == 1.0).await;
    let client = Client::clone(&kvd);
    let others = tokio::spawn(together(LISTS, move |_| {
        let client = client.clone();
        async move { total(&client, "").await }
    }));
    waiting(&kvd, LISTS + 1).await;
    lock.commit().await.expect("the lock goes");
    assert_eq!(first.await.expect("an answer"), 3);
    assert_eq!(others.await.expect("all"), [3; LISTS]);
    assert_eq!(counts(&kvd, "sum").await, LISTS as f64 + 1.0);
    assert_eq!(counts(&kvd, "count").await, 2.0);
}

/// How many counts there were, or in `sum` how many lists had one.
async fn counts(kvd: &Kvd, what: &str) -> f64 {
    let name = format!("kvd_database_batch_size_{what}{{kind=\"count\"}}");
    kvd.metric(&name).await
}

/// Waits until so many calls wait for the database.
async fn waiting(kvd: &Kvd, calls: usize) {
    until("so many calls wait", async || {
        kvd.metric("kvd_database_calls").await == calls as f64
    })
    .await;
}
