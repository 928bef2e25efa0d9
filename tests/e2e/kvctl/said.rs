//! What the tests of kvctl share: how it fails, and which commands its help lists.

use tests::{Env, process::Output};

/// This exit code, nothing on standard output, one line on standard error.
#[track_caller]
pub(crate) fn assert_failed(output: Output, code: i32, named: &str) {
    let output = output.expect(code);
    assert_eq!(output.text(), "");
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    assert!(
        output.stderr.contains(named),
        "no {named}: {}",
        output.stderr
    );
    for word in ["DbErr", "Error(", "panicked", "Some("] {
        assert!(!output.stderr.contains(word), "{}", output.stderr);
    }
}

/// The commands as the help lists them, so that none that is added later is forgotten.
pub(crate) async fn commands(env: &Env) -> Vec<String> {
    let help = env.kvctl_bare(["--help"]).await.expect(0);
    let listed = help.text().lines().skip_while(|line| *line != "Commands:");
    let listed = listed.skip(1).take_while(|line| !line.is_empty());
    let name = |line: &str| line.split_whitespace().next().map(str::to_owned);
    listed
        .filter_map(name)
        .filter(|name| name != "help")
        .collect()
}
