//! The timer queue: what is to happen, and when. `now` is a parameter; no clock is read here.
//!
//! Tasks lie in a slab. A heap beside it orders small copyable entries by deadline, so that a timer costs O(log n) to set
//! and to fire, and nothing while it waits. Cancelling frees the slot at once and leaves the entry behind; entries that
//! lead nowhere are dropped when they come to the head, and all together once they outnumber the live ones. So memory
//! follows the largest number of timers there ever were at one time, however many have come and gone.
//!
//! A timer is *pending* until [`Timers::pop_due`] hands out its task. It is then *firing*, with its slot kept for it,
//! until [`Timers::rearm`] puts a task back, or [`Timers::finish`] or [`Timers::cancel`] ends it.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use slab::Slab;

use crate::clock::Tick;
use crate::id::{Generation, TimerId};

/// So many dead entries are not worth a compaction, however few live ones there are.
const TOLERATED_DEAD: usize = 32;

/// Timers, each with a task: whatever the owner wants back when the time has come.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    slots: Slab<Slot<T>>,
    /// One entry for each pending timer, and dead ones. An entry is either here or in `deferred`.
    heap: BinaryHeap<Reverse<Entry>>,
    /// Due, but not in the batch that is being popped: set aside to reach what lies behind them.
    deferred: Vec<Entry>,
    /// The batch for which they were set aside.
    deferred_by: Batch,
    pending: usize,
    next_sequence: u64,
    next_generation: Generation,
}

#[derive(Debug)]
struct Slot<T> {
    generation: Generation,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    /// `sequence` is that of the timer's one live entry.
    Pending {
        sequence: u64,
        task: T,
    },
    Firing,
}

/// Ordered by deadline, then by the order of insertion: the fields' order matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Entry {
    at: Tick,
    /// Never given twice, so it alone tells a live entry from a dead one: a slot's generation may come round again.
    sequence: u64,
    id: TimerId,
}

/// A moment in the order of insertions: what was inserted before it may fire in this turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Batch {
    ends_before: u64,
}

/// A timer whose time has come. It stays firing until `rearm`, `finish` or `cancel`.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Due<T> {
    pub(crate) id: TimerId,
    /// When it was meant to fire; what repeats without drift counts from here.
    pub(crate) at: Tick,
    pub(crate) task: T,
}

impl<T> Timers<T> {
    pub(crate) fn new() -> Self {
        Self {
            slots: Slab::new(),
            heap: BinaryHeap::new(),
            deferred: Vec::new(),
            deferred_by: Batch { ends_before: 0 },
            pending: 0,
            next_sequence: 0,
            next_generation: Generation::FIRST,
        }
    }

    /// How many timers are pending or firing.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(crate) fn insert(&mut self, at: Tick, task: T) -> TimerId {
        let generation = self.next_generation;
        self.next_generation = generation.next();
        let sequence = self.take_sequence();
        let slot = self.slots.insert(Slot { generation, state: State::Pending { sequence, task } });
        let id = TimerId::new(slot, generation);
        self.enqueue(Entry { at, sequence, id });
        id
    }

    /// Ends a timer, whether it is pending or firing just now; a firing one will then not be rearmed.
    ///
    /// `false` if there is no such timer any more. The task is dropped last, when everything is in order again.
    pub(crate) fn cancel(&mut self, id: TimerId) -> bool {
        if self.slot(id).is_none() {
            return false;
        }
        let slot = self.slots.remove(id.slot());
        if matches!(slot.state, State::Pending { .. }) {
            self.pending -= 1;
            self.compact_when_mostly_dead();
        }
        true
    }

    /// Whether the timer waits for its time. One that is firing does not.
    #[cfg(test)]
    pub(crate) fn is_pending(&self, id: TimerId) -> bool {
        matches!(self.slot(id), Some(Slot { state: State::Pending { .. }, .. }))
    }

    /// Whether there is such a timer, pending or firing.
    pub(crate) fn contains(&self, id: TimerId) -> bool {
        self.slot(id).is_some()
    }

    /// The time of the earliest pending timer. Drops the dead entries before it, so it is O(1) amortised.
    pub(crate) fn next_deadline(&mut self) -> Option<Tick> {
        self.bring_back_deferred();
        while let Some(&Reverse(head)) = self.heap.peek() {
            if self.is_live(head) {
                return Some(head.at);
            }
            self.heap.pop();
        }
        None
    }

    /// Draws the line between what may fire in this turn and what is inserted or rearmed from here on.
    pub(crate) fn batch(&self) -> Batch {
        Batch { ends_before: self.next_sequence }
    }

    /// Hands out the next timer that is due: the earliest first, and of equals the one that was inserted first.
    ///
    /// Only what was inserted or rearmed before `batch` counts. So a task that sets a timer for "now" each time it runs
    /// gets one run in each turn, and the turn ends.
    pub(crate) fn pop_due(&mut self, now: Tick, batch: Batch) -> Option<Due<T>> {
        if self.deferred_by != batch {
            self.bring_back_deferred();
            self.deferred_by = batch;
        }
        while let Some(&Reverse(head)) = self.heap.peek() {
            if head.at > now {
                break;
            }
            self.heap.pop();
            if !self.is_live(head) {
                continue;
            }
            if head.sequence >= batch.ends_before {
                self.deferred.push(head);
                continue;
            }
            return self.fire(head);
        }
        self.bring_back_deferred();
        None
    }

    /// Puts a firing timer back under the same id. It is not in the current batch.
    ///
    /// The task comes back if the timer is not firing: it was cancelled meanwhile.
    #[must_use]
    pub(crate) fn rearm(&mut self, id: TimerId, at: Tick, task: T) -> Option<T> {
        if !self.is_firing(id) {
            return Some(task);
        }
        let sequence = self.take_sequence();
        self.slots[id.slot()].state = State::Pending { sequence, task };
        self.enqueue(Entry { at, sequence, id });
        None
    }

    /// Gives back the slot of a firing timer that will not be rearmed. Does nothing for any other.
    pub(crate) fn finish(&mut self, id: TimerId) {
        if self.is_firing(id) {
            self.slots.remove(id.slot());
        }
    }

    fn slot(&self, id: TimerId) -> Option<&Slot<T>> {
        self.slots.get(id.slot()).filter(|slot| slot.generation == id.generation())
    }

    fn is_firing(&self, id: TimerId) -> bool {
        matches!(self.slot(id), Some(Slot { state: State::Firing, .. }))
    }

    fn is_live(&self, entry: Entry) -> bool {
        is_live(&self.slots, entry)
    }

    fn take_sequence(&mut self) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        sequence
    }

    fn enqueue(&mut self, entry: Entry) {
        self.heap.push(Reverse(entry));
        self.pending += 1;
    }

    /// Takes the task out of its slot; the slot stays.
    fn fire(&mut self, Entry { at, id, .. }: Entry) -> Option<Due<T>> {
        let slot = self.slots.get_mut(id.slot())?;
        let State::Pending { task, .. } = std::mem::replace(&mut slot.state, State::Firing) else {
            return None;
        };
        self.pending -= 1;
        self.compact_when_mostly_dead();
        Some(Due { id, at, task })
    }

    fn bring_back_deferred(&mut self) {
        self.heap.extend(self.deferred.drain(..).map(Reverse));
    }

    /// Each dead entry pays once for its own removal, and never more live ones are looked at than dead ones dropped: O(1)
    /// amortised for each timer that was cancelled.
    fn compact_when_mostly_dead(&mut self) {
        let dead = self.heap.len() + self.deferred.len() - self.pending;
        if dead <= self.pending + TOLERATED_DEAD {
            return;
        }
        let slots = &self.slots;
        self.heap.retain(|&Reverse(entry)| is_live(slots, entry));
        self.deferred.retain(|&entry| is_live(slots, entry));
        debug_assert_eq!(self.heap.len() + self.deferred.len(), self.pending, "one entry a timer");
    }
}

/// Whether the entry is that of a timer which still waits for it.
fn is_live<T>(slots: &Slab<Slot<T>>, entry: Entry) -> bool {
    match slots.get(entry.id.slot()) {
        Some(Slot { state: State::Pending { sequence, .. }, .. }) => *sequence == entry.sequence,
        _ => false,
    }
}
