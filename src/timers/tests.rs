//! The timer queue against a sorted list, and the cases that the list would be slow to find.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn at(nanos: u64) -> Tick {
    Tick::since_start(Duration::from_nanos(nanos))
}

/// All tasks that one turn at `now` fires and ends.
fn fire_all<T>(timers: &mut Timers<T>, now: Tick) -> Vec<T> {
    let batch = timers.batch();
    let mut fired = Vec::new();
    while let Some(due) = timers.pop_due(now, batch) {
        timers.finish(due.id);
        fired.push(due.task);
    }
    fired
}

#[test]
fn the_earliest_fires_first_and_equals_fire_in_order_of_insertion() {
    let mut timers = Timers::new();
    for (nanos, task) in [(30, 'e'), (10, 'a'), (20, 'c'), (10, 'b'), (20, 'd'), (31, 'x')] {
        timers.insert(at(nanos), task);
    }
    assert_eq!(timers.next_deadline(), Some(at(10)));
    assert_eq!(fire_all(&mut timers, at(30)), ['a', 'b', 'c', 'd', 'e']);
    assert_eq!((timers.len(), timers.next_deadline()), (1, Some(at(31))));
}

#[test]
fn nothing_fires_a_nanosecond_early() {
    let mut timers = Timers::new();
    timers.insert(at(1_000), ());
    assert!(fire_all(&mut timers, at(999)).is_empty());
    assert_eq!(fire_all(&mut timers, at(1_000)).len(), 1);
    assert!(timers.is_empty());
}

#[test]
fn the_end_of_time_never_comes() {
    let mut timers = Timers::new();
    let id = timers.insert(Tick::START + Duration::MAX, ());
    assert!(fire_all(&mut timers, at(u64::MAX / 2)).is_empty());
    assert!(timers.is_pending(id));
}

#[test]
fn a_cancelled_timer_neither_fires_nor_wakes_the_loop() {
    let mut timers = Timers::new();
    let first = timers.insert(at(1), 'a');
    timers.insert(at(2), 'b');
    assert!(timers.contains(first) && !timers.is_empty());
    assert!(timers.cancel(first));
    assert!(!timers.cancel(first), "there is nothing left to cancel");
    assert!(!timers.contains(first));
    assert!(!timers.is_pending(first));
    assert_eq!(timers.next_deadline(), Some(at(2)));
    assert_eq!(fire_all(&mut timers, at(9)), ['b']);
}

#[test]
fn a_timer_cancelled_while_it_fires_is_not_rearmed() {
    let mut timers = Timers::new();
    let id = timers.insert(at(1), "again");
    let due = timers.pop_due(at(1), timers.batch()).expect("it is due");
    assert_eq!((due.id, due.at, timers.len()), (id, at(1), 1));
    assert!(!timers.is_pending(id), "it is firing");

    assert!(timers.cancel(id));
    let stranger = timers.insert(at(5), "another in the same slot");
    assert_eq!(stranger.slot(), id.slot());
    assert!(timers.rearm(id, at(2), due.task).is_some());
    timers.finish(id);
    assert!(timers.is_pending(stranger), "neither call reached the slot's new timer");
    assert_eq!(fire_all(&mut timers, at(9)), ["another in the same slot"]);
}

#[test]
fn a_stale_id_misses_the_timer_that_reuses_its_slot() {
    let mut timers = Timers::new();
    let old = timers.insert(at(1), 1);
    fire_all(&mut timers, at(1));
    let new = timers.insert(at(2), 2);
    assert_eq!((old.slot(), old == new), (new.slot(), false));
    assert!(!timers.is_pending(old));
    assert!(!timers.cancel(old));
    timers.finish(old);
    assert!(timers.rearm(old, at(3), 3).is_some());
    assert_eq!(fire_all(&mut timers, at(9)), [2]);
}

#[test]
fn only_a_firing_timer_is_rearmed_or_finished() {
    let mut timers = Timers::new();
    let id = timers.insert(at(1), 'a');
    assert!(timers.rearm(id, at(7), 'b').is_some(), "it is pending already");
    timers.finish(id);
    assert_eq!(timers.next_deadline(), Some(at(1)));
    assert_eq!(fire_all(&mut timers, at(1)), ['a']);
}

#[test]
fn a_repeating_timer_keeps_its_id() {
    let mut timers = Timers::new();
    let id = timers.insert(at(10), 0);
    for turn in 1..=3 {
        let due = timers.pop_due(at(10 * turn), timers.batch()).expect("one run a turn");
        assert_eq!((due.id, due.at), (id, at(10 * turn)));
        assert!(timers.rearm(id, due.at + Duration::from_nanos(10), due.task + 1).is_none());
    }
    assert!(timers.is_pending(id));
    assert_eq!(timers.len(), 1);
}

#[test]
fn what_is_set_during_the_batch_waits_for_the_next() {
    let mut timers = Timers::new();
    let early = timers.insert(at(1), "first");
    timers.insert(at(8), "last");
    let batch = timers.batch();

    let due = timers.pop_due(at(9), batch).expect("the first is due");
    assert!(
        timers.rearm(early, at(2), "first, again").is_none(),
        "in the past, as one that catches up"
    );
    timers.insert(at(3), "new");
    let next = timers.pop_due(at(9), batch).expect("what lies behind the new ones is still found");
    assert_eq!((due.task, next.task), ("first", "last"));
    timers.finish(next.id);
    assert_eq!(timers.pop_due(at(9), batch), None);

    assert_eq!(timers.next_deadline(), Some(at(2)), "what was set aside is back");
    assert_eq!(fire_all(&mut timers, at(9)), ["first, again", "new"]);
}

#[test]
fn a_batch_that_is_left_unfinished_hides_nothing_from_the_next() {
    let mut timers = Timers::new();
    timers.insert(at(5), "old");
    timers.insert(at(6), "older batch, not reached");
    let batch = timers.batch();
    timers.insert(at(1), "new");
    let due = timers.pop_due(at(9), batch).expect("the old one");
    timers.finish(due.id);
    assert_eq!(fire_all(&mut timers, at(9)), ["new", "older batch, not reached"]);
}

#[test]
fn a_task_that_sets_itself_for_now_runs_once_a_turn() {
    let mut timers = Timers::new();
    timers.insert(at(0), ());
    for _ in 0..10 {
        let batch = timers.batch();
        let mut runs = 0;
        while let Some(due) = timers.pop_due(at(0), batch) {
            timers.finish(due.id);
            timers.insert(at(0), ());
            runs += 1;
        }
        assert_eq!(runs, 1);
    }
}

#[test]
fn memory_follows_the_live_timers_not_those_that_came_and_went() {
    let mut timers = Timers::new();
    let kept: Vec<_> = (0..100).map(|n| timers.insert(at(2_000_000 + n), n)).collect();
    let bound = 2 * (kept.len() + 1) + TOLERATED_DEAD;
    for n in 0..1_000_000 {
        let id = timers.insert(at(3_000_000 - n), n);
        assert!(timers.cancel(id));
        assert!(timers.heap.len() <= bound, "{} entries for 100 timers", timers.heap.len());
    }
    assert!(timers.heap.capacity() <= 2 * bound, "{} entries of room", timers.heap.capacity());
    assert!(timers.slots.capacity() <= 256, "{} slots of room", timers.slots.capacity());
    assert_eq!(fire_all(&mut timers, at(3_000_000)).len(), kept.len());
    assert_eq!(timers.heap.len(), 0);
}

#[test]
fn a_few_dead_entries_are_not_worth_a_look_at_the_live_ones() {
    let mut timers = Timers::new();
    let ids: Vec<_> = (0..100).map(|n| timers.insert(at(n), n)).collect();
    assert!(ids.iter().skip(40).all(|id| timers.cancel(*id)));
    assert_eq!((timers.len(), timers.heap.len()), (40, 100));
    assert_eq!(fire_all(&mut timers, at(100)), (0..40).collect::<Vec<_>>());
}

#[test]
fn dead_entries_go_when_the_live_ones_before_them_have_fired() {
    let mut timers = Timers::new();
    for n in 0..1_000 {
        timers.insert(at(n), ());
    }
    let doomed: Vec<_> = (0..1_000).map(|n| timers.insert(at(1_000_000 + n), ())).collect();
    assert!(doomed.into_iter().all(|id| timers.cancel(id)));
    assert_eq!(fire_all(&mut timers, at(1_000)).len(), 1_000);
    assert!(timers.heap.len() <= TOLERATED_DEAD, "{} dead entries are left", timers.heap.len());
}

#[derive(Clone, Debug)]
enum Step {
    Insert { after: u64 },
    Cancel { which: usize },
    Advance { nanos: u64 },
    Batch,
    Pop,
    Rearm { after: u64 },
    Finish,
    Deadline,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..20u64).prop_map(|after| Step::Insert { after }),
        3 => any::<usize>().prop_map(|which| Step::Cancel { which }),
        2 => (0..15u64).prop_map(|nanos| Step::Advance { nanos }),
        2 => Just(Step::Batch),
        5 => Just(Step::Pop),
        2 => (0..20u64).prop_map(|after| Step::Rearm { after }),
        1 => Just(Step::Finish),
        2 => Just(Step::Deadline),
    ]
}

/// The same queue, as slow and as plain as can be: a list, searched from the front each time.
#[derive(Default)]
struct Oracle {
    /// When, in what order set, who, with what task.
    pending: Vec<(Tick, u64, TimerId, u32)>,
    set_so_far: u64,
}

impl Oracle {
    fn set(&mut self, at: Tick, id: TimerId, task: u32) {
        self.pending.push((at, self.set_so_far, id, task));
        self.set_so_far += 1;
        self.pending.sort_unstable();
    }

    fn cancel(&mut self, id: TimerId) -> bool {
        let before = self.pending.len();
        self.pending.retain(|&(_, _, other, _)| other != id);
        self.pending.len() < before
    }

    fn pop(&mut self, now: Tick, set_before: u64) -> Option<(TimerId, Tick, u32)> {
        let is_due =
            |&(at, order, _, _): &(Tick, u64, TimerId, u32)| at <= now && order < set_before;
        let place = self.pending.iter().position(is_due)?;
        let (at, _, id, task) = self.pending.remove(place);
        Some((id, at, task))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn it_agrees_with_a_sorted_list(steps in prop::collection::vec(step(), 1..300)) {
        let mut timers = Timers::new();
        let mut oracle = Oracle::default();
        let mut batch = (timers.batch(), 0);
        let mut now = 0;
        let mut task = 0;
        let mut given_out = Vec::new();
        let mut firing: Vec<TimerId> = Vec::new();
        for step in steps {
            task += 1;
            match step {
                Step::Insert { after } => {
                    let id = timers.insert(at(now + after), task);
                    prop_assert!(!given_out.contains(&id), "{id} was given out before");
                    oracle.set(at(now + after), id, task);
                    given_out.push(id);
                }
                Step::Cancel { which } if !given_out.is_empty() => {
                    let id = given_out[which % given_out.len()];
                    let was_firing = firing.iter().position(|&other| other == id);
                    let expected = oracle.cancel(id) || was_firing.is_some();
                    was_firing.map(|place| firing.remove(place));
                    prop_assert_eq!(timers.cancel(id), expected);
                    prop_assert!(timers.rearm(id, at(now), task).is_some());
                }
                Step::Cancel { .. } => {}
                Step::Advance { nanos } => now += nanos,
                Step::Batch => batch = (timers.batch(), oracle.set_so_far),
                Step::Pop => {
                    let due = timers.pop_due(at(now), batch.0);
                    firing.extend(due.as_ref().map(|due| due.id));
                    let due = due.map(|due| (due.id, due.at, due.task));
                    prop_assert_eq!(due, oracle.pop(at(now), batch.1));
                }
                Step::Rearm { after } => {
                    // From before `now` at times, as a repeating timer that catches up.
                    let when = at((now + after).saturating_sub(10));
                    if let Some(id) = firing.pop() {
                        prop_assert!(timers.rearm(id, when, task).is_none());
                        oracle.set(when, id, task);
                    }
                }
                Step::Finish => firing.pop().into_iter().for_each(|id| timers.finish(id)),
                Step::Deadline => {
                    let expected = oracle.pending.first().map(|&(at, ..)| at);
                    prop_assert_eq!(timers.next_deadline(), expected);
                }
            }
            prop_assert_eq!(timers.len(), oracle.pending.len() + firing.len());
            prop_assert_eq!(timers.pending, oracle.pending.len());
            prop_assert!(oracle.pending.iter().all(|&(_, _, id, _)| timers.is_pending(id)));
            prop_assert!(!firing.iter().any(|&id| timers.is_pending(id)));
            let entries = timers.heap.len() + timers.deferred.len();
            prop_assert!(entries <= 2 * timers.pending + TOLERATED_DEAD, "{entries} entries");
        }
    }
}
