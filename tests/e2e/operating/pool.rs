//! As many sessions as the handbook reckons with.

use std::time::Duration;

use tests::{
    Client, Engine, Env, Kvd,
    handbook::block,
    item,
    load::{Load, Told, told},
    pace::{PATIENCE, timeout},
};
use tokio::{task::JoinSet, time::sleep};

tests::list! {
    FaultsOnly(Engine::Postgres) =>
        two_kvd_never_have_more_than_their_share_and_need_no_more,
        kvctl_makes_do_with_two
}

/// Each of two kvd gets to have all of its share, and never has more.
async fn two_kvd_never_have_more_than_their_share_and_need_no_more(env: Env) {
    let settings = block("# /etc/kvd/kvd.env, its share").text();
    let share = settings
        .lines()
        .find_map(|line| line.strip_prefix("DATABASE_MAX_CONNECTIONS="));
    let share: u32 = share
        .and_then(|share| share.parse().ok())
        .expect("a number");
    let server = env.server();
    let url = server.url_of_ordinary_user(env.database().name()).await;
    // More than they may have, so that one too many is counted and not refused.
    server.limit_ordinary_user(Some(2 * share + 2)).await;
    let kvd = || {
        let kvd = env.kvd().env("DATABASE_URL", &url);
        kvd.arg("--database-max-connections", share.to_string())
            .start()
    };
    let fleet = [kvd().await, kvd().await];
    fleet[0].create_all((0..16).map(|n| format!("w-{n}"))).await;
    let loads = fleet.each_ref().map(|kvd| load(Client::clone(kvd)));
    for _ in 0..50 {
        assert!(sessions(&env).await <= 2 * share);
        sleep(Duration::from_millis(20)).await;
    }
    for load in loads {
        for told in load.stop().await {
            assert_eq!(told.status(), 200, "{told:?}");
        }
    }
    assert_all_of_their_share(&env, &fleet, share).await;
}

/// While each read takes its time, the next one needs another session: half of them are for items, half for pages.
async fn assert_all_of_their_share(env: &Env, fleet: &[Kvd], share: u32) {
    let slow = "CREATE POLICY slow ON items USING ((SELECT pg_sleep(1)) IS NOT NULL)";
    for sql in [slow, "ALTER TABLE items ENABLE ROW LEVEL SECURITY"] {
        let _done = env.database().execute(sql).await;
    }
    let mut reads = JoinSet::new();
    let all = async {
        for key in (0..16).cycle().map(|n| item(&format!("w-{n}"))) {
            for kvd in fleet {
                reads.spawn(told(kvd.get(&key)));
                reads.spawn(told(kvd.get("/items/")));
            }
            sleep(Duration::from_millis(30)).await;
            let now = sessions(env).await;
            assert!(now <= 2 * share);
            if now == 2 * share {
                return;
            }
        }
    };
    timeout(PATIENCE, all).await.expect("all of their share");
    for told in reads.join_all().await {
        told.expect_or_503(&[200], PATIENCE);
    }
}

/// How many of them kvd has.
async fn sessions(env: &Env) -> u32 {
    let sql = "SELECT count(*)::int FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = 'kvd'";
    let count: i32 = env.database().value(sql).await;
    count.unsigned_abs()
}

async fn kvctl_makes_do_with_two(env: Env) {
    let server = env.server();
    let url = server.url_of_ordinary_user(env.database().name()).await;
    server.limit_ordinary_user(Some(2)).await;
    let kvctl = async |arguments: &[&str]| {
        let kvctl = env.kvctl_bare([]).args(arguments);
        kvctl.env("DATABASE_URL", &url).await.expect(0)
    };
    let _seeded = kvctl(&["seed", "--count", "3"]).await;
    let exported = kvctl(&["export"]).await.text().to_owned();
    std::fs::write(env.directory().join("all"), exported).expect("a file");
    let _imported = kvctl(&["import", "all", "--on-conflict", "skip"]).await;
    let _status = kvctl(&["migrate", "status"]).await;
    let _deleted = kvctl(&["delete", "seed-000001", "seed-000002"]).await;
    assert_eq!(kvctl(&["count"]).await.text(), "1\n");
}

fn load(kvd: Client) -> Load<Told> {
    Load::start(16, move |client, round| {
        let path = item(&format!("w-{client}"));
        told(match (client + round) % 3 {
            0 => kvd.put(&path, &round.to_string()),
            1 => kvd.get(&path),
            _ => kvd.get("/items/?page_size=100&count=exact"),
        })
    })
}
