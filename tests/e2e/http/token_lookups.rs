//! What kvd remembers of tokens, and when it asks the database for them.

use std::time::Duration;

use tests::{Client, Env, load::together, token::made_up};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    http::access::{assert_unauthenticated, started, with_tokens},
    operating::metrics::gauge,
};

tests::list! {
    EveryEngine =>
        a_revocation_and_an_end_hold_within_5_seconds,
        a_token_that_was_tried_too_early_is_live_within_5_seconds,
        without_the_table_of_tokens_it_is_503;
    Once =>
        a_known_token_costs_no_query_and_a_mistyped_one_none_at_all,
        a_flood_of_made_up_tokens_pushes_no_good_one_out,
        who_is_over_the_limit_keeps_no_other_waiting_with_made_up_tokens;
    Faults =>
        a_database_that_cannot_be_asked_is_503_and_never_401
}

/// How long a revocation may take to hold.
const BOUND: Duration = Duration::from_secs(5);

async fn a_revocation_and_an_end_hold_within_5_seconds(env: Env) {
    let (kvd, all) = started(&env).await;
    let _item = all.create("a", "b").await;
    let known = kvd.with_token(&env.token(["known", "--read", ""]).await);
    let used = kvd.with_token(&env.token(["used", "--read", ""]).await);
    let rotated = kvd.with_token(&env.token(["rotated", "--read", ""]).await);
    let ending = env.token(["ending", "--read", "", "--expires-in", "1s"]);
    let ending = kvd.with_token(&ending.await);
    let begun = Instant::now();
    for client in [&known, &used, &rotated] {
        let _let_in = client.get("/items/a").await.expect(200);
    }
    // It may have ended before it is used for the first time.
    let _ends = ending.get("/items/a").await;
    let _revoked = env.kvctl(["token", "revoke", "known"]).await.expect(0);
    let _revoked = env.kvctl(["token", "revoke", "used"]).await.expect(0);
    let successor = env.kvctl(["token", "rotate", "rotated"]).await.expect(0);
    let told = Instant::now();
    while told.elapsed() < BOUND {
        // That a token is used must not keep it alive.
        let _any = used.get("/items/a").await;
        sleep(Duration::from_millis(200)).await;
    }
    for client in [&known, &used, &rotated] {
        assert_unauthenticated(&client.get("/items/a").await);
    }
    sleep_until(begun + Duration::from_secs(1) + BOUND).await;
    assert_unauthenticated(&ending.get("/items/a").await);
    let successor = kvd.with_token(successor.text().trim_end());
    let _let_in = successor.get("/items/a").await.expect(200);
    let _let_in = all.get("/items/a").await.expect(200);
}

async fn a_token_that_was_tried_too_early_is_live_within_5_seconds(env: Env) {
    let (kvd, all) = started(&env).await;
    let _item = all.create("a", "b").await;
    let token = env.token(["app", "--read", ""]).await;
    let app = kvd.with_token(&token);
    let hide = "UPDATE kvd_tokens SET revoked_at = created_at WHERE name = 'app'";
    env.database().execute(hide).await;
    assert_unauthenticated(&app.get("/items/a").await);
    let show = "UPDATE kvd_tokens SET revoked_at = NULL WHERE name = 'app'";
    env.database().execute(show).await;
    sleep(BOUND).await;
    let _let_in = app.get("/items/a").await.expect(200);
}

async fn without_the_table_of_tokens_it_is_503(env: Env) {
    let empty = env.empty_database().await;
    let dropped = env.empty_database().await;
    let _migrated = env.kvctl_on(&dropped, ["migrate"]).await.expect(0);
    dropped.execute("DROP TABLE kvd_tokens").await;
    for database in [&empty, &dropped] {
        let kvd = env.kvd_on(database).env("AUTH", "tokens").start().await;
        for path in ["/items/a", "/whoami"] {
            let stranger = kvd.with_token(&made_up()).get(path).await;
            stranger.problem(503, "database-unavailable");
        }
        let ready = kvd.get("/readyz").await;
        let detail = ready.problem(503, "database-unavailable")["detail"].to_string();
        assert!(detail.contains("run kvctl migrate"), "{detail}");
    }
    // Which makes it anew.
    let _migrated = env.kvctl_on(&dropped, ["migrate"]).await.expect(0);
    let off = env.kvd_on(&dropped).start().await;
    off.ready().await;
}

const LIVE: &str = "kvd_token_lookups_total{result=\"live\"}";
const UNKNOWN: &str = "kvd_token_lookups_total{result=\"unknown\"}";

async fn a_known_token_costs_no_query_and_a_mistyped_one_none_at_all(env: Env) {
    let kvd = with_tokens(&env).arg("--admin-listen", "127.0.0.1:0");
    let kvd = kvd.start().await;
    let (token, stranger) = (env.token(["app", "--read", ""]).await, made_up());
    let app = kvd.with_token(&token);
    let begun = Instant::now();
    for _ in 0..200 {
        let _let_in = app.get("/whoami").await.expect(200);
        assert_unauthenticated(&kvd.with_token(&stranger).get("/whoami").await);
        let typo = kvd.with_token(&format!("{}0", &token[..39]));
        if !token.ends_with('0') {
            assert_unauthenticated(&typo.get("/whoami").await);
        }
    }
    // A known one is asked for again at most every other second, an unknown one every five.
    let seconds = begun.elapsed().as_secs_f64();
    let live = gauge(&kvd.admin(), LIVE).await;
    assert!(
        (1.0..=seconds / 2.0 + 1.0).contains(&live),
        "{live} in {seconds} s"
    );
    let unknown = gauge(&kvd.admin(), UNKNOWN).await;
    assert!(
        (1.0..=seconds / 5.0 + 1.0).contains(&unknown),
        "{unknown} in {seconds} s"
    );
}

async fn a_flood_of_made_up_tokens_pushes_no_good_one_out(env: Env) {
    // More than are remembered of either kind.
    const CLIENTS: usize = 40;
    const EACH: usize = 300;
    let kvd = with_tokens(&env).arg("--admin-listen", "127.0.0.1:0");
    let kvd = kvd.start().await;
    let app = kvd.with_token(&env.token(["app", "--read", ""]).await);
    let begun = Instant::now();
    let anybody = Client::clone(&kvd);
    together(CLIENTS, |_| {
        let (anybody, app) = (anybody.clone(), app.clone());
        async move {
            for _ in 0..EACH {
                let stranger = anybody.with_token(&made_up());
                assert_unauthenticated(&stranger.get("/whoami").await);
                let _let_in = app.get("/whoami").await.expect(200);
            }
        }
    })
    .await;
    let seconds = begun.elapsed().as_secs_f64();
    let unknown = gauge(&kvd.admin(), UNKNOWN).await;
    assert_eq!(unknown, (CLIENTS * EACH) as f64, "each was asked for");
    let live = gauge(&kvd.admin(), LIVE).await;
    let most = 1.0 + seconds / 2.0;
    assert!(
        live <= most,
        "the good one was asked for {live} times in {seconds} s"
    );
}

/// The metrics are counted only after their answer, so these look-ups are in a queue of their own.
// Long: the crowd, and the others beside it.
async fn who_is_over_the_limit_keeps_no_other_waiting_with_made_up_tokens(env: Env) {
    // More than wait in any queue.
    const CROWD: usize = 1100;
    let kvd = with_tokens(&env).env("RATE_LIMIT", "100").start().await;
    let token = env.token(["app", "--read", ""]).await;
    let known = kvd.client_at("127.0.0.2").with_token(&token);
    let begun = Instant::now();
    let crowd = async {
        let one = |_| {
            let crowd = Client::clone(&kvd);
            async move {
                let mut statuses = Vec::new();
                while begun.elapsed() < Duration::from_secs(7) {
                    let stranger = crowd.with_token(&made_up());
                    statuses.push(stranger.get("/metrics").await.status);
                }
                statuses
            }
        };
        together(CROWD, one).await.concat()
    };
    let others = async {
        let mut asked = 0;
        while begun.elapsed() < Duration::from_secs(7) {
            let _let_in = known.get("/whoami").await.expect(200);
            let new = kvd
                .client_at(&format!("127.0.1.{}", 1 + asked))
                .with_token(&token);
            let _let_in = new.get("/whoami").await.expect(200);
            asked += 1;
            sleep(Duration::from_millis(100)).await;
        }
    };
    let (statuses, ()) = tokio::join!(crowd, others);
    let let_in = statuses.iter().filter(|status| **status == 401).count();
    assert!((1..=100).contains(&let_in), "{let_in}");
    assert!(
        statuses
            .iter()
            .all(|status| [401, 429, 503].contains(status))
    );
}

async fn a_database_that_cannot_be_asked_is_503_and_never_401(env: Env) {
    let kvd = with_tokens(&env).env("REQUEST_TIMEOUT", "1s").start().await;
    let app = kvd.with_token(&env.token(["app", "--read", ""]).await);
    let _let_in = app.get("/whoami").await.expect(200);
    env.server().kill().await;
    let begun = Instant::now();
    // Remembered, so that it is not the token which is missing: what it does not allow is said without the database.
    let refused = app.put("/items/a", "b").await;
    if begun.elapsed() < Duration::from_secs(4) {
        refused.problem(403, "forbidden");
    }
    let stranger = kvd.with_token(&made_up());
    let mistyped = kvd.with_token("kvd_x");
    for _ in 0..3 {
        let answer = stranger.get("/whoami").await;
        answer.problem(503, "database-unavailable");
        assert!(answer.header("retry-after").is_some());
        assert_unauthenticated(&mistyped.get("/whoami").await);
    }
    sleep(BOUND).await;
    let answer = app.get("/items/a").await;
    answer.problem(503, "database-unavailable");
    env.server().start().await;
    kvd.ready().await;
    let _let_in = app.get("/whoami").await.expect(200);
    assert_unauthenticated(&stranger.get("/whoami").await);
}
