//! The checker's counterpart: it explains a history by trying every order there is.

use std::{collections::BTreeSet, time::Duration};

use crate::history::record::{
    CLOCK_ERROR, End, Expiry,
    Operation::{self, Create, Delete, Read, Update, Upsert},
    Outcome::{self, Created, Deleted, Exists, Found, Missing, NotDone, Refused, Unknown, Updated},
    Record, Tag, Value,
};

/// An item as the contract has it, told rather than guessed: the other opinion on what each operation does.
#[derive(Clone, Default)]
pub(crate) struct Table {
    row: Option<Row>,
    used: BTreeSet<i64>,
}

#[derive(Clone, Copy)]
struct Row {
    tag: Tag,
    value: Value,
    end: End,
    /// When the last operation was called that found it.
    found: Duration,
    /// When the first operation was answered that found it ended.
    missed: Duration,
}

impl Row {
    fn is_possible(&self) -> bool {
        match self.end {
            End::Never => self.missed == Duration::MAX,
            End::Untold => self.found <= self.missed,
            End::At(end) => {
                self.found.max(end.saturating_sub(CLOCK_ERROR))
                    <= self.missed.min(end + CLOCK_ERROR)
            }
        }
    }
}

impl Table {
    /// The end of the row that an operation finds.
    pub(crate) fn end(&self) -> End {
        self.row.map_or(End::Never, |row| row.end)
    }

    /// Does it, and says what it did. A new item gets the id `id`, if that was not used before, and what is stored
    /// ends at `end`. To whoever judges that the row has ended there is none.
    pub(crate) fn run(
        &mut self,
        operation: Operation,
        id: i64,
        has_ended: bool,
        end: End,
    ) -> Option<Outcome> {
        let ended = self.row.take_if(|_| has_ended);
        let outcome = self.run_alone(operation, id, end);
        self.row = self.row.or(ended);
        outcome
    }

    fn run_alone(&mut self, operation: Operation, id: i64, end: End) -> Option<Outcome> {
        let (tag, value) = match (operation, self.row) {
            (Read, Some(row)) => return Some(Found(row.tag, row.value)),
            (Create(_), Some(row)) => return Some(Refused(row.tag)),
            (Update(_, Some(sent)) | Delete(Some(sent)), Some(row)) if row.tag != sent => {
                return Some(Refused(row.tag));
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
            (Update(value, _) | Upsert(value), Some(row)) => {
                let version = row.tag.version + 1;
                (Tag { version, ..row.tag }, value)
            }
        };
        self.row = Some(Row {
            tag,
            value,
            end,
            found: Duration::ZERO,
            missed: Duration::MAX,
        });
        match tag.version {
            1 => Some(Created(tag)),
            _ => Some(Updated(tag)),
        }
    }

    /// As it is known when this operation finds the row, or finds that it has ended; `None` if that cannot be.
    fn judged(&self, record: &Record, has_ended: bool) -> Option<Self> {
        let mut table = self.clone();
        let Some(row) = &mut table.row else {
            return (!has_ended).then_some(table);
        };
        match (has_ended, record.outcome) {
            // Nobody was told anything at any time.
            (true, Unknown) => return (row.end != End::Never).then_some(table),
            (true, _) => row.missed = row.missed.min(record.returned),
            (false, _) => row.found = row.found.max(record.called),
        }
        row.is_possible().then(|| match record.outcome {
            Unknown => self.clone(),
            _ => table,
        })
    }

    /// What this record does to it, and what it would be told: everything that it may have judged.
    fn after(&self, record: &Record, id: i64, told: End) -> Vec<(Self, Outcome)> {
        let judged = [false, true].map(|has_ended| {
            let mut table = self.judged(record, has_ended)?;
            let before = table.row.filter(|_| !has_ended);
            let stores = record.operation.value().is_some();
            let end = match record.expiry {
                _ if !stores => Some(End::Untold),
                Expiry::Keep => kept(before.map(|row| row.end), told),
                Expiry::Never => Some(End::Never),
                Expiry::After(_) | Expiry::At(_) => Some(told),
            };
            let outcome = table.run(record.operation, id, has_ended, end.unwrap_or_default())?;
            if matches!(outcome, Created(_) | Updated(_)) {
                (end.is_some() && record.may_give(told)).then_some(())?;
                if let (Expiry::Keep, Some(row), Some(before)) =
                    (record.expiry, &mut table.row, before)
                {
                    (row.found, row.missed) = (before.found, before.missed);
                    row.is_possible().then_some(())?;
                }
            }
            Some((table, outcome))
        });
        judged.into_iter().flatten().collect()
    }
}

/// The end that a row keeps of the one before it, given what is told of it.
fn kept(before: Option<End>, told: End) -> Option<End> {
    match (before.unwrap_or_default(), told) {
        (before, End::Untold) => Some(before),
        (End::Untold, End::At(_)) => Some(told),
        (before, _) => (before == told).then_some(before),
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
        let record = history[n];
        if done[n] || soonest.is_some_and(|soonest| soonest < record.called) {
            continue;
        }
        let creates = matches!(record.operation, Create(_) | Upsert(_));
        let nobody_knows = -1 - i64::try_from(n).unwrap();
        let possible = match record.outcome.tag() {
            Some(tag) => vec![tag.id],
            None if creates => [ids, &[nobody_knows]].concat(),
            None => vec![nobody_knows],
        };
        let told = told_end(history, record);
        let afters = possible
            .into_iter()
            .flat_map(|id| table.after(record, id, told));
        for (table, does) in afters.collect::<Vec<_>>() {
            done[n] = true;
            let found = fits(record, &table, does) && tried(history, ids, done, &table);
            done[n] = false;
            if found {
                return true;
            }
        }
    }
    false
}

/// The end of what a write stores, if an answer tells it.
fn told_end(history: &[&Record], write: &Record) -> End {
    let shows = |record: &&&Record| {
        record.end != End::Untold
            && record.shows().map(|(_, value)| value) == write.operation.value()
    };
    match write.operation.value() {
        Some(_) => history
            .iter()
            .find(shows)
            .map_or(End::Untold, |record| record.end),
        None => End::Untold,
    }
}

/// Whether what it did may have been told so.
fn fits(record: &Record, table: &Table, does: Outcome) -> bool {
    let told = record.outcome;
    let is_end = record.end == End::Untold || table.end() == record.end;
    (does == told && (told.tag().is_none() || matches!(told, Refused(_)) || is_end))
        || told == Unknown
        || matches!(
            (record.operation, does, told),
            (Create(_), Refused(_), Exists)
        )
}
