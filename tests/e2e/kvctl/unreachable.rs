//! What `kvctl` says of a database that it cannot connect to, or is not allowed to use.

use std::fs;

use reqwest::Url;
use tests::{Engine, Env, pace::Stopwatch};

use crate::kvctl::errors::{CALLS, ITEM, SECRET, assert_told, call, with};

tests::list! {
    EveryEngine => an_unknown_database_is_named;
    Only(Engine::Postgres) => a_wrong_user_or_password_is_told_as_such;
    Only(Engine::Mysql) => a_wrong_user_or_password_is_told_as_such;
    Once =>
        without_a_database_every_command_says_what_to_give,
        a_closed_port_is_told_at_once,
        the_usual_port_is_named_too,
        an_unknown_host_is_named,
        a_missing_file_is_named_and_not_created,
        nobody_is_advised_to_do_what_was_just_done,
        what_is_no_database_file_is_told_as_such
}

async fn an_unknown_database_is_named(env: Env) {
    let (url, next) = match env.engine() {
        // The file, without the parameter that creates it.
        Engine::Sqlite => {
            let file = |url: &mut Url| {
                url.set_query(None);
                url.set_path(&format!("{}_unknown", url.path()));
            };
            (with(env.database(), file), "kvctl migrate creates the file")
        }
        Engine::Postgres | Engine::Mysql => {
            let name = |url: &mut Url| url.set_path("no_such_database_unknown");
            (with(env.database(), name), "create the database")
        }
    };
    for words in [&["get", "a"][..], &["migrate", "status"], &["count"]] {
        let output = call(&env, &url, words).await;
        assert_told(output, 2, &["cannot connect to", "_unknown", next]);
    }
}

async fn a_wrong_user_or_password_is_told_as_such(env: Env) {
    let database = env.database();
    let password = |url: &mut Url| url.set_password(Some(SECRET)).expect("a server's URL");
    let mut urls = vec![with(database, |url| {
        url.set_username("kvd_stranger").expect("a server's URL");
        password(url);
    })];
    // A server that was given for the tests may let its users in whatever their password.
    if Url::parse(&database.url()).is_ok_and(|url| url.password().is_some()) {
        urls.push(with(database, password));
    }
    for url in urls {
        let user = Url::parse(&url).expect("a URL").username().to_owned();
        for words in [
            &["get", "a"][..],
            &["migrate"],
            &["import", "-"],
            &["inspect"],
        ] {
            let output = call(&env, &url, words).await;
            assert_told(
                output,
                2,
                &[
                    "cannot connect to",
                    &user,
                    "check the user and the password",
                ],
            );
        }
    }
}

async fn without_a_database_every_command_says_what_to_give(env: Env) {
    for words in CALLS
        .into_iter()
        .chain([&["inspect"][..], &["migrate", "status"]])
    {
        let output = env.kvctl_bare([]).args(words).stdin(ITEM).await;
        assert_told(
            output,
            2,
            &["--database-url", "DATABASE_URL", "postgres://"],
        );
    }
}

async fn a_closed_port_is_told_at_once(env: Env) {
    for scheme in ["postgres", "mysql"] {
        let url = format!("{scheme}://kvd:{SECRET}@127.0.0.1:1/kvd");
        for words in CALLS.into_iter().chain([&["inspect"][..], &["migrate"]]) {
            let watch = Stopwatch::start();
            let output = call(&env, &url, words).await;
            // Far more than it takes, and less than waiting for a server would.
            assert!(watch.elapsed().as_secs() < 4, "{words:?}");
            assert_told(
                output,
                2,
                &["127.0.0.1:1", "refused", "is the server running"],
            );
        }
    }
}

async fn the_usual_port_is_named_too(env: Env) {
    // Of all that is 127.0.0.0/8 nothing listens there.
    for (scheme, port) in [("postgres", "5432"), ("mysql", "3306")] {
        let url = format!("{scheme}://kvd:{SECRET}@127.250.250.250/kvd");
        let output = call(&env, &url, &["count"]).await;
        assert_told(output, 2, &["127.250.250.250", port]);
    }
}

async fn an_unknown_host_is_named(env: Env) {
    for scheme in ["postgres", "mysql"] {
        let url = format!("{scheme}://kvd:{SECRET}@no-such-host.invalid/kvd");
        for words in [&["count"][..], &["migrate", "status"]] {
            let output = call(&env, &url, words).await;
            assert_told(
                output,
                2,
                &["no-such-host.invalid", "is the database URL right?"],
            );
        }
    }
}

async fn a_missing_file_is_named_and_not_created(env: Env) {
    let file = env.directory().join("missing.db");
    let url = format!("sqlite://{}", file.display());
    for words in CALLS
        .into_iter()
        .chain([&["inspect"][..], &["migrate", "status"]])
    {
        let output = call(&env, &url, words).await;
        assert_told(
            output,
            2,
            &["missing.db", "is the path right?", "kvctl migrate"],
        );
        assert!(!file.exists(), "{words:?} created it");
    }
}

async fn nobody_is_advised_to_do_what_was_just_done(env: Env) {
    let url = format!("sqlite://{}/no/missing.db", env.directory().display());
    for words in [&["migrate"][..], &["migrate", "fresh", "--yes"]] {
        let output = call(&env, &url, words).await;
        assert!(
            !output.stderr.contains("kvctl migrate creates"),
            "{}",
            output.stderr
        );
        assert_told(output, 2, &["missing.db"]);
    }
}

async fn what_is_no_database_file_is_told_as_such(env: Env) {
    let text = "Not a database, and not a short one either. ".repeat(100);
    fs::write(env.directory().join("text.db"), &text).expect("a file");
    fs::create_dir(env.directory().join("directory")).expect("a directory");
    for (name, why) in [("text.db", "not a database"), ("directory", "directory")] {
        let url = format!("sqlite://{}/{name}", env.directory().display());
        for words in [&["get", "a"][..], &["migrate"], &["count"], &["inspect"]] {
            let output = call(&env, &url, words).await;
            let advised = output.stderr.contains("kvctl migrate creates the file");
            assert!(!advised, "it is there: {}", output.stderr);
            assert_told(output, 2, &["cannot connect to", name, why]);
        }
    }
    let after = fs::read_to_string(env.directory().join("text.db")).expect("a file");
    assert_eq!(after, text);
}
