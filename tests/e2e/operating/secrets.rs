//! The password of the database: it is never printed, logged or sent to a client. That nothing which any test brings
//! forth tells it, or a token, is looked after by `tests::secrets`.

use std::{fs, future::IntoFuture};

use reqwest::Url;
use tests::{Engine, Env, Kvd, process::Output, secrets::assert_no_secret};
use tokio::net::TcpListener;

tests::list! {
    Only(Engine::Postgres) =>
        neither_the_list_of_processes_nor_help_tells_a_secret,
        the_password_of_postgresql_is_never_told,
        a_wrong_password_of_postgresql_is_never_told;
    Only(Engine::Mysql) =>
        neither_the_list_of_processes_nor_help_tells_a_secret,
        the_password_of_mysql_is_never_told,
        a_wrong_password_of_mysql_is_never_told;
    Once =>
        the_password_of_an_unreachable_database_is_never_told,
        the_password_beside_an_unknown_parameter_is_never_told,
        the_password_in_a_mistaken_setting_is_never_told,
        the_password_in_a_mistaken_dotenv_is_never_told,
        kvctl_does_not_tell_the_password_either
}

const SECRET: &str = "Tops3cret";

#[track_caller]
fn assert_untold(secret: &str, where_from: &str, text: &str) {
    let at = text.find(secret);
    assert!(at.is_none(), "{where_from} tells the password: {text}");
}

/// Makes kvd say all it can say, at its most talkative.
async fn assert_discreet(kvd: &Kvd, secret: &str) {
    for path in [
        "/items/a",
        "/items/",
        "/readyz",
        "/metrics",
        "/docs",
        "/openapi.json",
    ] {
        let answer = kvd.get(path).await;
        assert_untold(secret, path, answer.text());
        assert_untold(secret, path, &format!("{:?}", answer.headers));
    }
    let written = kvd.post("a", "b").await;
    assert_untold(secret, "POST", written.text());
    let output = kvd.stop().await.expect(0);
    assert_untold(secret, "stdout", output.text());
    assert_untold(secret, "stderr", &output.stderr);
    assert!(!output.stderr.is_empty());
}

/// The URL with this password.
fn with_password(url: &str, password: &str) -> String {
    let mut url = Url::parse(url).expect("a URL");
    url.set_password(Some(password)).expect("a server's URL");
    url.into()
}

/// The URL with a password that its server refuses. A server that asks its users for none refuses only unknown
/// users.
fn refused(url: &str) -> String {
    let mut url = Url::parse(url).expect("a URL");
    if url.password().is_none() {
        url.set_username("kvd_stranger").expect("a server's URL");
    }
    with_password(url.as_str(), SECRET)
}

async fn neither_the_list_of_processes_nor_help_tells_a_secret(env: Env) {
    let kvd = env.kvd().env("AUTH", "tokens").env("RUST_LOG", "trace");
    let kvd = kvd.start().await;
    let app = kvd.with_token(&env.token(["app", "--read", ""]).await);
    let _used = app.get("/items/").await.expect(200);
    let listed = tests::process::run("ps", &["-eww", "-o", "args"]).expect(0);
    assert!(listed.text().contains("kvd"), "{}", listed.text());
    assert_no_secret("the list of processes", listed.text());
    let url = with_password(&env.database().url(), SECRET);
    let help = env.kvd_bare().flag("--help").env("DATABASE_URL", &url);
    assert_untold(SECRET, "--help", help.run().await.expect(0).text());
    let help = env.kvctl_bare(["--help"]).env("DATABASE_URL", &url);
    assert_untold(SECRET, "kvctl --help", help.await.expect(0).text());
}

async fn the_password_of_postgresql_is_never_told(env: Env) {
    the_password_of_a_working_database_is_never_told(env).await;
}

async fn the_password_of_mysql_is_never_told(env: Env) {
    the_password_of_a_working_database_is_never_told(env).await;
}

async fn the_password_of_a_working_database_is_never_told(env: Env) {
    let mut url = env.database().url();
    let given = Url::parse(&url).expect("a URL");
    // A server that was given for the tests may ask for no password, and so takes any.
    let password = given.password().unwrap_or(SECRET);
    url = with_password(&url, password);
    // A short one may well be a part of other words.
    let secret = match password.len() {
        0..8 => format!(":{password}@"),
        _ => password.to_owned(),
    };
    for level in ["info", "trace"] {
        let start = env.kvd().env("DATABASE_URL", &url).env("RUST_LOG", level);
        let kvd = start.start().await;
        let _created = kvd.put("/items/x?upsert=true", "y").await;
        assert_discreet(&kvd, &secret).await;
    }
}

async fn a_wrong_password_of_postgresql_is_never_told(env: Env) {
    a_wrong_password_is_never_told(env).await;
}

async fn a_wrong_password_of_mysql_is_never_told(env: Env) {
    a_wrong_password_is_never_told(env).await;
}

async fn a_wrong_password_is_never_told(env: Env) {
    let url = refused(&env.database().url());
    let start = env.kvd().env("DATABASE_URL", &url).env("RUST_LOG", "trace");
    let kvd = start.start().await;
    kvd.get("/items/a")
        .await
        .problem(503, "database-unavailable");
    assert_discreet(&kvd, SECRET).await;
    for command in [vec!["get", "a"], vec!["migrate"], vec!["put", "a", "b"]] {
        let kvctl = tests::kvctl::on(&url).directory(env.directory());
        let output = kvctl.args(command).await.expect(2);
        assert_untold(SECRET, "kvctl", &output.stderr);
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    }
}

async fn the_password_of_an_unreachable_database_is_never_told(env: Env) {
    for url in [
        format!("postgres://kvd:{SECRET}@127.0.0.1:1/kvd"),
        format!("postgres://kvd@127.0.0.1:1/kvd?password={SECRET}"),
        format!("postgres://kvd@127.0.0.1:1/kvd?user=y&password={SECRET}"),
        format!("mysql://kvd:{SECRET}@127.0.0.1:1/kvd"),
        format!("mysql://kvd:p%40{SECRET}%2F@127.0.0.1:1/kvd"),
    ] {
        let start = env.kvd().env("DATABASE_URL", &url).env("RUST_LOG", "trace");
        let kvd = start.arg("--request-timeout", "300ms").start().await;
        assert_discreet(&kvd, SECRET).await;
    }
}

/// Whether such a parameter is refused or ignored: kvd ends, because its address is taken.
async fn the_password_beside_an_unknown_parameter_is_never_told(env: Env) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let taken = listener
        .local_addr()
        .map(|a| a.to_string())
        .expect("a port");
    for url in [
        format!("postgres://kvd:{SECRET}@127.0.0.1:1/kvd?unknown=1"),
        format!("postgres://kvd@127.0.0.1:1/kvd?unknown=1&password={SECRET}"),
        format!("postgres://kvd@127.0.0.1:1/kvd?passwd={SECRET}"),
        format!("mysql://kvd:{SECRET}@127.0.0.1:1/kvd?unknown=1"),
    ] {
        for level in ["info", "trace"] {
            let start = env.kvd().env("DATABASE_URL", &url).env("RUST_LOG", level);
            let output = start.arg("--listen", &taken).run().await;
            assert_ne!(output.code, 0);
            assert_untold(SECRET, &url.replace(SECRET, "..."), &output.stderr);
        }
    }
}

/// Settings that hold a password and cannot be used.
fn mistaken() -> Vec<Vec<String>> {
    let url = format!("postgres://kvd:{SECRET}@127.0.0.1/kvd");
    let values = [
        ["--database-url", "postgres://kvd:SECRET@127.0.0.1:port/kvd"],
        [
            "--database-url",
            "postgres://kvd:SECRET@127.0.0.1:99999/kvd",
        ],
        ["--database-url", "postgres:/kvd:SECRET@127.0.0.1/kvd"],
        ["--database-url", "redis://kvd:SECRET@127.0.0.1/0"],
        ["--database-url", "kvd:SECRET@127.0.0.1/kvd"],
        ["--database-url", "postgres://kvd:a@SECRET@[127/kvd"],
        [
            "--database-url",
            "postgres://kvd:SECRET@h/kvd?sslmode=bogus",
        ],
        ["--database-url", "mysql://kvd:SECRET@h/kvd?ssl-mode=bogus"],
    ];
    let mut mistaken: Vec<Vec<String>> = values
        .iter()
        .map(|pair| {
            pair.iter()
                .map(|word| word.replace("SECRET", SECRET))
                .collect()
        })
        .collect();
    mistaken.extend([
        vec!["--databse-url".to_owned(), url.clone()],
        vec![format!("--databse-url={url}")],
        vec!["--database".to_owned(), url.clone()],
        vec![url.clone()],
        vec!["--database-url".to_owned(), url.clone(), url.clone()],
    ]);
    mistaken
}

#[track_caller]
fn assert_mistake(output: Output, what: &[String]) {
    let output = output.expect(2);
    assert_eq!(output.text(), "", "{what:?}");
    assert_untold(SECRET, "stderr", &output.stderr);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
}

async fn the_password_in_a_mistaken_setting_is_never_told(env: Env) {
    for words in mistaken() {
        let start = words
            .iter()
            .fold(env.kvd_bare(), |start, word| start.flag(word));
        assert_mistake(start.run().await, &words);
        if let [flag, value] = &words[..]
            && flag == "--database-url"
        {
            let start = env.kvd_bare().env("DATABASE_URL", value);
            assert_mistake(start.run().await, &words);
        }
    }
    let listen = format!("postgres://kvd:{SECRET}@127.0.0.1/kvd");
    for flag in [
        "--listen",
        "--rate-limit",
        "--trusted-proxies",
        "--log-format",
    ] {
        let output = env.kvd().arg(flag, &listen).run().await;
        assert_mistake(output, &[flag.to_owned()]);
    }
}

async fn the_password_in_a_mistaken_dotenv_is_never_told(env: Env) {
    for line in [
        format!("DATABASE_URL=postgres://kvd:{SECRET} x@127.0.0.1/kvd"),
        format!("DATABASE_URL='postgres://kvd:{SECRET}@127.0.0.1/kvd"),
        format!("DATABASE_URL postgres://kvd:{SECRET}@127.0.0.1/kvd"),
        format!("DATABASE_URL=redis://kvd:{SECRET}@127.0.0.1/kvd"),
    ] {
        fs::write(env.directory().join(".env"), format!("{line}\n")).expect("a file");
        assert_mistake(env.kvd_bare().run().await, std::slice::from_ref(&line));
        assert_mistake(env.kvctl_bare(["get", "a"]).await, &[line]);
    }
}

async fn kvctl_does_not_tell_the_password_either(env: Env) {
    for words in mistaken() {
        let output = tests::kvctl::bare().args(words.iter().map(String::as_str));
        let output = output.args(["get", "a"]).directory(env.directory()).await;
        assert_mistake(output, &words);
    }
    let url = format!("postgres://kvd:{SECRET}@127.0.0.1/kvd");
    let parameter = format!("mysql://127.0.0.1/kvd?password={SECRET}");
    let at_file = format!("@{url}");
    let words: [&[&str]; 8] = [
        &["get", &url],
        &["delete", &url, &parameter],
        &["put", "--update", &url, "x"],
        &["put", "x", &at_file],
        &["import", &url],
        &["seed", "--file", &parameter],
        &["count", "-o", &parameter],
        &[
            "count",
            "--database-url",
            &url.replace("postgres", "sqlite"),
        ],
    ];
    for words in words {
        let output = env.kvctl([]).args(words).await;
        assert_ne!(output.code, 0, "{words:?}");
        assert_untold(SECRET, &words.join(" "), &output.stderr);
        assert_untold(SECRET, &words.join(" "), output.text());
    }
    let unreachable = |scheme: &str| {
        let url = format!("{scheme}://kvd:{SECRET}@127.0.0.1:1/kvd");
        tests::kvctl::on(&url).args(["get", "a"]).into_future()
    };
    let (postgres, mysql) = tokio::join!(unreachable("postgres"), unreachable("mysql"));
    assert_mistake(postgres, &[]);
    assert_mistake(mysql, &[]);
}
