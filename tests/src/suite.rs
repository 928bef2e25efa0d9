//! Runs the tests on each chosen engine, and says at the end what was tested.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fs,
    future::Future,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
    pin::Pin,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;

use crate::{
    binaries::{self, binary},
    engine::{Choice, Choices, Engine},
    env::Env,
    pace,
    server::Purpose,
    slowest,
    stage::Stage,
};

/// Tests mostly wait, for a database or for kvd, so there are more of them at a time than cores.
const THREADS: usize = 8;

/// Topics whose tests take long, mostly waiting: they begin first, so that the others run meanwhile.
const FIRST: [&str; 6] = [
    "faults::history",
    "limits::slow_readers",
    "limits::connections",
    "limits::floods",
    "operating::fleet",
    "kvctl::memory",
];

type Run = fn(Env) -> Pin<Box<dyn Future<Output = ()>>>;

/// One function of a topic.
#[derive(Clone, Copy)]
pub struct Test {
    pub on: On,
    pub module: &'static str,
    pub name: &'static str,
    pub run: Run,
}

impl Test {
    /// Which topic it belongs to of those that begin first; all others come after them.
    fn turn(&self) -> usize {
        let first = FIRST.iter().position(|topic| self.module.ends_with(topic));
        first.unwrap_or(FIRST.len())
    }
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
    /// On each chosen engine that has a private server, which the test may break: one at a time, after all others.
    Faults,
    /// The same on this engine only.
    FaultsOnly(Engine),
}

impl On {
    fn is_fault(self) -> bool {
        matches!(self, Self::Faults | Self::FaultsOnly(_))
    }
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

/// The list of a folder's topics: `tests::topics! { get, put }`
///
/// It makes the function `tests()` of the folder. A topic that is missing in it is dead code, as a test is.
#[macro_export]
macro_rules! topics {
    ($($topic:ident),+ $(,)?) => {
        pub(crate) fn tests() -> Vec<$crate::suite::Test> {
            [$($topic::tests()),+].concat()
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

/// A test with its engine.
type Planned = (Choice, Test);

/// The tests to run.
struct Suite {
    /// Many at a time.
    planned: Vec<Planned>,
    /// One at a time, after the others.
    faults: Vec<Planned>,
    left_out: Vec<&'static str>,
    /// Servers of one's own, which are not broken.
    spared: Vec<&'static str>,
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
            let on = |of: &dyn Fn(&Choice) -> bool| {
                let chosen = chosen.iter().filter(|choice| of(choice));
                chosen.map(|c| (c.clone(), *test)).collect::<Vec<_>>()
            };
            planned.extend(match test.on {
                On::Once => vec![(embedded.clone(), *test)],
                On::EveryEngine => on(&|_| true),
                On::Only(engine) => on(&|choice| choice.engine == engine),
                On::Faults => on(&|choice| choice.engine != Engine::Sqlite),
                On::FaultsOnly(engine) => on(&|choice| choice.engine == engine),
            });
        }
        planned.retain(|(choice, test)| {
            let trial = Trial::test(full_name(choice, test), || Ok(()));
            !args.is_filtered_out(&trial)
        });
        planned.sort_by_key(|(choice, test)| (test.turn(), choice.name));
        let (faults, planned) = planned
            .into_iter()
            .partition(|(_, test)| test.on.is_fault());
        let (spared, faults): (Vec<Planned>, _) =
            Vec::into_iter(faults).partition(|(choice, _)| choice.url.is_some());
        Ok(Self {
            planned,
            faults,
            left_out,
            spared: choices(&spared).iter().map(|c| c.name).collect(),
        })
    }

    fn run(self, args: &Arguments) -> Result<ExitCode, String> {
        let all = [self.planned.as_slice(), &self.faults].concat();
        if args.list || all.is_empty() {
            let names = all.iter().map(|(choice, test)| full_name(choice, test));
            let trials = names.map(|name| Trial::test(name, || Ok(()))).collect();
            return Ok(libtest_mimic::run(args, trials).exit_code());
        }
        binaries::build()?;
        binary("kvd").and(binary("kvctl"))?;
        pace::set_stretch();
        let runtime = Runtime::new().map_err(|e| format!("no runtime: {e}"))?;
        std::panic::set_hook(Box::new(remember_panic));
        let mut one_by_one = args.clone();
        one_by_one.test_threads = Some(1);
        let (mut passed, mut tested, mut taken) = (true, BTreeMap::new(), Vec::new());
        for (planned, args, purpose) in [
            (&self.planned, args, Purpose::Sharing),
            (&self.faults, &one_by_one, Purpose::Breaking),
        ] {
            if !planned.is_empty() {
                let part = perform(planned, args, purpose, &runtime)?;
                passed &= part.passed;
                tested.extend(part.versions);
                taken.extend(part.taken);
            }
        }
        tell(&format!(
            "{}{}",
            slowest::table(taken),
            self.closing_line(&tested)
        ));
        Ok(match passed {
            true => ExitCode::SUCCESS,
            // As `cargo test` ends when a test fails.
            false => ExitCode::from(101),
        })
    }

    fn closing_line(&self, tested: &BTreeMap<&str, String>) -> String {
        let engines = tested.iter().filter(|(name, _)| **name != "once");
        let versions: Vec<&str> = engines.map(|(_, version)| version.as_str()).collect();
        let mut line = match versions.is_empty() {
            true => "tested: no engine, only what needs none".to_owned(),
            false => format!("tested: {}", versions.join(", ")),
        };
        if !self.left_out.is_empty() {
            line += &format!("; left out by name: {}", self.left_out.join(", "));
        }
        if !self.spared.is_empty() {
            line += &format!(
                "; not broken, since not a private server: {}",
                self.spared.join(", ")
            );
        }
        line
    }
}

/// What came of some of the tests.
struct Performed {
    passed: bool,
    /// What they ran on, by the engine's name.
    versions: BTreeMap<&'static str, String>,
    /// How long each took.
    taken: Vec<(String, Duration)>,
}

/// Runs these tests on servers started for them.
fn perform(
    planned: &[Planned],
    args: &Arguments,
    purpose: Purpose,
    runtime: &Runtime,
) -> Result<Performed, String> {
    let stage = runtime.block_on(Stage::set(&choices(planned), purpose))?;
    let directory = stage.directory.path().to_owned();
    let watch = runtime.spawn(async move {
        let number = interrupted().await;
        // The servers get the terminal's signal themselves, or the death of this process.
        let _removed = fs::remove_dir_all(directory);
        std::process::exit(128 + number);
    });
    let stage = Arc::new(stage);
    let conclusion = libtest_mimic::run(args, trials(planned, runtime, &stage));
    runtime.block_on(stage.clear());
    watch.abort();
    let versions = stage.servers.iter();
    let versions = versions.map(|(name, server)| (*name, server.version.clone()));
    Ok(Performed {
        passed: !conclusion.has_failed(),
        versions: versions.collect(),
        taken: stage.taken().clone(),
    })
}

/// The engines with at least one of these tests.
fn choices(planned: &[Planned]) -> Vec<Choice> {
    let mut choices: Vec<Choice> = planned.iter().map(|(choice, _)| choice.clone()).collect();
    choices.sort_by_key(|choice| choice.name);
    choices.dedup_by_key(|choice| choice.name);
    choices
}

fn trials(planned: &[Planned], runtime: &Runtime, stage: &Arc<Stage>) -> Vec<Trial> {
    let trial = |(number, (choice, test)): (usize, &Planned)| {
        let (name, test) = (choice.name, *test);
        let (stage, runtime) = (Arc::clone(stage), runtime.handle().clone());
        let full_name = full_name(choice, &test);
        Trial::test(full_name.clone(), move || {
            let begun = Instant::now();
            let outcome = runtime.block_on(one(&stage, name, number, test));
            stage.taken().push((full_name, begun.elapsed()));
            outcome
        })
    };
    planned.iter().enumerate().map(trial).collect()
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
    if test.on.is_fault() {
        pace::set_stretch();
    }
    let directory = stage.directory.path().join(format!("test-{number}"));
    let env = Env::new(server, directory).await?;
    let mut wrong = Vec::new();
    if let Err(panic) = guarded((test.run)(env.clone())).await {
        wrong.push(panic);
    }
    if test.on.is_fault() {
        server.mend().await;
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

/// Prints the closing line; `KVD_TEST_REPORT` names a file that gets it too, for `./test`'s own last words.
fn tell(line: &str) {
    println!("{line}");
    if let Ok(file) = std::env::var("KVD_TEST_REPORT") {
        let written = fs::write(&file, format!("{line}\n"));
        written.unwrap_or_else(|e| eprintln!("{file}: {e}"));
    }
}
