//! Message ids: a hybrid logical clock in one integer.
//!
//! An id is the milliseconds since 2024, a sequence of 6 bits and the node's number of 6 bits. It is taken from the wall
//! clock while that runs ahead of every id seen; when the clock stands still or jumps back, ids count on from the last
//! one. So they grow on each node whatever its clock does, differ between nodes, and stay below 2⁵³, where JavaScript's
//! numbers are still whole. This file reads no clock: `now` is a parameter.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// 2024-01-01T00:00:00Z in milliseconds since the Unix epoch.
pub const EPOCH_MS: u64 = 1_704_067_200_000;

/// The greatest node number.
pub const MAX_NODE: u8 = 63;

const NODE_BITS: u32 = 6;
const SEQUENCE_BITS: u32 = 6;

/// No clock and no foreign id moves ours past this; the 2⁴⁵ above it (the last 99 days before September 2093) are left for
/// counting on.
const HORIZON: u64 = (1 << 53) - (1 << 45);

/// Gives out ids for one node. Several threads may share it: it is one atomic word, and no two calls return the same id.
///
/// ```ignore
/// let ids = Ids::new(3);
/// ids.observe(last_id_on_disk);
/// let id = ids.next(now_ms); // greater than `last_id_on_disk`, and than every id before it
/// ```
#[derive(Debug)]
pub struct Ids {
    last: AtomicU64,
    node: AtomicU8,
}

impl Ids {
    /// Ids of the node `node`, 0 to [`MAX_NODE`].
    ///
    /// # Panics
    ///
    /// For a greater number: it would not fit its 6 bits.
    #[must_use]
    pub fn new(node: u8) -> Self {
        let ids = Self { last: AtomicU64::new(0), node: AtomicU8::new(0) };
        ids.set_node(node);
        ids
    }

    /// Changes the node number: the cluster may have to take another one.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    pub fn set_node(&self, node: u8) {
        assert!(node <= MAX_NODE, "a node number is 0 to {MAX_NODE}, not {node}");
        self.node.store(node, Relaxed);
    }

    /// The node number.
    #[must_use]
    pub fn node(&self) -> u8 {
        self.node.load(Relaxed)
    }

    /// The next id. `now_ms` is the wall clock in milliseconds since the Unix epoch; it may stand still or go back.
    #[must_use]
    pub fn next(&self, now_ms: u64) -> u64 {
        let since_epoch = now_ms.saturating_sub(EPOCH_MS);
        let wall = since_epoch.saturating_mul(1 << (SEQUENCE_BITS + NODE_BITS)).min(HORIZON);
        let node = u64::from(self.node());
        let after = |last: u64| {
            let stamp = (wall >> NODE_BITS).max((last >> NODE_BITS) + 1);
            stamp << NODE_BITS | node
        };
        let mut last = self.last.load(Relaxed);
        loop {
            let id = after(last);
            match self.last.compare_exchange_weak(last, id, Relaxed, Relaxed) {
                Ok(_) => return id,
                Err(now) => last = now,
            }
        }
    }

    /// Takes note of an id given elsewhere: every later id of ours is greater. One that no clock of this century would
    /// give is not believed, lest one bad row use up all the ids there are.
    pub fn observe(&self, id: u64) {
        if id < HORIZON {
            self.last.fetch_max(id, Relaxed);
        }
    }

    /// The greatest id given out or observed; 0 at first.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-21, a moment within the range.
    const NOW: u64 = 1_795_200_000_000;

    #[derive(Clone, Debug)]
    enum Step {
        Next(u64),
        Observe(u64),
        Node(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let clock = prop_oneof![NOW..NOW + 5, 0..u64::MAX, Just(0), Just(u64::MAX)];
        let step = prop_oneof![
            4 => clock.prop_map(Step::Next),
            1 => prop_oneof![0..1u64 << 53, any::<u64>()].prop_map(Step::Observe),
            1 => (0..=MAX_NODE).prop_map(Step::Node),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        #[test]
        fn ids_grow_whatever_the_clock_does(node in 0..=MAX_NODE, steps in steps()) {
            let ids = Ids::new(node);
            let (mut node, mut floor) = (node, 0);
            for step in steps {
                match step {
                    Step::Next(now) => {
                        let id = ids.next(now);
                        prop_assert!(id > floor, "{id} after {floor}");
                        prop_assert!(id < 1 << 53);
                        prop_assert_eq!(id & 63, u64::from(node));
                        floor = id;
                    }
                    Step::Observe(id) => {
                        ids.observe(id);
                        floor = floor.max(if id < HORIZON { id } else { 0 });
                    }
                    Step::Node(number) => {
                        ids.set_node(number);
                        node = number;
                    }
                }
            }
        }
    }

    #[test]
    fn an_id_is_laid_out_as_documented() {
        let ids = Ids::new(5);
        assert_eq!(ids.next(NOW), (NOW - EPOCH_MS) << 12 | 5);
        assert_eq!(ids.next(NOW), (NOW - EPOCH_MS) << 12 | 1 << 6 | 5, "the sequence counts");
        assert_eq!(
            ids.next(NOW + 1),
            (NOW + 1 - EPOCH_MS) << 12 | 5,
            "a new millisecond begins at 0"
        );
    }

    #[test]
    fn a_full_millisecond_borrows_from_the_next() {
        let ids = Ids::new(0);
        let first = ids.next(NOW);
        for _ in 1..64 {
            assert_eq!(ids.next(NOW) >> 12, first >> 12);
        }
        assert_eq!(ids.next(NOW) >> 12, (first >> 12) + 1);
    }

    #[test]
    fn two_nodes_never_give_the_same_id() {
        let (a, b) = (Ids::new(1), Ids::new(2));
        let mut seen = std::collections::HashSet::new();
        for tick in 0..1_000 {
            assert!(seen.insert(a.next(NOW + tick / 100)));
            assert!(seen.insert(b.next(NOW + tick / 70)));
        }
    }

    #[test]
    fn threads_share_one_generator() {
        let ids = Ids::new(1);
        let draw = || (0..2_000).map(|_| ids.next(NOW)).collect::<Vec<_>>();
        let mut all = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(draw)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 8_000);
    }

    #[test]
    #[should_panic(expected = "a node number is 0 to 63, not 64")]
    fn a_node_number_fits_its_bits() {
        let _ = Ids::new(64);
    }
}
