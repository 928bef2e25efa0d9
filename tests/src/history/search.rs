//! The search for an order: the just-in-time linearization of Lowe.
//!
//! * J. Wing, C. Gong: Testing and Verifying Concurrent Objects. J. Parallel and Distributed Computing 17 (1993)
//! * G. Lowe: Testing for linearizability. Concurrency and Computation: Practice and Experience 29 (2017)
//!
//! Calls and answers are gone through in the order of time, with everything that the past may have been. Only an
//! answer forces a decision: its operation, and whichever others help it to this answer, must have had their moments
//! by now. When nothing is left that the past may have been, the history up to this answer has no explanation.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use crate::history::{
    life::Life,
    model::{Book, State},
    record::{Expiry, Operation, Outcome, Record, Value},
};

/// One thing that the past may have been.
#[derive(Clone, Debug, Default)]
struct Past {
    state: State,
    /// Operations that had their moment and will be answered later.
    ahead: BTreeSet<usize>,
    /// Operations of unknown outcome that had their moment.
    spent: BTreeSet<usize>,
}

/// What the key may be in the end; `None` if nothing explains the history.
pub(super) fn search(history: &[Record]) -> Option<Vec<State>> {
    let book = Book::of(history);
    let mut search = Search {
        history,
        book,
        open: Vec::new(),
    };
    let mut pasts = vec![Past::default()];
    for event in events(history) {
        match event {
            Event::Call(record) => {
                search.open.push(record);
                for past in &mut pasts {
                    search.let_see(past, record);
                }
            }
            Event::Answer(record) => {
                pasts = search.explain(&pasts, record);
                if pasts.is_empty() {
                    return None;
                }
                search.open.retain(|open| *open != record);
            }
        }
    }
    Some(states(pasts))
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    // In this order: of two that seem to happen at once, the call came first, which allows for more.
    Call(usize),
    Answer(usize),
}

/// What was not done leaves no trace, and what is unknown has no answer.
fn events(history: &[Record]) -> Vec<Event> {
    let mut events: Vec<(Duration, Event)> = Vec::new();
    for (number, record) in history.iter().enumerate() {
        match record.outcome {
            Outcome::NotDone => continue,
            Outcome::Unknown => {}
            _ => events.push((record.returned, Event::Answer(number))),
        }
        events.push((record.called, Event::Call(number)));
    }
    events.sort_unstable();
    events.into_iter().map(|(_, event)| event).collect()
}

struct Search<'a> {
    history: &'a [Record],
    book: Book,
    /// Called and not answered yet.
    open: Vec<usize>,
}

impl Search<'_> {
    /// Everything that the past may have been, given that this operation had its moment.
    fn explain(&self, pasts: &[Past], answered: usize) -> Vec<Past> {
        let mut queue: VecDeque<Past> = pasts.iter().cloned().collect();
        let (mut met, mut explained) = (Met::default(), Met::default());
        while let Some(mut past) = queue.pop_front() {
            if past.ahead.remove(&answered) {
                explained.add(past);
                continue;
            }
            for next in self.next(&past) {
                if met.add(next.clone()) {
                    queue.push_back(next);
                }
            }
        }
        explained.all()
    }

    /// One operation more.
    fn next(&self, past: &Past) -> Vec<Past> {
        let mut found = Vec::new();
        let mut effects = Vec::new();
        // The latest first: of those that would do the same, an earlier one finds whatever a later one does.
        for (open, operation) in self.open.iter().rev().flat_map(|open| self.ways(*open)) {
            if past.ahead.contains(&open) || past.spent.contains(&open) {
                continue;
            }
            let record = &self.history[open];
            let effect = self.effect(record, operation);
            if effect.is_some() && effects.contains(&effect) {
                continue;
            }
            let Some(state) = past.state.after(record, operation, &self.book) else {
                continue;
            };
            effects.push(effect);
            let mut next = Past {
                state,
                ..past.clone()
            };
            match record.outcome {
                Outcome::Unknown => next.spent.insert(open),
                _ => next.ahead.insert(open),
            };
            for open in &self.open {
                self.let_see(&mut next, *open);
            }
            found.push(next);
        }
        found
    }

    /// An operation that sees what it will answer, and changes nothing, may as well have its moment now.
    fn let_see(&self, past: &mut Past, open: usize) {
        let record = &self.history[open];
        if record.outcome != Outcome::Unknown
            && past
                .state
                .after(record, record.operation, &self.book)
                .as_ref()
                == Some(&past.state)
        {
            past.ahead.insert(open);
        }
    }

    /// The operation, or both that an upsert of unknown outcome may have been.
    fn ways(&self, open: usize) -> impl Iterator<Item = (usize, Operation)> + use<> {
        let record = &self.history[open];
        let ways = match (record.operation, record.outcome) {
            (Operation::Upsert(value), Outcome::Unknown) => {
                let update = Operation::Update(value, None);
                [Some(update), Some(Operation::Create(value))]
            }
            (operation, _) => [Some(operation), None],
        };
        ways.into_iter().flatten().map(move |way| (open, way))
    }

    /// What an operation of unknown outcome does in this way; `None` if only this one does it. Of those that would do
    /// the same at any time, trying one will do.
    fn effect(&self, record: &Record, way: Operation) -> Option<Effect> {
        let is_unseen = |value: Value| !self.book.shows(value);
        let (stores, creates) = match way {
            Operation::Create(value) if is_unseen(value) => (true, true),
            Operation::Update(value, None) if is_unseen(value) => (true, false),
            Operation::Delete(None) => (false, false),
            _ => return None,
        };
        let effect = Effect {
            stores,
            creates,
            // It can do what others can, and more.
            is_upsert: matches!(record.operation, Operation::Upsert(_)),
            life: Life::asked(record.expiry, None),
            keeps: record.expiry == Expiry::Keep,
        };
        (record.outcome == Outcome::Unknown).then_some(effect)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Effect {
    stores: bool,
    creates: bool,
    is_upsert: bool,
    life: Life,
    keeps: bool,
}

/// Pasts, without those that spend operations which they need not spend: they explain nothing more.
#[derive(Default)]
struct Met(BTreeMap<(State, BTreeSet<usize>), Vec<BTreeSet<usize>>>);

impl Met {
    /// Whether it explains more than those met before.
    fn add(&mut self, past: Past) -> bool {
        let spent = self.0.entry((past.state, past.ahead)).or_default();
        if spent.iter().any(|less| less.is_subset(&past.spent)) {
            return false;
        }
        spent.retain(|more| !past.spent.is_subset(more));
        spent.push(past.spent);
        true
    }

    fn all(self) -> Vec<Past> {
        let past = |((state, ahead), spent): ((State, BTreeSet<usize>), Vec<BTreeSet<usize>>)| {
            spent.into_iter().map(move |spent| Past {
                state: state.clone(),
                ahead: ahead.clone(),
                spent,
            })
        };
        self.0.into_iter().flat_map(past).collect()
    }
}

fn states(pasts: Vec<Past>) -> Vec<State> {
    let mut states = Vec::new();
    for past in pasts {
        if !states.contains(&past.state) {
            states.push(past.state);
        }
    }
    states
}
