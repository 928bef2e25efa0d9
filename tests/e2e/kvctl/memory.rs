//! However much there is, kvctl keeps little of it in memory.

use std::{fs, process::Stdio, time::Duration};

use tests::{
    Env,
    binaries::binary,
    kvctl::RunningKvctl,
    pace::{PATIENCE, timeout},
};
use tokio::{io::AsyncReadExt, process::Command, time::sleep};

tests::list! {
    EveryEngine =>
        import_and_export_run_in_bounded_memory_however_slow_the_reader_is
}

const ITEMS: usize = 2_000;
const VALUE_BYTES: usize = 60_000;
/// Of 120 MB that pass, and in a binary without optimisation.
const MOST_KB: u64 = 60_000;

/// The most memory a process has had, in kB.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .expect("VmHWM")
}

async fn fill(import: &mut RunningKvctl) {
    let value = "v".repeat(VALUE_BYTES);
    for n in 0..ITEMS {
        let line = format!("{{\"key\":\"k{n:06}\",\"value\":\"{value}\"}}\n");
        import.send(line.as_bytes()).await;
    }
}

async fn import_and_export_run_in_bounded_memory_however_slow_the_reader_is(env: Env) {
    assert_import_is_bounded(&env).await;
    assert_export_is_bounded(&env).await;
}

async fn assert_import_is_bounded(env: &Env) {
    let mut import = env.kvctl(["import", "-"]).spawn();
    fill(&mut import).await;
    // All but the end of the input has gone through it by now.
    let most = peak(import.pid());
    let done = import.end().await.expect(0);
    assert_eq!(
        done.text(),
        format!("created {ITEMS}, updated 0, skipped 0\n")
    );
    assert!(most < MOST_KB, "import: {most} kB");
}

async fn assert_export_is_bounded(env: &Env) {
    let program = binary("kvctl").unwrap_or_else(|e| panic!("{e}"));
    let mut export = Command::new(program)
        .arg("export")
        .env("DATABASE_URL", env.database().url())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("kvctl starts");
    let pid = export.id().expect("it runs");
    let mut pipe = export.stdout.take().expect("stdout is piped");
    let all = async {
        let (mut bytes, mut buffer, mut most) = (0, vec![0; 1 << 16], 0);
        loop {
            let read = pipe.read(&mut buffer).await.expect("the pipe can be read");
            if bytes == 0 {
                // Long enough for it to read everything, if it did.
                sleep(Duration::from_secs(1)).await;
            }
            if read == 0 {
                return (bytes, most);
            }
            bytes += read;
            if bytes < ITEMS * VALUE_BYTES {
                most = peak(pid);
            }
        }
    };
    let (bytes, most) = timeout(PATIENCE, all).await.expect("the export ends");
    assert!(export.wait().await.expect("it is waited for").success());
    assert!(bytes > ITEMS * VALUE_BYTES, "{bytes} bytes");
    assert!(most < MOST_KB, "export: {most} kB");
}
