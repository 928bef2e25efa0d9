//! Two kvd and kvctl on one database while things break: what each client was told must have an explanation.

mod clients;
mod faults;
mod lies;
mod run;

use std::sync::Arc;

use tests::{
    Env,
    history::{Record, check},
};
use tokio::task::JoinSet;

use self::{
    clients::{be_a_client, look_at_every_key},
    faults::break_things,
    lies::{lies_about, lies_about_ends},
    run::{CLIENTS, KEYS, OPERATORS, Run, lock},
};

tests::list! {
    EveryEngine => every_history_has_an_explanation_whatever_breaks
}

async fn every_history_has_an_explanation_whatever_breaks(env: Env) {
    let mut random = env.random();
    let run = Arc::new(Run::new(&env).await);
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS + OPERATORS {
        clients.spawn(be_a_client(Arc::clone(&run), number, random.fork()));
    }
    break_things(&run, &mut random).await;
    clients.join_all().await;
    look_at_every_key(&run).await;
    env.note(run.summary());

    let mut wrong = lock(&run.unexpected).clone();
    let (mut lies, mut lies_of_ends) = (0, 0);
    for (key, history) in run.histories() {
        let history = lock(history);
        if let Err(refusal) = check(&key, &history) {
            wrong.push(refusal);
            continue;
        }
        lies += refused(&key, lies_about(&history));
        lies_of_ends += refused(&key, lies_about_ends(&history));
    }
    assert!(wrong.is_empty(), "{}", shortened(wrong));
    assert!(run.has_done_enough(), "{}", run.summary());
    // Unless others see what one does, nothing is proved.
    assert!(
        lies >= KEYS,
        "only {lies} lies: hardly anybody saw what others did"
    );
    assert!(
        lies_of_ends >= KEYS,
        "only {lies_of_ends} lies about ends: hardly anybody saw one"
    );
}

/// The number of lies, none of which the checker may believe.
fn refused(key: &str, lies: Vec<Vec<Record>>) -> usize {
    for lie in &lies {
        let told = check(key, lie);
        assert!(told.is_err(), "the checker believes a lie about {key}");
    }
    lies.len()
}

/// Several of the same kind say no more than a few.
fn shortened(mut wrong: Vec<String>) -> String {
    const MOST: usize = 5;
    let more = wrong.len().saturating_sub(MOST);
    wrong.truncate(MOST);
    format!("{}\n({more} more like these)", wrong.join("\n\n"))
}
