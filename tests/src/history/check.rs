//! The judgement of one key's history, and the report of what cannot be.

use std::time::Duration;

use crate::history::{
    model::State,
    record::{Outcome, Record},
    search::search,
};

/// Whether the history of a key can be explained.
///
/// # Errors
///
/// The shortest beginning of it that cannot, for people.
pub fn check(key: &str, history: &[Record]) -> Result<(), String> {
    if search(history).is_some() {
        return Ok(());
    }
    let answered = history.iter().filter(|record| record.is_answered());
    let mut answers: Vec<Duration> = answered.map(|record| record.returned).collect();
    answers.sort();
    let first = answers.partition_point(|answer| search(&until(*answer, history)).is_some());
    let before = match first {
        0 => search(&[]),
        _ => search(&until(answers[first - 1], history)),
    };
    let refused = history
        .iter()
        .find(|record| record.is_answered() && record.returned == answers[first]);
    match refused {
        Some(refused) => Err(report(key, history, refused, &before.unwrap_or_default())),
        None => Ok(()),
    }
}

/// The history as it was known at this moment.
fn until(moment: Duration, history: &[Record]) -> Vec<Record> {
    let called = history.iter().filter(|record| record.called <= moment);
    let known = called.map(
        |record| match record.is_answered() && record.returned > moment {
            true => Record {
                outcome: Outcome::Unknown,
                ..record.clone()
            },
            false => record.clone(),
        },
    );
    known.collect()
}

/// The answer without an explanation, what happened around it, and whatever has to do with what it shows.
fn report(key: &str, history: &[Record], refused: &Record, before: &[State]) -> String {
    /// Enough to see what goes on around the answer.
    const LINES: usize = 12;
    /// Later ones only show what came of it.
    const RELATED: usize = 8;
    let mut order: Vec<&Record> = history.iter().collect();
    order.sort_by_key(|record| record.called);
    let end = order.partition_point(|record| record.called <= refused.returned);
    let around = end.saturating_sub(LINES)..end + LINES / 3;
    let mut others = RELATED;
    let mut lines = Vec::new();
    for (place, record) in order.into_iter().enumerate() {
        if std::ptr::eq(record, refused) {
            lines.push(format!(">> {record}"));
        } else if around.contains(&place) {
            lines.push(format!("   {record}"));
        } else if others > 0 && related(record, refused) {
            others -= 1;
            lines.push(format!("   {record}"));
        }
    }
    let before: Vec<String> = before.iter().map(State::to_string).collect();
    format!(
        "the history of key {key:?} is not linearizable: nothing explains the answer marked >>\n\
         just before, the item can only have been: {}\n   {}\n{}",
        before.join(" | "),
        "called  answered  by, what, outcome (milliseconds; what was not answered before is for context)",
        lines.join("\n")
    )
}

fn related(record: &Record, told: &Record) -> bool {
    let value = |record: &Record| record.shows().map(|(_, value)| value);
    let (seen, tag) = (value(told), told.outcome.tag());
    (seen.is_some() && (record.operation.value() == seen || value(record) == seen))
        || (tag.is_some() && record.outcome.tag() == tag)
}
