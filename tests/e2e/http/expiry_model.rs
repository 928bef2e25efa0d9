//! One key with ends around the present: whatever is asked, the answer is the one of a plain model.

use std::collections::BTreeSet;

use chrono::{DateTime, SecondsFormat, SubsecRound, TimeDelta, Utc};
use fastrand::Rng;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Answer, Client, Engine, Env,
    history::{CLOCK_ERROR, Tag},
};

tests::list! {
    EveryEngine => one_key_does_what_a_plain_model_does
}

const KEY: &str = "/items/k";
const STEPS: u32 = 400;

#[derive(Clone, Debug, PartialEq)]
struct Kept {
    tag: Tag,
    value: String,
    end: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Get,
    List,
    Post,
    PutIfNone,
    Put(Option<Tag>),
    Upsert,
    Delete(Option<Tag>),
}

#[derive(Clone, Copy, Debug)]
enum Ends {
    Never,
    Keep,
    In(TimeDelta),
    At(DateTime<Utc>),
}

#[derive(Debug)]
struct Asked {
    step: Step,
    value: String,
    ends: Ends,
    called: DateTime<Utc>,
    returned: DateTime<Utc>,
}

/// What the model knows.
#[derive(Default)]
struct Model {
    item: Option<Kept>,
    ids: BTreeSet<i64>,
    tags: Vec<Tag>,
}

async fn one_key_does_what_a_plain_model_does(env: Env) {
    let kvd = env.kvd().arg("--rate-limit", "0").start().await;
    let mut random = env.random();
    let mut model = Model::default();
    let (mut ended, mut near) = (0, 0);
    for number in 0..STEPS {
        if model.item.is_some() && random.u8(..12) == 0 {
            end_it(&env, &mut model, &mut random).await;
        }
        let mut asked = Asked {
            step: any_step(&mut random, &model),
            value: number.to_string(),
            ends: any_end(&mut random),
            called: Utc::now(),
            returned: Utc::now(),
        };
        let answer = ask(&kvd, &mut asked).await;
        let views = views(model.item.take(), &asked);
        near += u32::from(views.len() == 2);
        ended += u32::from(views == [None] && !model.tags.is_empty());
        let fitting = views
            .iter()
            .find_map(|view| model.after(view, &asked, &answer));
        model.item = fitting.unwrap_or_else(|| {
            let body = String::from_utf8_lossy(&answer.body);
            panic!(
                "step {number}: {asked:?} of {views:?} -> {}, {body}",
                answer.status
            )
        });
        if let Some(item) = &model.item {
            model.ids.insert(item.tag.id);
            model.tags.push(item.tag);
        }
    }
    env.note(format!(
        "{ended} steps without the item, {near} around its end"
    ));
    assert!(ended > STEPS / 20, "only {ended} steps without the item");
}

/// What there may be for a request: the item, none, or either if its end was near.
fn views(item: Option<Kept>, asked: &Asked) -> Vec<Option<Kept>> {
    let end = item.as_ref().and_then(|item| item.end);
    match end {
        Some(end) if end <= asked.called - CLOCK_ERROR => vec![None],
        Some(end) if end <= asked.returned + CLOCK_ERROR => vec![item, None],
        _ => vec![item],
    }
}

/// Moves its end to a time before now or soon after, past kvd.
async fn end_it(env: &Env, model: &mut Model, random: &mut Rng) {
    let end = Utc::now().trunc_subsecs(6) + TimeDelta::milliseconds(random.i64(-50..30));
    let text = end.format("%Y-%m-%d %H:%M:%S%.6f");
    let sql = match env.engine() {
        Engine::Postgres => format!("UPDATE items SET expires_at = '{text}+00'"),
        Engine::Mysql | Engine::Sqlite => format!("UPDATE items SET expires_at = '{text}'"),
    };
    // The row may be removed already.
    if env.database().execute(&sql).await == 1
        && let Some(item) = &mut model.item
    {
        item.end = Some(end);
    }
}

fn any_step(random: &mut Rng, model: &Model) -> Step {
    let back = random.usize(1..3);
    let tag = model
        .tags
        .len()
        .checked_sub(back)
        .map(|place| model.tags[place]);
    match random.u8(..16) {
        0..4 => Step::Get,
        4 => Step::List,
        5 | 6 => Step::Post,
        7 => Step::PutIfNone,
        8 | 9 => Step::Put(None),
        10 | 11 => Step::Put(tag),
        12 | 13 => Step::Upsert,
        14 => Step::Delete(None),
        _ => Step::Delete(tag),
    }
}

fn any_end(random: &mut Rng) -> Ends {
    match random.u8(..8) {
        0 => Ends::In(TimeDelta::seconds(random.i64(1..3))),
        1..5 => {
            let soon = TimeDelta::milliseconds(random.i64(20..300));
            Ends::At(Utc::now().trunc_subsecs(6) + soon)
        }
        5 | 6 => Ends::Keep,
        _ => Ends::Never,
    }
}

/// Notes when it was asked and answered.
async fn ask(kvd: &Client, asked: &mut Asked) -> Answer {
    let mut body = json!({"value": asked.value});
    match (asked.ends, asked.step) {
        (Ends::Keep, Step::Post) => asked.ends = Ends::Never,
        (Ends::Never | Ends::Keep, _) => {}
        (Ends::In(time), _) => body["ttl"] = time.num_seconds().into(),
        (Ends::At(time), _) => {
            body["expires_at"] = time.to_rfc3339_opts(SecondsFormat::Micros, true).into();
        }
    }
    let keep = if matches!(asked.ends, Ends::Keep) {
        "true"
    } else {
        "false"
    };
    let put = |query: &str, body: &Value| {
        let path = format!("{KEY}?keep_ttl={keep}{query}");
        kvd.request(Method::PUT, &path).json(body)
    };
    let quoted = |tag: Tag| format!("\"{tag}\"");
    let call = match asked.step {
        Step::Get => kvd.get(KEY),
        Step::List => kvd.get("/items/"),
        Step::Post => {
            body["key"] = "k".into();
            kvd.request(Method::POST, "/items/").json(&body)
        }
        Step::PutIfNone => put("", &body).header("If-None-Match", "*"),
        Step::Put(None) => put("", &body),
        Step::Put(Some(tag)) => put("", &body).header("If-Match", &quoted(tag)),
        Step::Upsert => put("&upsert=true", &body),
        Step::Delete(None) => kvd.delete(KEY),
        Step::Delete(Some(tag)) => kvd.delete(KEY).header("If-Match", &quoted(tag)),
    };
    asked.called = Utc::now();
    let answer = call.await;
    asked.returned = Utc::now();
    answer
}

impl Model {
    /// What there is afterwards, if the answer is right for whoever finds this item, or none.
    fn after(&self, found: &Option<Kept>, asked: &Asked, answer: &Answer) -> Option<Option<Kept>> {
        let same = || Some(found.clone());
        let told = answer.status;
        // kvd refuses an end in the past.
        if let (400, Ends::At(end)) = (told, asked.ends) {
            return (end <= asked.returned).then(same)?;
        }
        match (asked.step, found) {
            (Step::Get, Some(item)) if told == 200 => {
                (shown(&answer.json()) == *item).then(same)?
            }
            (Step::List, _) if told == 200 => is_listed(found, &answer.json()).then(same)?,
            (Step::Get | Step::Put(_) | Step::Delete(_), None) if told == 404 => same(),
            (Step::Post, Some(_)) if told == 409 => same(),
            (Step::PutIfNone, Some(item)) if told == 412 => is_tag(answer, item).then(same)?,
            (Step::Put(Some(tag)) | Step::Delete(Some(tag)), Some(item))
                if told == 412 && tag != item.tag =>
            {
                is_tag(answer, item).then(same)?
            }
            (Step::Post | Step::PutIfNone | Step::Upsert, None) if told == 201 => {
                let new = shown(&answer.json());
                let is_new = new.tag.version == 1 && !self.ids.contains(&new.tag.id);
                (is_new && asked.gives(&new, None)).then_some(Some(new))
            }
            (Step::Put(sent), Some(item)) if told == 200 => {
                let matches = sent.is_none_or(|tag| tag == item.tag);
                (matches && asked.updates(item, answer)).then(|| Some(shown(&answer.json())))
            }
            (Step::Upsert, Some(item)) if told == 200 => asked
                .updates(item, answer)
                .then(|| Some(shown(&answer.json()))),
            (Step::Delete(sent), Some(item)) if told == 204 => {
                sent.is_none_or(|tag| tag == item.tag).then_some(None)
            }
            _ => None,
        }
    }
}

impl Asked {
    fn updates(&self, item: &Kept, answer: &Answer) -> bool {
        let new = shown(&answer.json());
        let next = Tag {
            version: item.tag.version + 1,
            ..item.tag
        };
        new.tag == next && self.gives(&new, item.end)
    }

    /// Whether it stores this, given the end of the item before.
    fn gives(&self, new: &Kept, before: Option<DateTime<Utc>>) -> bool {
        let is_end = match (self.ends, new.end) {
            (Ends::Never, end) => end.is_none(),
            (Ends::Keep, end) => end == before,
            // What had passed by then ends when it is written.
            (Ends::At(time), Some(end)) if time < end => {
                (self.called - CLOCK_ERROR..=self.returned + CLOCK_ERROR).contains(&end)
            }
            (Ends::At(time), end) => end == Some(time),
            (Ends::In(time), Some(end)) => {
                (self.called - CLOCK_ERROR..=self.returned + CLOCK_ERROR).contains(&(end - time))
            }
            (Ends::In(_), None) => false,
        };
        is_end && new.value == self.value
    }
}

fn shown(item: &Value) -> Kept {
    let text = |name: &str| item[name].as_str().map(str::to_owned);
    let time = |time: String| {
        DateTime::parse_from_rfc3339(&time)
            .expect("a time")
            .to_utc()
    };
    Kept {
        tag: text("etag")
            .and_then(|tag| tag.parse().ok())
            .expect("a tag"),
        value: text("value").expect("a value"),
        end: text("expires_at").map(time),
    }
}

fn is_tag(answer: &Answer, item: &Kept) -> bool {
    answer.etag() == format!("\"{}\"", item.tag)
}

/// Whether the list shows the item, or none, and counts it. While the end is near the two may differ.
fn is_listed(found: &Option<Kept>, page: &Value) -> bool {
    let items: Vec<Kept> = page["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(shown)
        .collect();
    let total = page["total"].as_u64().expect("a total");
    let most = u64::from(found.is_some());
    items.iter().all(|item| Some(item) == found.as_ref())
        && total >= items.len() as u64
        && total <= most
}
