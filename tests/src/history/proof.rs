//! That the checker accepts what can be explained, and refuses what cannot.

use std::time::Duration;

use crate::history::{
    brute_force::explained,
    check::check,
    record::{
        End, Expiry,
        Operation::{self, Create, Delete, Read, Update, Upsert},
        Outcome::{
            self, Created, Deleted, Exists, Found, Missing, NotDone, Refused, Unknown, Updated,
        },
        Record, Tag,
    },
};

pub(crate) const A1: Tag = Tag { id: 1, version: 1 };
const A2: Tag = Tag { id: 1, version: 2 };
const A3: Tag = Tag { id: 1, version: 3 };
const A4: Tag = Tag { id: 1, version: 4 };
pub(crate) const B1: Tag = Tag { id: 2, version: 1 };
const B2: Tag = Tag { id: 2, version: 2 };

/// Operation, outcome, called, returned.
pub(crate) type Line = (Operation, Outcome, u64, u64);

fn record((operation, outcome, called, returned): Line) -> Record {
    assert!(called <= returned);
    Record {
        by: "client".to_owned(),
        operation,
        expiry: Expiry::Never,
        outcome,
        end: End::Never,
        called: Duration::from_millis(called),
        returned: Duration::from_millis(returned),
    }
}

pub(crate) fn history(lines: &[Line]) -> Vec<Record> {
    lines.iter().copied().map(record).collect()
}

#[track_caller]
fn accepted(lines: &[Line]) {
    assert_explained(&history(lines));
}

#[track_caller]
pub(crate) fn assert_explained(history: &[Record]) {
    check("k", history).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(explained(history), "the brute force refuses it");
}

#[track_caller]
fn refused(lines: &[Line]) -> String {
    unexplained(&history(lines))
}

/// The line of the report that is marked, without times and client.
#[track_caller]
pub(crate) fn unexplained(history: &[Record]) -> String {
    assert!(!explained(history), "the brute force accepts it");
    let report = check("k", history).expect_err("refused");
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
    // Two reads run beside one write, and the later of them sees what was before it.
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
