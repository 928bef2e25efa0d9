//! The settings of `kvd`: where they come from, and what is said about a wrong one.

use std::fs;

use tests::{Env, kvd::Start, process::Output};

tests::list! {
    EveryEngine =>
        migrate_applies_pending_migrations_at_start,
        without_migrate_nothing_is_applied;
    Once =>
        a_flag_goes_before_the_environment_before_dotenv_before_the_default,
        dotenv_is_read_in_the_working_directory_only,
        a_wrong_flag_is_one_clear_line_and_exit_code_2,
        a_wrong_variable_is_one_clear_line_and_exit_code_2,
        an_empty_variable_counts_as_not_set,
        a_wrong_line_of_dotenv_is_one_clear_line_and_exit_code_2,
        without_a_database_it_does_not_start,
        on_an_address_that_others_reach_it_asks_who_is_let_in,
        port_0_is_printed,
        a_name_is_resolved_and_who_is_mistaken_is_told_what_to_write,
        the_admin_address_takes_the_operators_endpoints_over,
        help_and_version_are_no_mistakes
}

/// Exit code 2, nothing on standard output, and one line that names what is wrong.
#[track_caller]
fn assert_mistake(output: Output, named: &str) {
    let output = output.expect(2);
    assert_eq!(output.text(), "", "for '{named}'");
    let lines: Vec<&str> = output.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "for '{named}': {}", output.stderr);
    assert!(lines[0].contains(named), "'{named}' in: {}", lines[0]);
    assert!(!lines[0].contains("Err"), "{}", lines[0]);
}

/// What is left after one request tells the limit, which is the setting looked at here.
async fn quota(start: Start) -> String {
    let kvd = start.start().await;
    let answer = kvd.get("/items/").await.expect(200);
    let policy = answer.header("ratelimit-policy").expect("RateLimit-Policy");
    policy.to_owned()
}

fn policy(limit: u32, window: u32) -> String {
    format!("\"default\";q={limit};w={window}")
}

async fn a_flag_goes_before_the_environment_before_dotenv_before_the_default(env: Env) {
    let start = || env.kvd().without_env("RATE_LIMIT");
    assert_eq!(quota(start()).await, policy(60, 60));
    let dotenv = "# ours\nRATE_LIMIT=50\nRATE_LIMIT_WINDOW='40s'\n\n";
    fs::write(env.directory().join(".env"), dotenv).expect("a file");
    assert_eq!(quota(start()).await, policy(50, 40));
    let both = || start().env("RATE_LIMIT", "30");
    assert_eq!(quota(both()).await, policy(30, 40));
    let all = both().arg("--rate-limit", "20");
    assert_eq!(quota(all).await, policy(20, 40));
}

async fn dotenv_is_read_in_the_working_directory_only(env: Env) {
    let below = env.directory().join("below");
    fs::create_dir(&below).expect("a directory");
    fs::write(env.directory().join(".env"), "RATE_LIMIT=50\n").expect("a file");
    let start = || env.kvd().without_env("RATE_LIMIT");
    assert_eq!(quota(start()).await, policy(50, 60));
    assert_eq!(quota(start().directory(&below)).await, policy(60, 60));
}

const WRONG: [(&str, &str, &str); 37] = [
    ("--database-url", "DATABASE_URL", "redis://127.0.0.1/0"),
    ("--database-url", "DATABASE_URL", "no url at all"),
    ("--database-url", "DATABASE_URL", ""),
    ("--listen", "LISTEN_ADDR", "127.0.0.1:99999"),
    ("--listen", "LISTEN_ADDR", "127.0.0.1"),
    ("--listen", "LISTEN_ADDR", ":8000"),
    ("--listen", "LISTEN_ADDR", "no-such-name.invalid:8000"),
    ("--listen", "LISTEN_ADDR", "http://localhost:8000"),
    ("--admin-listen", "ADMIN_LISTEN_ADDR", "9000"),
    ("--admin-listen", "ADMIN_LISTEN_ADDR", "::1"),
    (
        "--database-max-connections",
        "DATABASE_MAX_CONNECTIONS",
        "0",
    ),
    ("--request-timeout", "REQUEST_TIMEOUT", "soon"),
    ("--request-timeout", "REQUEST_TIMEOUT", "-1s"),
    ("--rate-limit", "RATE_LIMIT", "10001"),
    ("--rate-limit", "RATE_LIMIT", "-1"),
    ("--rate-limit", "RATE_LIMIT", "many"),
    ("--rate-limit-window", "RATE_LIMIT_WINDOW", "0s"),
    ("--rate-limit-window", "RATE_LIMIT_WINDOW", "1500ms"),
    ("--rate-limit-window", "RATE_LIMIT_WINDOW", "1s 1ns"),
    ("--rate-limit-max-clients", "RATE_LIMIT_MAX_CLIENTS", "0"),
    ("--auth", "AUTH", "basic"),
    ("--trusted-proxies", "TRUSTED_PROXIES", "10.0.0.0/33"),
    (
        "--trusted-proxies",
        "TRUSTED_PROXIES",
        "127.0.0.1,proxy.example",
    ),
    ("--client-ip-header", "CLIENT_IP_HEADER", "x forwarded for"),
    ("--client-ip-header", "CLIENT_IP_HEADER", ""),
    ("--allowed-hosts", "ALLOWED_HOSTS", "http://kvd.example"),
    ("--allowed-hosts", "ALLOWED_HOSTS", "kvd.example:8000"),
    ("--allowed-hosts", "ALLOWED_HOSTS", "localhost,*.example"),
    ("--allowed-hosts", "ALLOWED_HOSTS", "."),
    ("--max-value-bytes", "MAX_VALUE_BYTES", "256k"),
    ("--memory-budget", "MEMORY_BUDGET", "8589934592GiB"),
    ("--max-connections", "MAX_CONNECTIONS", "0"),
    ("--shutdown-delay", "SHUTDOWN_DELAY", "soon"),
    ("--shutdown-grace", "SHUTDOWN_GRACE", "10 parsecs"),
    ("--log-format", "LOG_FORMAT", "xml"),
    ("--log-format", "LOG_FORMAT", "line\nbreak"),
    ("--migrate", "MIGRATE", "perhaps"),
];

async fn a_wrong_flag_is_one_clear_line_and_exit_code_2(env: Env) {
    for (flag, variable, value) in WRONG {
        let start = env.kvd().without_env(variable);
        // A switch takes its value only together with its name.
        let start = start.flag(&format!("{flag}={value}"));
        assert_mistake(start.run().await, flag);
    }
    for flag in ["--rate-limits=1", "--unknown", "-x"] {
        let named = flag.split('=').next().expect("a name");
        assert_mistake(env.kvd().flag(flag).run().await, named);
    }
    assert_mistake(env.kvd().flag("stray").run().await, "stray");
    assert_mistake(env.kvd().flag("--rate-limit").run().await, "--rate-limit");
    let twice = env.kvd().flag("--rate-limit=1").flag("--rate-limit=2");
    assert_mistake(twice.run().await, "--rate-limit");
}

async fn a_wrong_variable_is_one_clear_line_and_exit_code_2(env: Env) {
    for (flag, variable, value) in WRONG {
        if !value.is_empty() {
            let start = env.kvd().env(variable, value);
            assert_mistake(start.run().await, flag);
        }
    }
}

async fn an_empty_variable_counts_as_not_set(env: Env) {
    let none = env.kvd_bare().env("DATABASE_URL", "");
    assert_mistake(none.run().await, "no database");
    let start = env.kvd().env("RATE_LIMIT", "").env("LOG_FORMAT", "");
    assert_eq!(quota(start).await, policy(60, 60));
}

async fn a_wrong_line_of_dotenv_is_one_clear_line_and_exit_code_2(env: Env) {
    let file = env.directory().join(".env");
    for (content, named) in [
        ("RATE_LIMIT=5\nthis is no setting\n", ".env"),
        ("RATE_LIMIT='5\n", ".env"),
        ("\nRATE_LIMIT=5 6\n", ".env"),
        ("RATE_LIMIT=10001\n", "--rate-limit"),
    ] {
        fs::write(&file, content).expect("a file");
        let start = env.kvd().without_env("RATE_LIMIT");
        assert_mistake(start.run().await, named);
    }
    fs::write(&file, b"RATE_LIMIT=\xFF\n").expect("a file");
    assert_mistake(env.kvd().run().await, ".env");
}

async fn without_a_database_it_does_not_start(env: Env) {
    assert_mistake(env.kvd_bare().run().await, "DATABASE_URL");
}

async fn on_an_address_that_others_reach_it_asks_who_is_let_in(env: Env) {
    for elsewhere in ["0.0.0.0:0", "[::]:0"] {
        let start = || env.kvd().env("LISTEN_ADDR", elsewhere);
        assert_mistake(start().run().await, "AUTH=tokens");
        assert_mistake(start().env("AUTH", "").run().await, "AUTH=tokens");
        for auth in ["off", "tokens"] {
            let kvd = start().env("AUTH", auth).start().await;
            let _ended = kvd.stop().await.expect(0);
        }
    }
    for loopback in ["127.0.0.1:0", "127.0.0.2:0", "[::1]:0", "localhost:0"] {
        let kvd = env.kvd().env("LISTEN_ADDR", loopback).start().await;
        let _ended = kvd.stop().await.expect(0);
    }
    // The admin address has neither items nor tokens.
    let start = env.kvd().env("ADMIN_LISTEN_ADDR", "0.0.0.0:0");
    let kvd = start.start().await;
    let _ended = kvd.stop().await.expect(0);
}

async fn port_0_is_printed(env: Env) {
    let kvd = env.kvd().arg("--listen", "127.0.0.1:0").start().await;
    let port = kvd.address().port();
    assert_ne!(port, 0);
    let _reached = kvd.get("/livez").await.expect(200);
    let output = kvd.stop().await.expect(0);
    let line = format!("listening on http://127.0.0.1:{port}\n");
    assert_eq!(output.text(), line, "standard output");
}

async fn a_name_is_resolved_and_who_is_mistaken_is_told_what_to_write(env: Env) {
    let start = env.kvd().arg("--listen", "localhost:0");
    let kvd = start.env("ADMIN_LISTEN_ADDR", "localhost:0").start().await;
    assert!(kvd.address().ip().is_loopback());
    let _reached = kvd.get("/items/").await.expect(200);
    let _admin = kvd.admin().get("/livez").await.expect(200);
    for (wrong, write) in [
        ("localhost", "write localhost:8000"),
        ("0.0.0.0", "write 0.0.0.0:8000"),
        ("[::1]", "write [::1]:8000"),
        ("::1", "write it as [::1]:8000"),
        ("8001", "write 127.0.0.1:8001"),
        (":8001", "write 127.0.0.1:8001"),
        ("http://localhost:8001", "write localhost:8001"),
        ("localhost:http", "a number from 0 to 65535"),
        ("no-such-name.invalid:8000", "cannot be resolved"),
    ] {
        let start = env.kvd().arg("--listen", wrong);
        assert_mistake(start.run().await, write);
    }
}

async fn the_admin_address_takes_the_operators_endpoints_over(env: Env) {
    let start = env.kvd().arg("--admin-listen", "127.0.0.1:0");
    let kvd = start.arg("--rate-limit", "1").start().await;
    let admin = kvd.admin();
    for path in ["/livez", "/readyz", "/metrics"] {
        for _ in 0..3 {
            let _there = admin.get(path).await.expect(200);
        }
        kvd.get(path).await.problem(404, "route-not-found");
    }
    admin.get("/items/").await.problem(404, "route-not-found");
    let _public = kvd.get("/items/").await.expect(200);
    let _document = kvd.get("/openapi.json").await.expect(200);
}

async fn help_and_version_are_no_mistakes(env: Env) {
    for flag in ["--help", "-h", "--version"] {
        let output = env.kvd_bare().flag(flag).run().await.expect(0);
        assert_eq!(output.stderr, "", "{flag}");
        assert!(output.text().contains("kvd"), "{flag}");
    }
    let help = env.kvd_bare().flag("--help").run().await;
    for (flag, variable, _) in WRONG {
        assert!(help.text().contains(flag), "{flag}");
        assert!(help.text().contains(variable), "{variable}");
    }
}

async fn migrate_applies_pending_migrations_at_start(env: Env) {
    for start in [
        |start: Start| start.flag("--migrate"),
        |start: Start| start.env("MIGRATE", "true"),
    ] {
        let database = env.empty_database().await;
        let kvd = start(env.kvd_on(&database)).start().await;
        kvd.ready().await;
        let _created = kvd.create("a", "b").await;
        // Nothing is pending the next time, and nothing is lost.
        let again = start(env.kvd_on(&database)).start().await;
        again.ready().await;
        assert_eq!(again.get("/items/a").await.member("value"), "b");
    }
}

async fn without_migrate_nothing_is_applied(env: Env) {
    let database = env.empty_database().await;
    let kvd = env.kvd_on(&database).env("MIGRATE", "false").start().await;
    let _not_ready = kvd.get("/readyz").await.expect(503);
    kvd.get("/items/")
        .await
        .problem(503, "database-unavailable");
    let status = env.kvctl_on(&database, ["migrate", "status"]).await;
    assert!(status.expect(0).text().contains("pending"));
}
