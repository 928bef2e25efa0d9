//! Backup and restore, as the handbook has it, while kvd serves.

use std::fs;

use reqwest::Url;
use tests::{
    Client, Engine, Env, Kvd,
    handbook::{Block, block},
};

tests::list! {
    FaultsOnly(Engine::Postgres) => postgres_is_as_it_was;
    FaultsOnly(Engine::Mysql) => mariadb_is_as_it_was;
    Only(Engine::Sqlite) => sqlite_is_as_it_was;
    EveryEngine => keys_and_values_go_to_another_engine_and_back
}

async fn postgres_is_as_it_was(env: Env) {
    let url = env.database().url();
    let run = |what: &str| {
        let commands = block(&format!("# {what}: PostgreSQL"));
        commands.run(&env, &[("DATABASE_URL", &url)]);
    };
    let renew = block("-- after a restore: PostgreSQL");
    as_it_was(&env, || run("backup"), || run("restore"), renew).await;
}

async fn mariadb_is_as_it_was(env: Env) {
    let url = Url::parse(&env.database().url()).expect("the database has a URL");
    let (host, port) = (
        url.host_str().unwrap_or_default(),
        url.port().unwrap_or(3306),
    );
    let (user, password) = (url.username(), url.password().unwrap_or_default());
    let account = format!(
        "[client]\nprotocol=tcp\nhost={host}\nport={port}\nuser={user}\npassword={password}\n"
    );
    fs::write(env.directory().join(".my.cnf"), account).expect("a file");
    let name = env.database().name();
    let backup = || {
        let commands = block("# backup: MariaDB");
        commands
            .with(" kvd items", &format!(" {name} items"))
            .run(&env, &[]);
    };
    let restore = || {
        let commands = block("# restore: MariaDB");
        commands
            .with("mariadb kvd", &format!("mariadb {name}"))
            .run(&env, &[]);
    };
    let renew = block("-- after a restore: MariaDB, MySQL, SQLite");
    as_it_was(&env, backup, restore, renew).await;
}

async fn sqlite_is_as_it_was(env: Env) {
    let url = env.database().url();
    let file = url
        .strip_prefix("sqlite://")
        .and_then(|url| url.split('?').next());
    let file = file.expect("a file");
    let run = |what: &str| {
        let commands = block(&format!("# {what}: SQLite"));
        commands.with("/var/lib/kvd/kvd.db", file).run(&env, &[]);
    };
    let renew = block("-- after a restore: MariaDB, MySQL, SQLite");
    as_it_was(&env, || run("backup"), || run("restore"), renew).await;
}

/// What is restored is what was there at the time of the backup, and no tag from after it is valid.
async fn as_it_was(env: &Env, backup: impl Fn(), restore: impl Fn(), renew: Block) {
    let kvd = env.start().await;
    kvd.create_all(["a", "b", "\u{1f980}"]).await;
    let _version_2 = kvd.put("/items/a", "before\n").await.expect(200);
    let before = all(&kvd).await;
    backup();
    let lost = changed(&kvd).await;
    restore();
    assert_eq!(all(&kvd).await, before);
    // This is the danger of which the handbook warns.
    assert_eq!(changed(&kvd).await, lost);

    restore();
    assert_eq!(all(&kvd).await, before);
    for statement in renew.text().split_terminator(";\n") {
        env.database().execute(statement).await;
    }
    for ((path, old), new) in ["/items/a", "/items/c"]
        .iter()
        .zip(&lost)
        .zip(changed(&kvd).await)
    {
        assert_ne!(*old, new, "{path}");
        let put = kvd
            .put(path, "by a client of before")
            .header("If-Match", old);
        put.await.problem(412, "precondition-failed");
    }
}

/// Everything kvd tells of all items.
async fn all(kvd: &Kvd) -> serde_json::Value {
    kvd.get("/items/").await.expect(200).json()
}

/// Changes one item, deletes one and creates one; the tags that the first and the last have then.
async fn changed(kvd: &Client) -> [String; 2] {
    let a = kvd.put("/items/a", "after").await.expect(200).etag();
    let _deleted = kvd.delete("/items/b").await.expect(204);
    [a, kvd.create("c", "after").await.etag()]
}

async fn keys_and_values_go_to_another_engine_and_back(env: Env) {
    let kvd = env.start().await;
    kvd.create_all(["a", "b/c", "\u{1f980}", " "]).await;
    let _value = kvd.put("/items/a", "\"\\\n\u{e9}").await.expect(200);
    let exported = async || env.kvctl(["list", "-o", "json"]).await.expect(0);
    let pairs = |json: &str| -> Vec<(String, String)> {
        let items: serde_json::Value = serde_json::from_str(json).expect("JSON");
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        let items = items.as_array().expect("a list").iter();
        items
            .map(|item| (text(&item["key"]), text(&item["value"])))
            .collect()
    };
    let before = pairs(exported().await.text());
    let other = format!("sqlite://{}", env.directory().join("other.db").display());
    let url = env.database().url();
    let go = |from: &str, to: &str| {
        let commands = block("# from one database to another");
        commands.run(&env, &[("DATABASE_URL", from), ("OTHER_DATABASE_URL", to)]);
    };
    go(&url, &other);
    let _emptied = env.kvctl(["migrate", "fresh", "--yes"]).await.expect(0);
    go(&other, &url);
    assert_eq!(pairs(exported().await.text()), before);
}
