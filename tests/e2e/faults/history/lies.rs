//! Whether the checker would notice.

use tests::history::{Outcome, Record, Tag, Value};

/// What would have been told if kvd had a bug: histories that cannot be.
pub(super) fn lies_about(history: &[Record]) -> Vec<Vec<Record>> {
    /// Of each kind and key.
    const MOST: usize = 2;
    let with = |record: usize, outcome: Outcome| {
        let mut lie = history.to_vec();
        lie[record].outcome = outcome;
        lie
    };
    let records = || history.iter().enumerate();
    let is_seen = |value: Value| {
        records()
            .any(|(_, other)| matches!(other.outcome, Outcome::Found(_, seen) if seen == value))
    };
    // A 503 to a write whose effect a client saw.
    let denied = records()
        .filter(|(_, record)| record.operation.value().is_some_and(is_seen))
        .map(|(number, _)| with(number, Outcome::NotDone));
    // A read of what had been overwritten before it was asked for.
    let stale = records().filter_map(|(number, record)| {
        let Outcome::Found(now, _) = record.outcome else {
            return None;
        };
        let newer = |tag: Tag, than: Tag| tag.id == than.id && tag.version > than.version;
        let mut shown = history.iter().filter_map(Record::shows);
        let (tag, value) = shown.find(|(old, _)| newer(now, *old))?;
        let overwritten = history.iter().any(|other| {
            let next = other.outcome.tag();
            next.is_some_and(|next| newer(next, tag)) && other.returned < record.called
        });
        overwritten.then(|| with(number, Outcome::Found(tag, value)))
    });
    denied.take(MOST).chain(stale.take(MOST)).collect()
}
