//! Whether the checker would notice.

use tests::history::{CLOCK_ERROR, End, Expiry, Operation, Outcome, Record, Tag, Value};

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

/// What would have been told if an item outlived its end.
pub(super) fn lies_about_ends(history: &[Record]) -> Vec<Vec<Record>> {
    /// Of each kind and key.
    const MOST: usize = 2;
    // The items that were there, and when they were gone for whoever asks then.
    let ended = || {
        history.iter().filter_map(|record| match record.end {
            End::At(end) => record.shows().map(|(tag, value)| (tag, value, end)),
            _ => None,
        })
    };
    let records = || history.iter().enumerate();
    let with = |number: usize, outcome: Outcome, end: End| {
        let mut lie = history.to_vec();
        (lie[number].outcome, lie[number].end) = (outcome, end);
        lie
    };
    let lasting = records().filter_map(|(number, record)| {
        (record.operation == Operation::Read && record.outcome == Outcome::Missing).then_some(())?;
        let mut ended = ended().filter(|(_, _, end)| *end + CLOCK_ERROR < record.called);
        let (tag, value, end) = ended.next_back()?;
        Some(with(number, Outcome::Found(tag, value), End::At(end)))
    });
    let continued = records().filter_map(|(number, record)| {
        let (Operation::Update(_, Some(sent)), Outcome::Missing) =
            (record.operation, record.outcome)
        else {
            return None;
        };
        (record.expiry == Expiry::Never).then_some(())?;
        let mut ended = ended().filter(|(_, _, end)| *end + CLOCK_ERROR < record.called);
        ended.find(|(tag, ..)| *tag == sent)?;
        let version = sent.version + 1;
        Some(with(
            number,
            Outcome::Updated(Tag { version, ..sent }),
            End::Never,
        ))
    });
    lasting.take(MOST).chain(continued.take(MOST)).collect()
}
