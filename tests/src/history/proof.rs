//! That the checker accepts what can be explained, and refuses what cannot.

use std::collections::BTreeSet;

use fastrand::Rng;

use super::{
    Operation::{Create, Delete, Read, Update, Upsert},
    Outcome::{Created, Deleted, Exists, Found, Missing, NotDone, Refused, Unknown, Updated},
    *,
};

const A1: Tag = Tag { id: 1, version: 1 };
const A2: Tag = Tag { id: 1, version: 2 };
const A3: Tag = Tag { id: 1, version: 3 };
const A4: Tag = Tag { id: 1, version: 4 };
const B1: Tag = Tag { id: 2, version: 1 };
const B2: Tag = Tag { id: 2, version: 2 };

/// Operation, outcome, called, returned.
type Line = (Operation, Outcome, u64, u64);

fn record((operation, outcome, called, returned): Line) -> Record {
    assert!(called <= returned);
    Record {
        by: "client".to_owned(),
        operation,
        outcome,
        called: Duration::from_millis(called),
        returned: Duration::from_millis(returned),
    }
}

fn history(lines: &[Line]) -> Vec<Record> {
    lines.iter().copied().map(record).collect()
}

#[track_caller]
fn accepted(lines: &[Line]) {
    let history = history(lines);
    check("k", &history).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(explained(&history), "the brute force refuses it");
}

/// The line of the report that is marked, without times and client.
#[track_caller]
fn refused(lines: &[Line]) -> String {
    let history = history(lines);
    assert!(!explained(&history), "the brute force accepts it");
    let report = check("k", &history).expect_err("refused");
    let marked = report.lines().find(|line| line.starts_with(">>"));
    let (_, told) = marked
        .and_then(|line| line.split_once(": "))
        .expect(&report);
    told.to_owned()
}

#[test]
fn one_after_the_other_everything_is_as_told() {
    accepted(&[
        (Read, Missing, 0, 1),
        (Update(10, None), Missing, 2, 3),
        (Delete(None), Missing, 4, 5),
        (Create(11), Created(A1), 6, 7),
        (Create(12), Exists, 8, 9),
        (Create(13), Refused(A1), 10, 11),
        (Read, Found(A1, 11), 12, 13),
        (Update(14, None), Updated(A2), 14, 15),
        (Update(15, Some(A2)), Updated(A3), 16, 17),
        (Update(16, Some(A2)), Refused(A3), 18, 19),
        (Delete(Some(A1)), Refused(A3), 20, 21),
        (Upsert(17), Updated(A4), 22, 23),
        (Delete(Some(A4)), Deleted, 24, 25),
        (Read, Missing, 26, 27),
        (Upsert(18), Created(B1), 28, 29),
        (Delete(None), Deleted, 30, 31),
    ]);
}

#[test]
fn operations_that_overlap_may_have_happened_in_either_order() {
    accepted(&[
        (Create(10), Created(A1), 0, 10),
        (Read, Missing, 1, 9),
        (Read, Found(A1, 10), 2, 3),
    ]);
    accepted(&[
        (Create(10), Created(A1), 0, 1),
        (Update(11, None), Updated(A3), 2, 9),
        (Update(12, None), Updated(A2), 3, 8),
        (Read, Found(A2, 12), 4, 7),
        (Read, Found(A3, 11), 5, 6),
    ]);
}

#[test]
fn a_write_of_unknown_outcome_may_take_effect_at_any_later_time_or_never() {
    let unknown = [
        (Create(10), Created(A1), 0, 1),
        (Update(11, None), Unknown, 2, 3),
        (Read, Found(A1, 10), 4, 5),
    ];
    accepted(&unknown);
    accepted(&[
        unknown[0],
        unknown[1],
        unknown[2],
        (Read, Found(A2, 11), 6, 7),
    ]);
    accepted(&[
        unknown[0],
        unknown[1],
        (Delete(None), Deleted, 4, 5),
        (Read, Missing, 6, 7),
    ]);
    // It is not seen itself, but the version tells that it took place.
    accepted(&[
        unknown[0],
        unknown[1],
        (Update(12, None), Updated(A3), 4, 5),
    ]);
}

#[test]
fn the_id_of_an_item_that_nobody_saw_created_is_learnt_from_whoever_sees_it() {
    accepted(&[
        (Create(10), Unknown, 0, 1),
        (Read, Missing, 2, 3),
        (Create(11), Exists, 4, 5),
        (Update(12, None), Updated(A2), 6, 7),
        (Read, Found(A2, 12), 8, 9),
    ]);
    accepted(&[
        (Upsert(10), Unknown, 0, 1),
        (Delete(None), Deleted, 2, 3),
        (Upsert(11), Unknown, 4, 5),
        (Update(12, Some(B1)), Refused(A1), 6, 7),
    ]);
}

#[test]
fn a_write_of_unknown_outcome_does_not_happen_before_it_was_asked_for_nor_twice() {
    let create = (Create(10), Created(A1), 0, 1);
    let told = refused(&[
        create,
        (Read, Found(A2, 11), 2, 3),
        (Update(11, None), Unknown, 4, 5),
    ]);
    assert_eq!(told, "read -> found 1-2 with value 11");
    let told = refused(&[
        create,
        (Update(11, None), Unknown, 2, 3),
        (Read, Found(A2, 11), 4, 5),
        (Read, Found(A3, 11), 6, 7),
    ]);
    assert_eq!(told, "read -> found 1-3 with value 11");
}

#[test]
fn a_stale_read_is_refused() {
    let told = refused(&[
        (Create(10), Created(A1), 0, 1),
        (Update(11, None), Updated(A2), 2, 3),
        (Read, Found(A1, 10), 4, 5),
    ]);
    assert_eq!(told, "read -> found 1-1 with value 10");
    // Two readers beside one write, the later of whom sees what was before.
    refused(&[
        (Create(10), Created(A1), 0, 1),
        (Update(11, None), Updated(A2), 2, 9),
        (Read, Found(A2, 11), 3, 4),
        (Read, Found(A1, 10), 5, 6),
    ]);
}

#[test]
fn a_lost_update_is_refused() {
    let told = refused(&[
        (Create(10), Created(A1), 0, 1),
        (Update(11, None), Updated(A2), 2, 3),
        (Update(12, None), Updated(A2), 4, 5),
    ]);
    assert_eq!(told, "update to value 12 -> updated, now 1-2");
    // Told, and never there.
    let told = refused(&[
        (Create(10), Created(A1), 0, 1),
        (Update(11, None), Updated(A2), 2, 3),
        (Update(12, Some(A1)), Updated(A2), 4, 5),
    ]);
    assert_eq!(told, "update 1-1 to value 12 -> updated, now 1-2");
}

#[test]
fn a_write_done_twice_is_refused() {
    let told = refused(&[
        (Create(10), Created(A1), 0, 1),
        (Update(11, None), Updated(A3), 2, 3),
    ]);
    assert_eq!(told, "update to value 11 -> updated, now 1-3");
    // Of unknown outcome, run again after another write.
    let told = refused(&[
        (Create(10), Created(A1), 0, 1),
        (Update(11, None), Unknown, 2, 3),
        (Update(12, None), Updated(A3), 4, 5),
        (Read, Found(A4, 11), 6, 7),
    ]);
    assert_eq!(told, "read -> found 1-4 with value 11");
}

#[test]
fn a_write_that_was_not_done_and_took_effect_is_refused() {
    let told = refused(&[
        (Create(10), Created(A1), 0, 1),
        (Update(11, None), NotDone, 2, 3),
        (Read, Found(A2, 11), 4, 5),
    ]);
    assert_eq!(told, "read -> found 1-2 with value 11");
    let told = refused(&[
        (Create(10), Created(A1), 0, 1),
        (Delete(None), NotDone, 2, 3),
        (Read, Missing, 4, 5),
    ]);
    assert_eq!(told, "read -> no such key");
    let told = refused(&[
        (Create(10), Created(A1), 0, 1),
        (Update(11, None), NotDone, 2, 3),
        (Update(12, None), Updated(A3), 4, 5),
    ]);
    assert_eq!(told, "update to value 12 -> updated, now 1-3");
}

#[test]
fn a_compare_and_set_under_an_old_tag_is_refused() {
    let told = refused(&[
        (Create(10), Created(A1), 0, 1),
        (Update(11, None), Updated(A2), 2, 3),
        (Update(12, Some(A1)), Updated(A3), 4, 5),
    ]);
    assert_eq!(told, "update 1-1 to value 12 -> updated, now 1-3");
    refused(&[
        (Create(10), Created(A1), 0, 1),
        (Update(11, None), Updated(A2), 2, 3),
        (Delete(Some(A1)), Deleted, 4, 5),
    ]);
}

#[test]
fn an_item_that_comes_back_is_refused() {
    let deleted = [
        (Create(10), Created(A1), 0, 1),
        (Delete(None), Deleted, 2, 3),
    ];
    let told = refused(&[deleted[0], deleted[1], (Read, Found(A1, 10), 4, 5)]);
    assert_eq!(told, "read -> found 1-1 with value 10");
    // So is its id.
    let told = refused(&[deleted[0], deleted[1], (Create(11), Created(A1), 4, 5)]);
    assert_eq!(told, "create value 11 -> created 1-1");
    let told = refused(&[
        deleted[0],
        deleted[1],
        (Create(11), Unknown, 4, 5),
        (Update(12, None), Updated(A2), 6, 7),
    ]);
    assert_eq!(told, "update to value 12 -> updated, now 1-2");
}

#[test]
fn a_refusal_with_a_tag_that_never_was_current_is_refused() {
    let create = (Create(10), Created(A1), 0, 1);
    let told = refused(&[create, (Update(11, Some(B1)), Refused(A2), 2, 3)]);
    assert_eq!(told, "update 2-1 to value 11 -> refused, it is 1-2");
    let told = refused(&[create, (Update(11, Some(A1)), Refused(A1), 2, 3)]);
    assert_eq!(told, "update 1-1 to value 11 -> refused, it is 1-1");
    let told = refused(&[create, (Create(11), Refused(B2), 2, 3)]);
    assert_eq!(told, "create value 11 -> refused, it is 2-2");
}

#[test]
fn the_report_shows_the_first_answer_that_cannot_be_and_what_has_to_do_with_it() {
    let mut lines = vec![
        (Create(10), Created(A1), 0, 1),
        (Update(11, None), NotDone, 2, 3),
    ];
    lines.extend((2..40).map(|n| (Read, Found(A1, 10), 2 * n, 2 * n + 1)));
    lines.push((Read, Found(A2, 11), 100, 101));
    lines.extend((60..90).map(|n| (Read, Missing, 2 * n, 2 * n + 1)));
    lines.push((Read, Found(A3, 12), 902, 903));
    let report = check("k", &history(&lines)).unwrap_err();
    assert!(report.contains("key \"k\""), "{report}");
    assert!(report.contains("been: 1-1 with value 10\n"), "{report}");
    assert!(
        report.contains("update to value 11 -> not done"),
        "{report}"
    );
    assert!(report.contains(">>    100.00    101.00"), "{report}");
    assert!(!report.contains("value 12"), "{report}");
    assert!(report.lines().count() < 30, "{report}");
}

/// An item as the contract has it, told rather than guessed: the other opinion on what each operation does.
#[derive(Clone, Default)]
struct Table {
    row: Option<(Tag, Value)>,
    used: BTreeSet<i64>,
}

impl Table {
    /// Does it, and says what it did. A new item gets the id `id`, if that was not used before.
    fn run(&mut self, operation: Operation, id: i64) -> Option<Outcome> {
        let stored = match (operation, self.row) {
            (Read, Some((tag, value))) => return Some(Found(tag, value)),
            (Create(_), Some((tag, _))) => return Some(Refused(tag)),
            (Update(_, Some(sent)) | Delete(Some(sent)), Some((tag, _))) if tag != sent => {
                return Some(Refused(tag));
            }
            (Read | Update(..) | Delete(_), None) => return Some(Missing),
            (Delete(_), Some(_)) => {
                self.row = None;
                return Some(Deleted);
            }
            (Create(value) | Upsert(value), None) => {
                if !self.used.insert(id) {
                    return None;
                }
                (Tag { id, version: 1 }, value)
            }
            (Update(value, _) | Upsert(value), Some((tag, _))) => {
                let version = tag.version + 1;
                (Tag { version, ..tag }, value)
            }
        };
        self.row = Some(stored);
        match stored.0.version {
            1 => Some(Created(stored.0)),
            _ => Some(Updated(stored.0)),
        }
    }
}

/// The same by trying every order there is, with every id that a new item may have got.
fn explained(history: &[Record]) -> bool {
    let tags = history.iter().flat_map(|record| match record.operation {
        Update(_, sent) | Delete(sent) => [record.outcome.tag(), sent],
        _ => [record.outcome.tag(), None],
    });
    let ids: BTreeSet<i64> = tags.flatten().map(|tag| tag.id).collect();
    let ids: Vec<i64> = ids.into_iter().collect();
    let history: Vec<&Record> = history
        .iter()
        .filter(|record| record.outcome != NotDone)
        .collect();
    tried(
        &history,
        &ids,
        &mut vec![false; history.len()],
        &Table::default(),
    )
}

fn tried(history: &[&Record], ids: &[i64], done: &mut [bool], table: &Table) -> bool {
    let left = |done: &[bool]| -> Vec<usize> {
        let left = (0..history.len()).filter(|n| !done[*n] && history[*n].outcome != Unknown);
        left.collect()
    };
    let waiting = left(done);
    if waiting.is_empty() {
        return true;
    }
    let soonest = waiting.iter().map(|n| history[*n].returned).min();
    for n in 0..history.len() {
        let Record {
            operation,
            outcome,
            called,
            ..
        } = *history[n];
        if done[n] || soonest.is_some_and(|soonest| soonest < called) {
            continue;
        }
        let creates = matches!(operation, Create(_) | Upsert(_)) && table.row.is_none();
        let nobody_knows = -1 - i64::try_from(n).unwrap();
        let possible = match outcome.tag() {
            Some(tag) => vec![tag.id],
            None if creates => [ids, &[nobody_knows]].concat(),
            None => vec![nobody_knows],
        };
        for id in possible {
            let mut table = table.clone();
            let does = table.run(operation, id);
            let fits = does == Some(outcome)
                || (does.is_some() && outcome == Unknown)
                || matches!(
                    (operation, does, outcome),
                    (Create(_), Some(Refused(_)), Exists)
                );
            done[n] = true;
            let found = fits && tried(history, ids, done, &table);
            done[n] = false;
            if found {
                return true;
            }
        }
    }
    false
}

fn lines(history: &[Record]) -> String {
    let lines: Vec<String> = history.iter().map(Record::to_string).collect();
    lines.join("\n")
}

/// A history that is true: each operation has its moment, and its call and answer lie around it.
/// Two of `odds` have an unknown outcome, one is not done.
fn true_history(random: &mut Rng, operations: u64, overlap: u64, odds: u8) -> Vec<Record> {
    let mut table = Table::default();
    let mut tags = vec![B1];
    let mut id = 1;
    let lines = (0..operations).map(|n| {
        let tag = match random.bool() {
            true => tags[random.usize(tags.len().saturating_sub(3)..tags.len())],
            false => tags[tags.len() - 1],
        };
        let operation = match random.u8(..12) {
            0..4 => Read,
            4 => Create(n),
            5 => Update(n, None),
            6 | 7 => Update(n, Some(tag)),
            8 | 9 => Upsert(n),
            10 => Delete(None),
            _ => Delete(Some(tag)),
        };
        let lost = random.u8(..odds);
        let outcome = match lost {
            0 => NotDone,
            1 => Unknown,
            _ => {
                id += random.i64(1..3);
                let outcome = table.run(operation, id).expect("a new id");
                tags.extend(outcome.tag());
                match outcome {
                    _ if lost == 2 => Unknown,
                    Refused(_) if matches!(operation, Create(_)) && random.bool() => Exists,
                    outcome => outcome,
                }
            }
        };
        let moment = 10 * (n + overlap + 1);
        let span = 10 * overlap + 4;
        let (called, returned) = (moment - random.u64(..span), moment + random.u64(..span));
        (operation, outcome, called, returned)
    });
    let lines: Vec<Line> = lines.collect();
    history(&lines)
}

/// One outcome becomes another.
fn alter(random: &mut Rng, history: &mut [Record]) {
    let number = random.usize(..history.len());
    let other = history[random.usize(..history.len())].outcome;
    let record = &mut history[number];
    let (by, up) = (random.i64(1..3), random.bool());
    let bent = |tag: Tag| Tag {
        id: tag.id + if up { 0 } else { by },
        version: tag.version + if up { by } else { 0 },
    };
    record.outcome = match (random.u8(..4), record.outcome) {
        (0, _) => NotDone,
        (1, _) => other,
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
