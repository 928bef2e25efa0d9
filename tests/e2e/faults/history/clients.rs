//! Clients of kvd, operators with kvctl, and what they make of the answers.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use reqwest::Method;
use serde_json::{Value as Json, json};
use tests::{
    Answer, Client, Kvd,
    client::Call,
    history::{End, Expiry, Operation, Outcome, Record, Tag, Value},
    item,
    load::until,
    pace::timeout,
    process::Output,
};
use tokio::time::sleep;

use crate::faults::history::run::{CLIENTS, KEYS, Run, Service, lock, milliseconds};

/// How long a client waits for an answer: longer than kvd takes, unless it is frozen.
const CLIENT_PATIENCE: Duration = Duration::from_secs(5);

/// Asks until the run is over.
pub(super) async fn be_a_client(run: Arc<Run>, number: u64, mut random: Rng) {
    while !run.is_over() {
        let key = run.choose_key(&mut random);
        let operation = run.choose_operation(key, &mut random);
        let mut ask = Ask {
            run: &run,
            key,
            operation,
            expiry: Expiry::Never,
        };
        let outcome = if number < CLIENTS {
            let service = &run.services[random.usize(..run.services.len())];
            ask.expiry = run.choose_expiry(operation, &mut random);
            ask.of_kvd(service, &format!("client {number}"), &mut random)
                .await
        } else {
            // An operator types, and each kvctl is a process: a smaller share.
            sleep(milliseconds(&mut random, 50..200)).await;
            ask.of_kvctl(&format!("operator {number}"), &mut random)
                .await
        };
        if matches!(outcome, None | Some(Outcome::NotDone)) {
            // As Retry-After has it, but for the time: what is wanted here is trouble.
            sleep(milliseconds(&mut random, 5..50)).await;
        }
    }
}

/// Reads every key from both services, so that a write that vanished, or came about late, is seen.
pub(super) async fn look_at_every_key(run: &Run) {
    for key in 0..KEYS {
        for service in &run.services {
            let ask = Ask {
                run,
                key,
                operation: Operation::Read,
                expiry: Expiry::Never,
            };
            until(&format!("{} answers", service.name), || {
                ask.is_answered_by(service)
            })
            .await;
        }
    }
}

/// One operation.
struct Ask<'a> {
    run: &'a Run,
    key: usize,
    operation: Operation,
    expiry: Expiry,
}

impl Ask<'_> {
    /// What kvd says, written down; `None` if a read was not answered, which tells nothing.
    async fn of_kvd(&self, service: &Service, client: &str, random: &mut Rng) -> Option<Outcome> {
        let by = format!("{client} by {}", service.name);
        let kvd = service.kvd();
        let call = self.call(&kvd, random.bool());
        let call = async {
            match call.attempt().await {
                Ok(answer) => Some(self.judge(&answer).map_err(|wrong| {
                    let log = logged(&kvd, answer.header("x-request-id"));
                    format!("not in the contract: {by}: {wrong}\n{log}")
                })),
                // There is no such kvd just now, so it was not asked.
                Err(error) if error.is_connect() => {
                    Some(Ok(Told::new(Outcome::NotDone, End::default)))
                }
                Err(_) => None,
            }
        };
        self.write_down(&by, timeout(patience(random), call)).await
    }

    /// Whether the service gives an answer, be it that there is no such key.
    async fn is_answered_by(&self, service: &Service) -> bool {
        let call = self.call(&service.kvd(), false).attempt();
        let judged = async { Some(self.judge(&call.await.ok()?)) };
        let outcome = self
            .write_down("the end", timeout(CLIENT_PATIENCE, judged))
            .await;
        outcome.is_some_and(|outcome| outcome != Outcome::NotDone)
    }

    fn call(&self, kvd: &Client, by_put: bool) -> Call {
        let key = Run::key(self.key);
        let path = item(&key);
        let under = |call: Call, tag: Option<Tag>| match tag {
            Some(tag) => call.header("If-Match", &format!("\"{tag}\"")),
            None => call,
        };
        match self.operation {
            Operation::Read => kvd.get(&path),
            Operation::Create(value) if by_put => {
                self.put(kvd, &path, value).header("If-None-Match", "*")
            }
            Operation::Create(value) => {
                let mut body = self.body(value);
                body["key"] = key.into();
                kvd.request(Method::POST, "/items/").json(&body)
            }
            Operation::Update(value, tag) => under(self.put(kvd, &path, value), tag),
            Operation::Upsert(value) => self.put(kvd, &format!("{path}?upsert=true"), value),
            Operation::Delete(tag) => under(kvd.delete(&path), tag),
        }
    }

    fn put(&self, kvd: &Client, path: &str, value: Value) -> Call {
        let mark = if path.contains('?') { '&' } else { '?' };
        let path = match self.expiry {
            Expiry::Keep => format!("{path}{mark}keep_ttl=true"),
            _ => path.to_owned(),
        };
        kvd.request(Method::PUT, &path).json(&self.body(value))
    }

    fn body(&self, value: Value) -> Json {
        let mut body = json!({"value": value.to_string()});
        match self.expiry {
            Expiry::Never | Expiry::Keep => {}
            Expiry::After(time) => body["ttl"] = time.as_secs().into(),
            Expiry::At(time) => body["expires_at"] = self.run.time(time).into(),
        }
        body
    }

    /// The outcome by the contract.
    fn judge(&self, answer: &Answer) -> Result<Told, String> {
        use Operation::{Create, Delete, Read, Update, Upsert};

        let stored = || shown(&answer.json(), self.operation.value());
        let outcome = match (self.operation, answer.status) {
            (_, 503 | 408) => Some(Outcome::NotDone),
            // The end had come when kvd read the request.
            (_, 400) if matches!(self.expiry, Expiry::At(end) if end < self.run.begun.elapsed()) => {
                Some(Outcome::NotDone)
            }
            (Create(_) | Update(..) | Upsert(_) | Delete(_), 504) => Some(Outcome::Unknown),
            (Read, 200) => {
                shown(&answer.json(), None).map(|(tag, value)| Outcome::Found(tag, value))
            }
            (Create(_) | Upsert(_), 201) => stored().map(|(tag, _)| Outcome::Created(tag)),
            (Update(..) | Upsert(_), 200) => stored().map(|(tag, _)| Outcome::Updated(tag)),
            (Create(_), 409) => Some(Outcome::Exists),
            (Create(_) | Update(_, Some(_)) | Delete(Some(_)), 412) => {
                let tag = answer.header("etag");
                tag.and_then(|tag| tag.parse().ok()).map(Outcome::Refused)
            }
            (Read | Update(..) | Delete(_), 404) => Some(Outcome::Missing),
            (Delete(_), 204) => Some(Outcome::Deleted),
            _ => None,
        };
        let end = || self.end(&answer.json());
        outcome
            .map(|outcome| Told::new(outcome, end))
            .ok_or_else(|| {
                let body = String::from_utf8_lossy(&answer.body);
                format!("{} -> {}, {body}", self.operation, answer.status)
            })
    }

    /// The same by kvctl.
    async fn of_kvctl(&self, operator: &str, random: &mut Rng) -> Option<Outcome> {
        let by = format!("{operator} by kvctl");
        let (key, env) = (Run::key(self.key), &self.run.env);
        let (value, sent) = match self.operation {
            Operation::Update(value, tag) => (value.to_string(), tag),
            Operation::Delete(tag) => (String::new(), tag),
            Operation::Read => (String::new(), None),
            Operation::Create(value) | Operation::Upsert(value) => (value.to_string(), None),
        };
        let sent = sent.map(|tag| tag.to_string());
        let kvctl = match (self.operation, &sent) {
            (Operation::Read, _) => env.kvctl(["-o", "json", "get", &key]),
            (Operation::Create(_), _) => env.kvctl(["-o", "json", "put", "--create", &key, &value]),
            (Operation::Update(..), None) => {
                env.kvctl(["-o", "json", "put", "--update", &key, &value])
            }
            (Operation::Update(..), Some(tag)) => {
                env.kvctl(["-o", "json", "put", "--if-match", tag, &key, &value])
            }
            (Operation::Upsert(_), _) => env.kvctl(["-o", "json", "put", &key, &value]),
            (Operation::Delete(_), None) => env.kvctl(["delete", &key]),
            (Operation::Delete(_), Some(tag)) => env.kvctl(["delete", "--if-match", tag, &key]),
        };
        let call = async {
            let output = kvctl.await;
            Some(
                self.judge_output(&output)
                    .map_err(|wrong| format!("not in the contract: {by}: {wrong}")),
            )
        };
        // Some are killed half way. A kvctl takes longer than a request, being a process.
        let patience = patience(random) * 10;
        self.write_down(&by, timeout(patience, call)).await
    }

    fn judge_output(&self, output: &Output) -> Result<Told, String> {
        use Operation::{Create, Delete, Read, Update, Upsert};

        let said = &output.stderr;
        let json = || serde_json::from_slice(&output.stdout).unwrap_or_default();
        let stored = || shown(&json(), self.operation.value());
        let current = || {
            said.split_once("has the tag ")?
                .1
                .split_once(' ')?
                .0
                .parse()
                .ok()
        };
        let outcome = match (self.operation, output.code) {
            (_, 2) if said.contains("nothing was written") => Some(Outcome::NotDone),
            (Read, 2) => Some(Outcome::NotDone),
            (_, 2) => Some(Outcome::Unknown),
            (Read, 0) => shown(&json(), None).map(|(tag, value)| Outcome::Found(tag, value)),
            (Create(_), 0) => stored().map(|(tag, _)| Outcome::Created(tag)),
            (Update(..), 0) => stored().map(|(tag, _)| Outcome::Updated(tag)),
            (Upsert(_), 0) => stored().map(|(tag, _)| match tag.version {
                1 => Outcome::Created(tag),
                _ => Outcome::Updated(tag),
            }),
            (Delete(_), 0) => Some(Outcome::Deleted),
            (Create(_), 1) => said.contains("exists already").then_some(Outcome::Exists),
            (Update(_, Some(_)) | Delete(Some(_)), 1) if said.contains("has the tag") => {
                current().map(Outcome::Refused)
            }
            (Read | Update(..) | Delete(_), 1) => {
                let missing = said.contains("no key") || said.contains("does not exist");
                missing.then_some(Outcome::Missing)
            }
            _ => None,
        };
        let told = outcome.map(|outcome| Told::new(outcome, || self.end(&json())));
        told.ok_or_else(|| format!("{} -> exit code {}, {said}", self.operation, output.code))
    }

    /// When the item of an answer expires.
    fn end(&self, item: &Json) -> End {
        match &item["expires_at"] {
            Json::Null if item.get("expires_at").is_none() => End::Untold,
            Json::Null => End::Never,
            time => {
                let since = time.as_str().and_then(|time| self.run.since(time));
                End::At(since.expect("a time since the run began"))
            }
        }
    }

    /// Waits for the answer and notes when it was asked for and given.
    async fn write_down<E>(
        &self,
        by: &str,
        call: impl Future<Output = Result<Option<Result<Told, String>>, E>>,
    ) -> Option<Outcome> {
        let called = self.run.begun.elapsed();
        let answered = call.await;
        let returned = self.run.begun.elapsed();
        let Told { outcome, end } = match answered {
            Ok(Some(Ok(told))) => told,
            // What a write did that was not answered, or not as it should be, is unknown.
            Ok(Some(Err(wrong))) => {
                lock(&self.run.unexpected).push(wrong);
                Told::NOTHING
            }
            Ok(None) | Err(_) => Told::NOTHING,
        };
        if (self.operation, outcome) == (Operation::Read, Outcome::Unknown) {
            return None;
        }
        let record = Record {
            by: by.to_owned(),
            operation: self.operation,
            expiry: self.expiry,
            outcome,
            end,
            called,
            returned,
        };
        self.run.write_down(self.key, record);
        Some(outcome)
    }
}

/// What an answer says.
struct Told {
    outcome: Outcome,
    end: End,
}

impl Told {
    const NOTHING: Self = Self {
        outcome: Outcome::Unknown,
        end: End::Untold,
    };

    /// With the end of the item, if the outcome shows one.
    fn new(outcome: Outcome, end: impl FnOnce() -> End) -> Self {
        let end = match outcome {
            Outcome::Found(..) | Outcome::Created(_) | Outcome::Updated(_) => end(),
            _ => End::Untold,
        };
        Self { outcome, end }
    }
}

/// What kvd has logged about a request.
fn logged(kvd: &Kvd, id: Option<&str>) -> String {
    let log = kvd.log();
    let about = |line: &&str| id.is_some_and(|id| line.contains(id));
    log.lines().filter(about).collect::<Vec<_>>().join("\n")
}

/// Some clients hang up at once.
fn patience(random: &mut Rng) -> Duration {
    match random.u8(..150) {
        0 => milliseconds(random, 0..15),
        _ => CLIENT_PATIENCE,
    }
}

/// Tag and value of an item; the value must be the one that was written, if one was.
fn shown(item: &Json, written: Option<Value>) -> Option<(Tag, Value)> {
    let tag = item["etag"].as_str()?.parse().ok()?;
    let value = item["value"].as_str()?.parse().ok()?;
    (written.is_none() || written == Some(value)).then_some((tag, value))
}
