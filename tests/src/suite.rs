//! Runs the tests on each chosen engine, and says at the end what was tested.

use std::{
    cell::{Cell, RefCell},
    fs,
    future::Future,
    os::unix::fs::PermissionsExt,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
    path::Path,
    pin::Pin,
    process::ExitCode,
    sync::Arc,
};

use libtest_mimic::{Arguments, Failed, Trial};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    Engine, Env,
    database::{prepare_template, remove_template},
    engine::{Choice, Choices},
    process::binary,
    server::Server,
};

/// Tests mostly wait, for a database or for kvd, so there are more of them at a time than cores.
const THREADS: usize = 8;

type Run = fn(Env) -> Pin<Box<dyn Future<Output = ()>>>;

/// One function of a topic.
#[derive(Clone, Copy)]
pub struct Test {
    pub on: On,
    pub module: &'static str,
    pub name: &'static str,
    pub run: Run,
}

/// Where a test runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// On each chosen engine.
    EveryEngine,
    /// Once, whatever is chosen, on an embedded database: nothing in it depends on the engine.
    Once,
    /// On this engine, if chosen.
    Only(Engine),
}

/// The list of a topic's tests: `tests::list! { EveryEngine => a, b; Once => c; Only(Engine::Postgres) => d }`
///
/// It makes the function `tests()`. A test that is missing in it is dead code, which the compiler reports.
#[macro_export]
macro_rules! list {
    ($($on:expr => $($name:ident),+ $(,)?);+ $(;)?) => {
        pub(crate) fn tests() -> Vec<$crate::suite::Test> {
            use $crate::suite::On::*;
            vec![$($(
                $crate::suite::Test {
                    on: $on,
                    module: module_path!(),
                    name: stringify!($name),
                    run: |env| Box::pin($name(env)),
                },
            )+)+]
        }
    };
}

/// The `main` of a test binary.
#[must_use]
pub fn run(tests: &[Test]) -> ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(THREADS);
    match Suite::new(tests, &args).and_then(|suite| suite.run(&args)) {
        Ok(code) => code,
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::from(2)
        }
    }
}

/// The tests to run, each with its engine.
struct Suite {
    planned: Vec<(Choice, Test)>,
    left_out: Vec<&'static str>,
}

impl Suite {
    fn new(tests: &[Test], args: &Arguments) -> Result<Self, String> {
        let Choices { chosen, left_out } = Choices::from_env()?;
        let embedded = Choice {
            engine: Engine::Sqlite,
            name: "once",
            url: None,
        };
        let mut planned = Vec::new();
        for test in tests {
            match test.on {
                On::Once => planned.push((embedded.clone(), *test)),
                On::EveryEngine => planned.extend(chosen.iter().map(|c| (c.clone(), *test))),
                On::Only(engine) => {
                    let chosen = chosen.iter().filter(|choice| choice.engine == engine);
                    planned.extend(chosen.map(|choice| (choice.clone(), *test)));
                }
            }
        }
        planned.retain(|(choice, test)| {
            let trial = Trial::test(full_name(choice, test), || Ok(()));
            !args.is_filtered_out(&trial)
        });
        planned.sort_by_key(|(choice, _)| choice.name);
        Ok(Self { planned, left_out })
    }

    fn run(self, args: &Arguments) -> Result<ExitCode, String> {
        if args.list || self.planned.is_empty() {
            let names = self
                .planned
                .iter()
                .map(|(choice, test)| full_name(choice, test));
            let trials = names.map(|name| Trial::test(name, || Ok(()))).collect();
            return Ok(libtest_mimic::run(args, trials).exit_code());
        }
        binary("kvd").and(binary("kvctl"))?;
        let runtime = Runtime::new().map_err(|e| format!("no runtime: {e}"))?;
        let stage = runtime.block_on(Stage::set(&self.choices()))?;
        let directory = stage.directory.path().to_owned();
        runtime.spawn(async move {
            let number = interrupted().await;
            // The servers get the terminal's signal themselves, or the death of this process.
            let _removed = fs::remove_dir_all(directory);
            std::process::exit(128 + number);
        });
        let stage = Arc::new(stage);
        let trials = self.trials(&runtime, &stage);
        std::panic::set_hook(Box::new(remember_panic));
        let conclusion = libtest_mimic::run(args, trials);
        runtime.block_on(stage.clear());
        tell(&stage.tested(&self.left_out));
        Ok(conclusion.exit_code())
    }

    /// The engines with at least one test to run.
    fn choices(&self) -> Vec<Choice> {
        let mut choices: Vec<Choice> = self
            .planned
            .iter()
            .map(|(choice, _)| choice.clone())
            .collect();
        choices.dedup_by_key(|choice| choice.name);
        choices
    }

    fn trials(&self, runtime: &Runtime, stage: &Arc<Stage>) -> Vec<Trial> {
        let trial = |(number, (choice, test)): (usize, &(Choice, Test))| {
            let (name, test) = (choice.name, *test);
            let (stage, runtime) = (Arc::clone(stage), runtime.handle().clone());
            Trial::test(full_name(choice, &test), move || {
                runtime.block_on(one(&stage, name, number, test))
            })
        };
        self.planned.iter().enumerate().map(trial).collect()
    }
}

/// Waits for Ctrl-C or `SIGTERM`; the signal's number.
async fn interrupted() -> i32 {
    use tokio::signal::unix::{SignalKind, signal};

    let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
    let [Ok(mut interrupt), Ok(mut terminate)] = kinds.map(signal) else {
        // Without a handler the signal ends this process, as it would any other.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => kinds[0].as_raw_value(),
        _ = terminate.recv() => kinds[1].as_raw_value(),
    }
}

fn full_name(choice: &Choice, test: &Test) -> String {
    let module = test
        .module
        .split_once("::")
        .map_or(test.module, |(_, module)| module);
    format!("{}::{module}::{}", choice.name, test.name)
}

/// Runs one test from its database to its last process.
async fn one(stage: &Stage, choice: &str, number: usize, test: Test) -> Result<(), Failed> {
    let server = stage.server(choice);
    let directory = stage.directory.path().join(format!("test-{number}"));
    let env = Env::new(server, directory).await?;
    let mut wrong = Vec::new();
    if let Err(panic) = guarded((test.run)(env.clone())).await {
        wrong.push(panic);
    }
    // Ending it may panic as well, when kvd does not stop.
    match tokio::spawn({
        let env = env.clone();
        async move { env.finish().await }
    })
    .await
    {
        Ok(more) => wrong.extend(more),
        Err(e) => wrong.push(format!("the test's processes did not end: {e}")),
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(format!("{}\n{}", wrong.join("\n"), env.story()).into()),
    }
}

thread_local! {
    /// Whether a test runs on this thread, whose panic belongs into its report.
    static TESTING: Cell<bool> = const { Cell::new(false) };
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

fn remember_panic(info: &PanicHookInfo) {
    if TESTING.get() {
        PANIC.set(info.to_string());
    } else {
        eprintln!("{info}");
    }
}

/// Polls the test; its panic is a value.
async fn guarded(test: Pin<Box<dyn Future<Output = ()>>>) -> Result<(), String> {
    let mut test = test;
    std::future::poll_fn(|context| {
        TESTING.set(true);
        let polled = catch_unwind(AssertUnwindSafe(|| test.as_mut().poll(context)));
        TESTING.set(false);
        match polled {
            Ok(poll) => poll.map(Ok),
            Err(_) => std::task::Poll::Ready(Err(PANIC.take())),
        }
    })
    .await
}

/// The directory and the servers of one run.
struct Stage {
    directory: TempDir,
    servers: Vec<(&'static str, Arc<Server>)>,
}

impl Stage {
    /// Starts everything, or says all that is missing at once.
    async fn set(choices: &[Choice]) -> Result<Self, String> {
        let directory = tempfile::Builder::new()
            .prefix("kvd-tests-")
            .permissions(fs::Permissions::from_mode(0o711)) // another user runs the servers
            .tempdir()
            .map_err(|e| format!("no temporary directory: {e}"))?;
        let mut stage = Self {
            directory,
            servers: Vec::new(),
        };
        let mut missing = Vec::new();
        for choice in choices {
            match open(choice, stage.directory.path()).await {
                Ok(server) => stage.servers.push((choice.name, server)),
                Err(reason) => missing.push(reason),
            }
        }
        if missing.is_empty() {
            return Ok(stage);
        }
        stage.clear().await;
        Err(missing.join("\nerror: "))
    }

    fn server(&self, name: &str) -> &Arc<Server> {
        let found = self.servers.iter().find(|(server, _)| *server == name);
        &found.expect("every planned engine was started").1
    }

    async fn clear(&self) {
        for (_, server) in &self.servers {
            remove_template(server).await;
            server.stop();
        }
    }

    fn tested(&self, left_out: &[&str]) -> String {
        let engines = self.servers.iter().filter(|(name, _)| *name != "once");
        let versions: Vec<&str> = engines.map(|(_, server)| server.version.as_str()).collect();
        let tested = match versions.is_empty() {
            true => "no engine, only what needs none".to_owned(),
            false => versions.join(", "),
        };
        match left_out.is_empty() {
            true => format!("tested: {tested}"),
            false => format!(
                "tested: {tested}; left out by name: {}",
                left_out.join(", ")
            ),
        }
    }
}

async fn open(choice: &Choice, directory: &Path) -> Result<Arc<Server>, String> {
    let server = Arc::new(Server::open(choice, directory).await?);
    match prepare_template(&server).await {
        Ok(()) => Ok(server),
        Err(reason) => {
            server.stop();
            Err(format!("cannot test {}: {reason}", choice.name))
        }
    }
}

/// Prints the closing line; `KVD_TEST_REPORT` names a file that gets it too, for `./test`'s own last words.
fn tell(line: &str) {
    println!("{line}");
    if let Ok(file) = std::env::var("KVD_TEST_REPORT") {
        let written = fs::write(&file, format!("{line}\n"));
        written.unwrap_or_else(|e| eprintln!("{file}: {e}"));
    }
}
