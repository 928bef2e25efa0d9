//! Thousands of made-up histories: the checker and the brute force agree on all of them.

use std::time::Duration;

use fastrand::Rng;

use crate::history::{
    brute_force::{Table, explained},
    check::check,
    ending::ending,
    proof::{A1, B1},
    record::{
        End, Expiry,
        Operation::{self, Create, Delete, Read, Update, Upsert},
        Outcome,
        Outcome::{Created, Deleted, Exists, Found, Missing, NotDone, Refused, Unknown, Updated},
        Record, Tag, Value,
    },
};

fn lines(history: &[Record]) -> String {
    let lines: Vec<String> = history.iter().map(Record::to_string).collect();
    lines.join("\n")
}

/// A history that is true: each operation has its moment, and its call and answer lie around it. It judges by a clock
/// that is read before that moment, as a write does that commits later.
/// Two of `odds` have an unknown outcome, one is not done.
fn true_history(random: &mut Rng, operations: u64, overlap: u64, odds: u8) -> Vec<Record> {
    let mut table = Table::default();
    let mut tags = vec![B1];
    let mut id = 1;
    let records = (0..operations).map(|n| {
        let tag = match random.bool() {
            true => tags[random.usize(tags.len().saturating_sub(3)..tags.len())],
            false => tags[tags.len() - 1],
        };
        let operation = any_operation(random, n, tag);
        let moment = 10 * (n + overlap + 1);
        let span = 10 * overlap + 4;
        let (called, returned) = (moment - random.u64(..span), moment + random.u64(..span));
        let clock = Duration::from_millis(random.u64(called..=moment));
        let expiry = any_expiry(random, operation, clock);
        let lost = random.u8(..odds);
        let outcome = match lost {
            0 => NotDone,
            1 => Unknown,
            _ => {
                id += random.i64(1..3);
                let outcome = table.run_at(clock, operation, expiry, id);
                tags.extend(outcome.tag());
                match outcome {
                    _ if lost == 2 => Unknown,
                    Refused(_) if matches!(operation, Create(_)) && random.bool() => Exists,
                    outcome => outcome,
                }
            }
        };
        let line = (operation, outcome, called, returned);
        let end = match outcome {
            Found(..) | Created(_) | Updated(_) if random.u8(..20) > 0 => table.end(),
            _ => End::Untold,
        };
        ending(line, expiry, end)
    });
    records.collect()
}

impl Table {
    /// Does it at a time by a clock, and says what it did.
    fn run_at(
        &mut self,
        clock: Duration,
        operation: Operation,
        expiry: Expiry,
        id: i64,
    ) -> Outcome {
        let has_ended = matches!(self.end(), End::At(end) if end <= clock);
        let end = match expiry {
            Expiry::Keep if !has_ended => self.end(),
            Expiry::Never | Expiry::Keep => End::Never,
            Expiry::After(time) => End::At(clock + time),
            Expiry::At(time) => End::At(time),
        };
        self.run(operation, id, has_ended, end).expect("a new id")
    }
}

fn any_expiry(random: &mut Rng, operation: Operation, clock: Duration) -> Expiry {
    let time = Duration::from_millis(random.u64(1..60));
    match (operation, random.u8(..20)) {
        (Read | Delete(_), _) => Expiry::Never,
        (_, 0) => Expiry::Keep,
        (_, 1) => Expiry::After(time),
        (_, 2) => Expiry::At(clock + time),
        _ => Expiry::Never,
    }
}

fn any_operation(random: &mut Rng, value: Value, tag: Tag) -> Operation {
    match random.u8(..12) {
        0..4 => Read,
        4 => Create(value),
        5 => Update(value, None),
        6 | 7 => Update(value, Some(tag)),
        8 | 9 => Upsert(value),
        10 => Delete(None),
        _ => Delete(Some(tag)),
    }
}

/// One outcome becomes another.
fn alter(random: &mut Rng, history: &mut [Record]) {
    let number = random.usize(..history.len());
    let other = history[random.usize(..history.len())].clone();
    let record = &mut history[number];
    let time = Duration::from_millis(random.u64(1..40));
    record.end = match (random.u8(..12), record.end) {
        (0, End::At(end)) => End::At(end + time),
        (1, End::At(end)) => End::At(end.saturating_sub(time)),
        (2, End::At(_)) => End::Never,
        (3, End::Never) => End::At(record.returned + time),
        (_, end) => end,
    };
    let (by, up) = (random.i64(1..3), random.bool());
    let bent = |tag: Tag| Tag {
        id: tag.id + if up { 0 } else { by },
        version: tag.version + if up { by } else { 0 },
    };
    record.outcome = match (random.u8(..4), record.outcome) {
        (0, _) => NotDone,
        (1, _) => {
            record.end = other.end;
            other.outcome
        }
        (_, Found(tag, value)) if random.bool() => Found(tag, value + 1),
        (_, Found(tag, value)) => Found(bent(tag), value),
        (_, Created(tag)) => Updated(bent(tag)),
        (_, Updated(tag)) => Updated(bent(tag)),
        (_, Refused(tag)) => Refused(bent(tag)),
        (_, Deleted) => Missing,
        (_, Missing) => Deleted,
        (_, Exists) => Created(A1),
        (_, NotDone | Unknown) => NotDone,
    };
}

#[test]
fn what_really_happened_is_accepted_however_much_overlaps() {
    for seed in 0..150 {
        let mut random = Rng::with_seed(seed);
        let overlap = random.u64(..7);
        let history = true_history(&mut random, 300, overlap, 40);
        check("k", &history).unwrap_or_else(|refusal| panic!("seed {seed}: {refusal}"));
    }
}

#[test]
fn altered_histories_are_refused_exactly_where_trying_every_order_refuses_them() {
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..10_000 {
        let mut random = Rng::with_seed(seed);
        let (operations, overlap) = (random.u64(3..8), random.u64(..5));
        let mut history = true_history(&mut random, operations, overlap, 8);
        assert!(explained(&history), "seed {seed}: the brute force errs");
        for _ in 0..random.u8(1..3) {
            alter(&mut random, &mut history);
        }
        let checked = check("k", &history);
        assert_eq!(
            checked.is_ok(),
            explained(&history),
            "seed {seed}:\n{}",
            lines(&history)
        );
        match checked {
            Ok(()) => accepted += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(
        accepted > 2_000 && refused > 2_000,
        "{accepted} and {refused}"
    );
}
