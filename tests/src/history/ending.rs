//! That the checker knows what may become of an item that ends, and notices what may not.

use std::time::Duration;

use crate::history::{
    proof::{A1, B1, Line, assert_explained, history, unexplained},
    record::{
        End, Expiry,
        Operation::{Create, Delete, Read, Update, Upsert},
        Outcome::{Created, Deleted, Exists, Found, Missing, Refused, Unknown, Updated},
        Record, Tag,
    },
};

const A2: Tag = Tag { id: 1, version: 2 };

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(crate) fn ending(line: Line, expiry: Expiry, end: End) -> Record {
    let [record] = history(&[line]).try_into().expect("one");
    Record {
        expiry,
        end,
        ..record
    }
}

/// An answer that shows an item until this time.
fn until(end: u64, line: Line) -> Record {
    ending(line, Expiry::Never, End::At(at(end)))
}

/// A write that is told that what it stores ends as it asked.
fn ends(end: u64, line: Line) -> Record {
    ending(line, Expiry::At(at(end)), End::At(at(end)))
}

fn keeps(end: u64, line: Line) -> Record {
    ending(line, Expiry::Keep, End::At(at(end)))
}

fn plain(line: Line) -> Record {
    history(&[line]).remove(0)
}

/// It ends at 100.
fn created() -> Record {
    ends(100, (Create(10), Created(A1), 0, 1))
}

#[test]
fn an_item_is_there_until_its_end_and_then_makes_room() {
    assert_explained(&[
        created(),
        until(100, (Read, Found(A1, 10), 50, 60)),
        plain((Create(11), Exists, 61, 62)),
        plain((Read, Missing, 110, 111)),
        plain((Update(12, None), Missing, 112, 113)),
        plain((Update(13, Some(A1)), Missing, 112, 113)),
        plain((Delete(None), Missing, 114, 115)),
        plain((Create(14), Created(B1), 116, 117)),
        plain((Update(15, Some(A1)), Refused(B1), 118, 119)),
    ]);
    let after = ending(
        (Upsert(10), Created(A1), 0, 9),
        Expiry::After(at(100)),
        End::At(at(104)),
    );
    assert_explained(&[after, plain((Upsert(11), Created(B1), 120, 121))]);
}

#[test]
fn around_the_end_either_may_be_told_but_not_first_gone_and_then_there() {
    let found = |called, returned| until(100, (Read, Found(A1, 10), called, returned));
    let missing = |called, returned| plain((Read, Missing, called, returned));
    assert_explained(&[created(), found(90, 110), missing(95, 105), found(99, 111)]);
    assert_explained(&[created(), found(101, 102), missing(103, 104)]);
    unexplained(&[created(), missing(97, 98), found(99, 100)]);
    unexplained(&[created(), missing(101, 102), found(103, 104)]);
}

#[test]
fn what_is_asked_for_after_the_end_does_not_find_the_item() {
    let told = unexplained(&[created(), until(100, (Read, Found(A1, 10), 106, 107))]);
    assert_eq!(told, "read -> found 1-1 with value 10, until 100.00");
    unexplained(&[created(), plain((Create(11), Exists, 106, 107))]);
    unexplained(&[created(), plain((Delete(None), Deleted, 106, 107))]);
    unexplained(&[
        created(),
        plain((Update(11, Some(B1)), Refused(A1), 106, 107)),
    ]);
}

#[test]
fn what_is_answered_before_the_end_finds_the_item() {
    let told = unexplained(&[created(), plain((Read, Missing, 92, 94))]);
    assert_eq!(told, "read -> no such key");
    unexplained(&[created(), plain((Create(11), Created(B1), 92, 94))]);
    unexplained(&[created(), plain((Update(11, None), Missing, 92, 94))]);
}

#[test]
fn a_write_that_judged_before_the_end_counts_although_it_was_told_gone_meanwhile() {
    let update = |called, returned| plain((Update(11, None), Updated(A2), called, returned));
    let missing = plain((Read, Missing, 110, 111));
    let after = plain((Read, Found(A2, 11), 122, 123));
    assert_explained(&[created(), missing.clone(), update(90, 120), after.clone()]);
    let told = unexplained(&[created(), missing.clone(), update(112, 120), after]);
    assert_eq!(told, "update to value 11 -> updated, now 1-2");
    // So it is where nobody was told anything of the write.
    let unknown = plain((Update(11, None), Unknown, 90, 91));
    let seen = plain((Read, Found(A2, 11), 150, 151));
    assert_explained(&[created(), unknown, missing.clone(), seen.clone()]);
    let late = plain((Update(11, None), Unknown, 112, 113));
    unexplained(&[created(), late, missing, seen]);
}

#[test]
fn a_tag_does_not_match_after_the_end() {
    unexplained(&[
        created(),
        plain((Update(11, Some(A1)), Updated(A2), 110, 111)),
    ]);
    unexplained(&[created(), plain((Delete(Some(A1)), Deleted, 110, 111))]);
    // Nor what was created since.
    unexplained(&[
        created(),
        plain((Create(11), Created(B1), 110, 111)),
        plain((Update(12, Some(A1)), Updated(A2), 112, 113)),
    ]);
}

#[test]
fn an_item_that_has_ended_is_not_continued() {
    for write in [Upsert(11), Update(11, None)] {
        unexplained(&[created(), plain((write, Updated(A2), 110, 111))]);
        unexplained(&[created(), keeps(100, (write, Updated(A2), 110, 111))]);
    }
    // Nor is its id used again.
    unexplained(&[created(), plain((Create(11), Created(A1), 110, 111))]);
}

#[test]
fn the_end_is_the_one_that_was_asked_for() {
    let none = plain((Read, Found(A1, 10), 50, 60));
    unexplained(&[created(), none]);
    unexplained(&[created(), until(101, (Read, Found(A1, 10), 50, 60))]);
    let line = (Create(10), Created(A1), 0, 9);
    for (expiry, end) in [
        (Expiry::Never, End::At(at(100))),
        (Expiry::Keep, End::At(at(100))),
        (Expiry::At(at(101)), End::At(at(100))),
        (Expiry::At(at(2)), End::At(at(15))),
        (Expiry::At(at(101)), End::Never),
        (Expiry::After(at(101)), End::Never),
        (Expiry::After(at(100)), End::At(at(94))),
        (Expiry::After(at(100)), End::At(at(115))),
    ] {
        unexplained(&[ending(line, expiry, end)]);
    }
}

#[test]
fn an_end_that_has_passed_is_when_the_item_is_written() {
    let line = (Create(10), Created(A1), 0, 9);
    let ended = ending(line, Expiry::At(at(2)), End::At(at(8)));
    assert_explained(&[ended, plain((Read, Missing, 20, 21))]);
}

#[test]
fn an_end_is_kept_only_if_that_is_asked() {
    let update = (Update(11, None), Updated(A2), 50, 60);
    let missing = plain((Read, Missing, 110, 111));
    assert_explained(&[created(), keeps(100, update), missing.clone()]);
    assert_explained(&[
        created(),
        plain(update),
        plain((Read, Found(A2, 11), 110, 111)),
    ]);
    unexplained(&[created(), plain(update), missing.clone()]);
    unexplained(&[created(), keeps(101, update), missing]);
    unexplained(&[
        created(),
        keeps(100, update),
        until(100, (Read, Found(A2, 11), 110, 111)),
    ]);
}

#[test]
fn an_end_that_no_answer_tells_may_be_any_but_only_one() {
    let unknown = ending(
        (Create(10), Unknown, 0, 1),
        Expiry::After(at(100)),
        End::Untold,
    );
    let exists = |called, returned| plain((Create(11), Exists, called, returned));
    let missing = plain((Read, Missing, 150, 151));
    assert_explained(&[unknown.clone(), exists(140, 141), missing.clone()]);
    unexplained(&[unknown, exists(140, 141), missing.clone(), exists(152, 153)]);
    // One that answers the operation but not the end.
    let untold = ending(
        (Create(10), Created(A1), 0, 1),
        Expiry::At(at(100)),
        End::Untold,
    );
    assert_explained(&[untold, missing]);
}
