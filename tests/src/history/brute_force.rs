//! The checker's counterpart: it explains a history by trying every order there is.

use std::collections::BTreeSet;

use crate::history::record::{
    Operation::{self, Create, Delete, Read, Update, Upsert},
    Outcome::{self, Created, Deleted, Exists, Found, Missing, NotDone, Refused, Unknown, Updated},
    Record, Tag, Value,
};

/// An item as the contract has it, told rather than guessed: the other opinion on what each operation does.
#[derive(Clone, Default)]
pub(crate) struct Table {
    row: Option<(Tag, Value)>,
    used: BTreeSet<i64>,
}

impl Table {
    /// Does it, and says what it did. A new item gets the id `id`, if that was not used before.
    pub(crate) fn run(&mut self, operation: Operation, id: i64) -> Option<Outcome> {
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
pub(crate) fn explained(history: &[Record]) -> bool {
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
            done[n] = true;
            let found = fits(operation, does, outcome) && tried(history, ids, done, &table);
            done[n] = false;
            if found {
                return true;
            }
        }
    }
    false
}

/// Whether what it did may have been told so.
fn fits(operation: Operation, does: Option<Outcome>, told: Outcome) -> bool {
    does == Some(told)
        || (does.is_some() && told == Unknown)
        || matches!(
            (operation, does, told),
            (Create(_), Some(Refused(_)), Exists)
        )
}
