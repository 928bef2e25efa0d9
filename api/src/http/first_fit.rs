//! A queue of which the first entry is found that needs no more than there is.

use std::mem;

/// What an entry needs that is never found.
pub(super) const NEVER: usize = usize::MAX;

/// The number of an entry, by which it is changed and removed.
pub(super) type Ticket = u64;

/// Entries in the order of their coming, each with what it needs. All calls take logarithmic time.
pub(super) struct FirstFit<T> {
    next: Ticket,
    /// An entry that was removed leaves a gap.
    entries: Vec<(Ticket, Option<T>)>,
    /// A binary tree: the children of node `n` are `2n` and `2n + 1`, and a node has the lesser need of the two.
    /// The second half of the nodes are the leaves, which have the needs of the entries.
    least: Vec<usize>,
}

impl<T> Default for FirstFit<T> {
    fn default() -> Self {
        Self {
            next: 0,
            entries: Vec::new(),
            least: Vec::new(),
        }
    }
}

impl<T> FirstFit<T> {
    pub(super) fn push(&mut self, need: usize, entry: T) -> Ticket {
        if self.entries.len() == self.leaves() {
            self.make_room();
        }
        let ticket = self.next;
        self.next += 1;
        self.entries.push((ticket, Some(entry)));
        self.set(self.entries.len() - 1, need);
        ticket
    }

    pub(super) fn is_empty(&self) -> bool {
        self.least() == NEVER
    }

    /// What the entry needs that needs the least, [`NEVER`] if there is none.
    pub(super) fn least(&self) -> usize {
        self.least.get(1).copied().unwrap_or(NEVER)
    }

    /// The first entry that needs at most this, which is less than [`NEVER`].
    pub(super) fn first_within(&self, most: usize) -> Option<(Ticket, &T)> {
        if self.least() > most {
            return None;
        }
        let mut node = 1;
        while node < self.leaves() {
            node = match self.least[2 * node] <= most {
                true => 2 * node,
                false => 2 * node + 1,
            };
        }
        let (ticket, entry) = &self.entries[node - self.leaves()];
        entry.as_ref().map(|entry| (*ticket, entry))
    }

    pub(super) fn change(&mut self, ticket: Ticket, need: usize) {
        if let Some(slot) = self.slot(ticket) {
            self.set(slot, need);
        }
    }

    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let slot = self.slot(ticket)?;
        self.set(slot, NEVER);
        self.entries[slot].1.take()
    }

    fn leaves(&self) -> usize {
        self.least.len() / 2
    }

    fn slot(&self, ticket: Ticket) -> Option<usize> {
        let entries = &self.entries;
        entries.binary_search_by_key(&ticket, |(of, _)| *of).ok()
    }

    fn set(&mut self, slot: usize, need: usize) {
        let mut node = self.leaves() + slot;
        self.least[node] = need;
        while node > 1 {
            node /= 2;
            self.join(node);
        }
    }

    fn join(&mut self, node: usize) {
        self.least[node] = self.least[2 * node].min(self.least[2 * node + 1]);
    }

    /// Closes the gaps, and at least doubles the room for what is left.
    fn make_room(&mut self) {
        let needs = self.least.split_off(self.leaves());
        let entries = mem::take(&mut self.entries).into_iter().zip(needs);
        let kept = entries.filter(|((_, entry), _)| entry.is_some());
        let (entries, needs): (Vec<_>, Vec<_>) = kept.unzip();
        let leaves = (2 * entries.len()).next_power_of_two();
        self.entries = entries;
        self.least = vec![NEVER; leaves];
        self.least.extend(needs);
        self.least.resize(2 * leaves, NEVER);
        for node in (1..leaves).rev() {
            self.join(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// What may happen to a queue.
    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Change(usize, usize),
        Remove(usize),
        Find(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let need = || prop_oneof![9 => 0..20usize, 1 => Just(NEVER)];
        prop_oneof![
            3 => need().prop_map(Step::Push),
            1 => (0..40usize, need()).prop_map(|(nth, need)| Step::Change(nth, need)),
            2 => (0..40usize).prop_map(Step::Remove),
            2 => (0..20usize).prop_map(Step::Find),
        ]
    }

    proptest! {
        #[test]
        fn it_finds_what_a_search_from_the_beginning_finds(steps in vec(step(), 0..200)) {
            let mut queue = FirstFit::default();
            let mut plain: Vec<(Ticket, usize)> = Vec::new();
            for step in steps {
                match step {
                    Step::Push(need) => plain.push((queue.push(need, ()), need)),
                    Step::Change(nth, need) => if let Some((ticket, was)) = plain.get_mut(nth) {
                        *was = need;
                        queue.change(*ticket, need);
                    },
                    Step::Remove(nth) if nth < plain.len() => {
                        let (ticket, _) = plain.remove(nth);
                        prop_assert!(queue.remove(ticket).is_some());
                        prop_assert!(queue.remove(ticket).is_none());
                    }
                    Step::Remove(_) => {}
                    Step::Find(most) => {
                        let found = queue.first_within(most).map(|(ticket, ())| ticket);
                        let first = plain.iter().find(|(_, need)| *need <= most);
                        prop_assert_eq!(found, first.map(|(ticket, _)| *ticket));
                    }
                }
                let least = plain.iter().map(|(_, need)| *need).min();
                prop_assert_eq!(queue.least(), least.unwrap_or(NEVER));
            }
        }
    }

    #[test]
    fn what_was_removed_takes_no_room() {
        let mut queue = FirstFit::default();
        let first = queue.push(1, 0);
        for n in 1..10_000 {
            let ticket = queue.push(1, n);
            assert_eq!(queue.remove(ticket), Some(n));
        }
        assert!(queue.entries.len() <= 4);
        assert_eq!(queue.first_within(1), Some((first, &0)));
    }
}
