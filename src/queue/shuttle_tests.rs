//! The same promises under random schedules, where a thread that sleeps for ever is found as a deadlock.
//!
//! Shuttle's threads switch at every lock, wait and atomic. What it cannot show: a timed wait never runs out there (the
//! load test of `tests.rs` has those), nobody wakes without a cause, and atomics are sequentially consistent (the argument
//! for weaker ones stands at `WakeFlag`). A failure prints a schedule that replays it.

use std::sync::Arc;

use shuttle::thread;

use super::*;

/// The schedules of each kind for each scenario: some seconds for all. Every fault that was put in for trial (a missing or
/// a stinted call, a flag set too late or cleared too late) shows well within them.
const SCHEDULES: usize = 2_000;

/// At most so many preemptions in a schedule of the second kind; the known bugs of this sort need two or three.
const DEPTH: usize = 3;

fn explore(scenario: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(scenario.clone(), SCHEDULES);
    shuttle::check_pct(scenario, SCHEDULES, DEPTH);
}

/// Spawns one thread for each number, and hands back what they return.
fn spawn<R: Send + 'static>(
    threads: u32,
    body: impl Fn(u32) -> R + Send + Sync + 'static,
) -> Vec<thread::JoinHandle<R>> {
    let body = Arc::new(body);
    (0..threads)
        .map(|n| {
            let body = Arc::clone(&body);
            thread::spawn(move || body(n))
        })
        .collect()
}

fn join<R>(threads: Vec<thread::JoinHandle<R>>) -> Vec<R> {
    threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
}

fn read_to_the_end(queue: &Bounded<u32>) -> Vec<u32> {
    let mut got = Vec::new();
    loop {
        match queue.pop(None) {
            Ok(popped) => got.push(popped.item),
            Err(PopError::Closed) => return got,
            Err(PopError::Empty) => panic!("a pop without a deadline returned empty-handed"),
        }
    }
}

/// A deadline long past: the call must not wait.
fn past() -> Option<Instant> {
    Some(system_now())
}

#[test]
fn blocking_senders_and_readers_pass_every_item_once_and_in_order() {
    for capacity in [1, 2] {
        explore(move || {
            let queue = Arc::new(Bounded::new(capacity));
            let readers = spawn(2, {
                let queue = Arc::clone(&queue);
                move |_| read_to_the_end(&queue)
            });
            let senders = spawn(2, {
                let queue = Arc::clone(&queue);
                move |n| (0..3).for_each(|i| queue.push(10 * n + i, None).expect("it is open"))
            });
            join(senders);
            queue.close();
            let got = join(readers);
            for one in &got {
                for sender in 0..2 {
                    assert!(one.iter().filter(|&&item| item / 10 == sender).is_sorted());
                }
            }
            let mut all = got.concat();
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2, 10, 11, 12]);
        });
    }
}

#[test]
fn two_items_at_once_wake_two_readers() {
    explore(|| {
        let queue = Arc::new(Bounded::new(2));
        let readers = spawn(2, {
            let queue = Arc::clone(&queue);
            move |_| queue.pop(None).expect("it is open").item
        });
        queue.try_push(1).expect("there is room");
        queue.try_push(2).expect("there is room");
        let mut got = join(readers);
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
    });
}

#[test]
fn two_places_at_once_let_two_senders_in() {
    explore(|| {
        let queue = Arc::new(Bounded::new(2));
        queue.try_push(8).expect("there is room");
        queue.try_push(9).expect("there is room");
        let senders = spawn(2, {
            let queue = Arc::clone(&queue);
            move |n| queue.push(n, None)
        });
        let first =
            [queue.pop(None), queue.pop(None)].map(|popped| popped.expect("it is open").item);
        assert_eq!(first, [8, 9]);
        assert_eq!(join(senders), [Ok(()), Ok(())]);
        assert_eq!(queue.len(), 2);
    });
}

#[test]
fn callers_that_do_not_wait_leave_nobody_asleep() {
    explore(|| {
        let queue = Arc::new(Bounded::new(1));
        let reader = spawn(1, {
            let queue = Arc::clone(&queue);
            move |_| read_to_the_end(&queue)
        });
        let sender = spawn(1, {
            let queue = Arc::clone(&queue);
            move |_| (0..3).for_each(|item| queue.push(item, None).expect("it is open"))
        });
        let hurried = spawn(1, {
            let queue = Arc::clone(&queue);
            move |_| {
                let taken = queue.pop(past()).ok().map(|popped| popped.item);
                let refused = queue.push(10, past()).err().map(|_| 10);
                let evicted = queue.push_evicting(11).expect("it is open");
                [taken, refused, evicted].into_iter().flatten().collect::<Vec<_>>()
            }
        });
        join(sender);
        let mut all = join(hurried).concat();
        queue.close();
        all.extend(join(reader).concat());
        all.sort_unstable();
        assert_eq!(
            all,
            [0, 1, 2, 10, 11],
            "read, refused or evicted: each item is somewhere, once"
        );
    });
}

#[test]
fn a_close_in_the_middle_loses_no_item_and_frees_everyone() {
    explore(|| {
        let queue = Arc::new(Bounded::new(1));
        let readers = spawn(2, {
            let queue = Arc::clone(&queue);
            move |_| read_to_the_end(&queue)
        });
        let senders = spawn(2, {
            let queue = Arc::clone(&queue);
            move |n| {
                let items = [10 * n, 10 * n + 1];
                items.map(|item| match queue.push(item, None) {
                    Ok(()) => None,
                    Err(PushError::Closed(back)) => Some(back),
                    Err(PushError::Full(_)) => panic!("a push without a deadline found no room"),
                })
            }
        });
        queue.close();
        let mut all: Vec<_> = join(senders).into_iter().flatten().flatten().collect();
        all.extend(join(readers).concat());
        all.sort_unstable();
        assert_eq!(all, [0, 1, 10, 11], "delivered or given back, and never both");
    });
}

#[test]
fn a_clearing_close_counts_what_it_drops() {
    explore(|| {
        let queue = Arc::new(Bounded::new(2));
        let reader = spawn(1, {
            let queue = Arc::clone(&queue);
            move |_| read_to_the_end(&queue).len()
        });
        let sender = spawn(1, {
            let queue = Arc::clone(&queue);
            move |_| (0..3).filter(|&item| queue.push(item, None).is_err()).count()
        });
        let dropped = queue.close_and_clear();
        let read = join(reader)[0];
        let refused = join(sender)[0];
        assert_eq!(
            read + refused + dropped,
            3,
            "{read} read, {refused} refused, {dropped} dropped"
        );
    });
}

/// Stands for the poll: one wake-up ends the sleep, or the next one, and further ones before that count for nothing.
struct Poll {
    woken: Mutex<bool>,
    told: Condvar,
}

impl Poll {
    fn wake(&self) {
        *self.woken.lock().expect("nobody panics here") = true;
        self.told.notify_one();
    }

    fn sleep(&self) {
        let mut woken = self.woken.lock().expect("nobody panics here");
        while !*woken {
            woken = self.told.wait(woken).expect("nobody panics here");
        }
        *woken = false;
    }
}

#[test]
fn a_loop_that_drains_only_after_a_take_sees_every_item() {
    for capacity in [1, 3] {
        explore(move || {
            let queue = Arc::new(Bounded::new(capacity));
            let poll = Arc::new(Poll { woken: Mutex::new(false), told: Condvar::new() });
            let waker = Arc::clone(&poll);
            let flag = Arc::new(WakeFlag::new(move || waker.wake()));
            let senders = spawn(2, {
                let (queue, flag) = (Arc::clone(&queue), Arc::clone(&flag));
                move |n| {
                    for i in 0..2 {
                        queue.push(10 * n + i, None).expect("it is open");
                        flag.notify();
                    }
                }
            });
            let mut seen = Vec::new();
            while seen.len() < 4 {
                poll.sleep();
                if flag.take() {
                    seen.extend(std::iter::from_fn(|| queue.try_pop().ok().map(|p| p.item)));
                }
            }
            join(senders);
            seen.sort_unstable();
            assert_eq!(seen, [0, 1, 10, 11]);
        });
    }
}
