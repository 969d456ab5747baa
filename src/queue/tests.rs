//! Every rule of the queues with real threads, and the calls that never wait against a plain `VecDeque`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;
use std::thread;

use proptest::prelude::*;

use super::*;

/// Returns once so many readers and senders are asleep in the queue: they had to wait.
fn until_waiting<T>(queue: &Bounded<T>, readers: usize, senders: usize) {
    loop {
        let state = queue.lock();
        if (state.waiting_readers, state.waiting_senders) == (readers, senders) {
            return;
        }
        drop(state);
        thread::yield_now();
    }
}

fn filled(items: &[u32], capacity: usize) -> Bounded<u32> {
    let queue = Bounded::new(capacity);
    items.iter().for_each(|&item| queue.try_push(item).expect("there is room"));
    queue
}

fn popped<T>(item: T, was_full: bool) -> Result<Popped<T>, PopError> {
    Ok(Popped { item, was_full })
}

fn in_a_while(span: Duration) -> Option<Instant> {
    Some(system_now() + span)
}

#[test]
fn what_goes_in_first_comes_out_first() {
    let queue = filled(&[1, 2, 3], 3);
    assert_eq!((queue.len(), queue.is_full(), queue.capacity()), (3, true, 3));
    assert_eq!(queue.try_pop(), popped(1, true), "the reader learns that there is room again");
    assert_eq!(queue.try_pop(), popped(2, false));
    assert_eq!(queue.pop(None), popped(3, false));
    assert_eq!(queue.try_pop(), Err(PopError::Empty));
    assert!(queue.is_empty() && !queue.is_full() && !queue.is_closed());
}

#[test]
#[should_panic(expected = "at least one item")]
fn a_queue_for_nothing_is_refused() {
    Bounded::<u32>::new(0);
}

#[test]
fn a_full_queue_gives_the_item_back() {
    let queue = filled(&[1], 1);
    assert_eq!(queue.try_push(2), Err(PushError::Full(2)));
    assert_eq!(queue.try_pop(), popped(1, true));
    assert_eq!(queue.try_push(2), Ok(()));
}

#[test]
fn a_full_queue_blocks_its_sender_until_a_reader_makes_room() {
    let queue = filled(&[1], 1);
    thread::scope(|scope| {
        let sender = scope.spawn(|| queue.push(2, None));
        until_waiting(&queue, 0, 1);
        assert_eq!(queue.len(), 1);
        assert_eq!(queue.pop(None), popped(1, true));
        assert_eq!(queue.pop(None), popped(2, true));
        assert_eq!(sender.join().expect("no panic"), Ok(()));
    });
}

#[test]
fn an_empty_queue_blocks_its_reader_until_an_item_comes() {
    let queue = Bounded::new(8);
    thread::scope(|scope| {
        let reader = scope.spawn(|| queue.pop(None));
        until_waiting(&queue, 1, 0);
        queue.try_push(7).expect("there is room");
        assert_eq!(reader.join().expect("no panic"), popped(7, false));
    });
}

#[test]
fn each_item_wakes_one_reader_and_each_free_place_one_sender() {
    let queue = Bounded::new(2);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(|| queue.pop(None))).collect();
        until_waiting(&queue, 3, 0);
        (0..3).for_each(|item| queue.push(item, None).expect("it is open"));
        let mut got: Vec<_> = readers
            .into_iter()
            .map(|r| r.join().expect("no panic").expect("an item").item)
            .collect();
        got.sort_unstable();
        assert_eq!(got, [0, 1, 2]);

        (0..2).for_each(|item| queue.try_push(item).expect("there is room"));
        let senders: Vec<_> = (2..5)
            .map(|item| {
                let queue = &queue;
                scope.spawn(move || queue.push(item, None))
            })
            .collect();
        until_waiting(&queue, 0, 3);
        let mut got: Vec<_> = (0..5).map(|_| queue.pop(None).expect("an item").item).collect();
        got.sort_unstable();
        assert_eq!(got, [0, 1, 2, 3, 4]);
        senders.into_iter().for_each(|s| s.join().expect("no panic").expect("it went in"));
    });
}

#[test]
fn a_deadline_ends_the_wait_and_not_before_its_time() {
    let full = filled(&[1], 1);
    let empty = Bounded::<u32>::new(1);
    assert_eq!(full.push(2, Some(system_now())), Err(PushError::Full(2)), "at once");
    assert_eq!(empty.pop(Some(system_now())), Err(PopError::Empty), "at once");

    let deadline = in_a_while(Duration::from_millis(5));
    assert_eq!(full.push(2, deadline), Err(PushError::Full(2)));
    assert!(Some(system_now()) >= deadline);
    let deadline = in_a_while(Duration::from_millis(5));
    assert_eq!(empty.pop(deadline), Err(PopError::Empty));
    assert!(Some(system_now()) >= deadline);
    let state = full.lock();
    assert_eq!((state.waiting_readers, state.waiting_senders), (0, 0));
}

#[test]
fn a_deadline_that_has_passed_refuses_nothing_that_needs_no_wait() {
    let queue = Bounded::new(1);
    let past = Some(system_now());
    assert_eq!(queue.push(1, past), Ok(()));
    assert_eq!(queue.pop(past), popped(1, true));
    queue.close();
    assert_eq!(queue.push(2, past), Err(PushError::Closed(2)));
    assert_eq!(queue.pop(past), Err(PopError::Closed));
}

#[test]
fn a_waiter_with_a_deadline_is_told_before_it() {
    let queue = Bounded::new(1);
    let deadline = in_a_while(Duration::from_secs(3_600));
    thread::scope(|scope| {
        let reader = scope.spawn(|| queue.pop(deadline));
        until_waiting(&queue, 1, 0);
        queue.try_push(1).expect("there is room");
        assert_eq!(reader.join().expect("no panic"), popped(1, true));

        queue.try_push(2).expect("there is room");
        let sender = scope.spawn(|| queue.push(3, deadline));
        until_waiting(&queue, 0, 1);
        assert_eq!(queue.try_pop(), popped(2, true));
        assert_eq!(sender.join().expect("no panic"), Ok(()));
    });
}

#[test]
fn after_a_close_what_was_queued_is_delivered_and_then_the_end() {
    let queue = filled(&[1, 2], 2);
    queue.close();
    queue.close();
    assert!(queue.is_closed());
    assert_eq!(queue.try_push(3), Err(PushError::Closed(3)), "closed goes before full");
    assert_eq!(queue.push(3, None), Err(PushError::Closed(3)));
    assert_eq!(queue.push_evicting(3), Err(PushError::Closed(3)), "nothing is evicted for it");
    assert_eq!(queue.pop(None), popped(1, true));
    assert_eq!(queue.try_pop(), popped(2, false));
    assert_eq!(queue.pop(None), Err(PopError::Closed));
    assert_eq!(queue.try_pop(), Err(PopError::Closed));
}

#[test]
fn a_close_wakes_every_reader() {
    for close in
        [|q: &Bounded<u32>| q.close(), |q: &Bounded<u32>| assert_eq!(q.close_and_clear(), 0)]
    {
        let queue = Bounded::new(1);
        thread::scope(|scope| {
            let readers: Vec<_> = (0..3).map(|_| scope.spawn(|| queue.pop(None))).collect();
            until_waiting(&queue, 3, 0);
            close(&queue);
            for reader in readers {
                assert_eq!(reader.join().expect("no panic"), Err(PopError::Closed));
            }
        });
    }
}

#[test]
fn a_close_wakes_every_sender_and_each_gets_its_item_back() {
    for close in
        [|q: &Bounded<u32>| q.close(), |q: &Bounded<u32>| assert_eq!(q.close_and_clear(), 1)]
    {
        let queue = filled(&[0], 1);
        thread::scope(|scope| {
            let push = |item| queue.push(item, None);
            let senders = [1, 2, 3].map(|item| (item, scope.spawn(move || push(item))));
            until_waiting(&queue, 0, 3);
            close(&queue);
            for (item, sender) in senders {
                assert_eq!(sender.join().expect("no panic"), Err(PushError::Closed(item)));
            }
        });
    }
}

#[test]
fn evicting_drops_the_oldest_and_never_waits() {
    let queue = filled(&[1], 2);
    assert_eq!(queue.push_evicting(2), Ok(None));
    assert_eq!(queue.push_evicting(3), Ok(Some(1)));
    assert_eq!(queue.try_pop(), popped(2, true));
    assert_eq!(queue.try_pop(), popped(3, false));
    thread::scope(|scope| {
        let reader = scope.spawn(|| queue.pop(None));
        until_waiting(&queue, 1, 0);
        assert_eq!(queue.push_evicting(4), Ok(None));
        assert_eq!(reader.join().expect("no panic"), popped(4, false));
    });
}

/// Says, when it is dropped, whether the queue's lock was free.
struct Witness {
    queue: Arc<Bounded<Witness>>,
    report: mpsc::Sender<bool>,
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.report.send(self.queue.state.try_lock().is_ok());
    }
}

#[test]
fn items_are_dropped_outside_the_lock() {
    let queue = Arc::new(Bounded::new(2));
    let (report, reports) = mpsc::channel();
    let witness = || Witness { queue: Arc::clone(&queue), report: report.clone() };
    for _ in 0..2 {
        assert!(queue.try_push(witness()).is_ok());
    }
    drop(queue.try_push(witness()));
    drop(queue.push(witness(), Some(system_now())));
    drop(queue.push_evicting(witness()));
    drop(queue.try_pop());
    assert_eq!(queue.close_and_clear(), 1);
    drop(queue.try_push(witness()));
    assert_eq!(reports.try_iter().collect::<Vec<_>>(), [true; 6]);
}

#[test]
fn a_thread_that_panics_with_the_lock_held_leaves_a_queue_that_works() {
    let queue = filled(&[1, 2], 2);
    let panicked = thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let _held = queue.lock();
            panic!("with the lock held, as this test wants it");
        });
        holder.join().is_err()
    });
    assert!(panicked && queue.state.is_poisoned());
    assert_eq!(queue.try_push(3), Err(PushError::Full(3)));
    assert_eq!(queue.pop(None), popped(1, true));
    thread::scope(|scope| {
        let sender = scope.spawn(|| (3..=4).try_for_each(|item| queue.push(item, None)));
        until_waiting(&queue, 0, 1);
        assert_eq!(queue.pop(None), popped(2, true));
        assert_eq!(sender.join().expect("no panic"), Ok(()));
    });
    assert_eq!(queue.close_and_clear(), 2);
}

/// Spins until `lead` before the deadline: what the caller does next meets a waiter whose time is running out.
fn until_shortly_before(deadline: Option<Instant>, lead: Duration) {
    while Some(system_now() + lead) < deadline {
        std::hint::spin_loop();
    }
}

/// Far enough to mean "for ever", near enough that a lost call fails a test instead of hanging it.
fn patient() -> Option<Instant> {
    in_a_while(Duration::from_secs(20))
}

#[test]
fn a_reader_whose_time_runs_out_as_it_is_told_does_not_cost_the_next_its_item() {
    for round in 0..1_000 {
        let queue = Bounded::new(2);
        let deadline = in_a_while(Duration::from_micros(300));
        thread::scope(|scope| {
            let hurried = scope.spawn(|| queue.pop(deadline));
            let steady = scope.spawn(|| queue.pop(patient()));
            until_shortly_before(deadline, Duration::from_micros(round % 20));
            queue.try_push(1).expect("there is room");
            if hurried.join().expect("no panic").is_ok() {
                queue.try_push(1).expect("there is room");
            }
            assert!(
                steady.join().expect("no panic").is_ok(),
                "round {round}: an item lies there unread"
            );
        });
    }
}

#[test]
fn a_sender_whose_time_runs_out_as_it_is_told_does_not_cost_the_next_its_place() {
    for round in 0..1_000 {
        let queue = filled(&[0], 1);
        let deadline = in_a_while(Duration::from_micros(300));
        thread::scope(|scope| {
            let hurried = scope.spawn(|| queue.push(1, deadline));
            let steady = scope.spawn(|| queue.push(2, patient()));
            until_shortly_before(deadline, Duration::from_micros(round % 20));
            queue.try_pop().expect("it was full");
            if hurried.join().expect("no panic").is_ok() {
                queue.pop(patient()).expect("one of the two came");
            }
            assert!(steady.join().expect("no panic").is_ok(), "round {round}: a place stays empty");
        });
    }
}

#[test]
fn under_load_and_with_deadlines_running_out_each_item_comes_once_and_in_order() {
    const SENDERS: usize = 3;
    const READERS: usize = 3;
    const ITEMS: usize = 4_000;
    let queue = Bounded::new(2);
    let send = |sender: usize| {
        for n in 0..ITEMS {
            let mut item = (sender, n);
            while let Err(error) = queue.push(item, brief(sender, n)) {
                let PushError::Full(back) = error else { panic!("closed too early") };
                item = back;
            }
        }
    };
    let read = |reader: usize| {
        let mut got = Vec::new();
        loop {
            match queue.pop(brief(reader, got.len())) {
                Ok(popped) => got.push(popped.item),
                Err(PopError::Empty) => {}
                Err(PopError::Closed) => return got,
            }
        }
    };
    let got = thread::scope(|scope| {
        let readers = [0; READERS].map({
            let mut reader = 0;
            move |_| {
                reader += 1;
                scope.spawn(move || read(reader - 1))
            }
        });
        let senders = [0, 1, 2].map(|sender| scope.spawn(move || send(sender)));
        senders.into_iter().for_each(|sender| sender.join().expect("no panic"));
        queue.close();
        readers.map(|reader| reader.join().expect("no panic"))
    });
    for one in &got {
        for sender in 0..SENDERS {
            let mine: Vec<_> = one.iter().filter(|item| item.0 == sender).collect();
            assert!(mine.is_sorted(), "items of sender {sender} overtook each other");
        }
    }
    let mut all = got.concat();
    all.sort_unstable();
    let sent: Vec<_> = (0..SENDERS).flat_map(|s| (0..ITEMS).map(move |n| (s, n))).collect();
    assert!(all == sent, "{} of {} items came", all.len(), sent.len());
}

/// No deadline for the first thread; for the others, one of 0 to 30 µs.
fn brief(thread: usize, n: usize) -> Option<Instant> {
    let span = Duration::from_micros((n % 7 * 5) as u64);
    if thread == 0 { None } else { in_a_while(span) }
}

#[derive(Clone, Debug)]
enum Step {
    TryPush,
    PushInTime,
    PushEvicting,
    TryPop,
    PopInTime,
    Close,
    CloseAndClear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::TryPush),
        4 => Just(Step::PushInTime),
        4 => Just(Step::PushEvicting),
        8 => Just(Step::TryPop),
        4 => Just(Step::PopInTime),
        1 => Just(Step::Close),
        1 => Just(Step::CloseAndClear),
    ]
}

proptest! {
    #[test]
    fn without_waiting_it_agrees_with_a_deque(
        capacity in 1..6usize,
        steps in prop::collection::vec(step(), 1..100),
    ) {
        let queue = Bounded::new(capacity);
        let past = Some(system_now());
        let mut deque = VecDeque::new();
        let mut closed = false;
        for (item, step) in steps.into_iter().enumerate() {
            let is_full = deque.len() == capacity;
            match step {
                Step::TryPush | Step::PushInTime => {
                    let expected = match (closed, is_full) {
                        (true, _) => Err(PushError::Closed(item)),
                        (false, true) => Err(PushError::Full(item)),
                        (false, false) => { deque.push_back(item); Ok(()) }
                    };
                    let outcome = match step {
                        Step::TryPush => queue.try_push(item),
                        _ => queue.push(item, past),
                    };
                    prop_assert_eq!(outcome, expected);
                }
                Step::PushEvicting => {
                    let expected = if closed {
                        Err(PushError::Closed(item))
                    } else {
                        let evicted = if is_full { deque.pop_front() } else { None };
                        deque.push_back(item);
                        Ok(evicted)
                    };
                    prop_assert_eq!(queue.push_evicting(item), expected);
                }
                Step::TryPop | Step::PopInTime => {
                    let nothing = if closed { PopError::Closed } else { PopError::Empty };
                    let expected = deque.pop_front().ok_or(nothing);
                    let expected = expected.map(|item| Popped { item, was_full: is_full });
                    let outcome = match step {
                        Step::TryPop => queue.try_pop(),
                        _ => queue.pop(past),
                    };
                    prop_assert_eq!(outcome, expected);
                }
                Step::Close => { queue.close(); closed = true; }
                Step::CloseAndClear => {
                    prop_assert_eq!(queue.close_and_clear(), deque.len());
                    deque.clear();
                    closed = true;
                }
            }
            prop_assert_eq!(queue.len(), deque.len());
            prop_assert_eq!(queue.is_empty(), deque.is_empty());
            prop_assert_eq!(queue.is_full(), deque.len() == capacity);
            prop_assert_eq!(queue.is_closed(), closed);
        }
    }
}

fn counting_flag() -> (WakeFlag, Arc<AtomicUsize>) {
    let wakes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&wakes);
    let wake = move || {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    (WakeFlag::new(wake), wakes)
}

#[test]
fn a_million_notifies_while_the_loop_sleeps_are_one_wake_up() {
    let (flag, wakes) = counting_flag();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..250_000).for_each(|_| flag.notify()));
        }
    });
    assert_eq!(wakes.load(Ordering::Relaxed), 1);
    assert!(flag.take());
    assert!(!flag.take(), "taking clears it");
    flag.notify();
    assert_eq!(wakes.load(Ordering::Relaxed), 2, "the loop may sleep again");
}

#[test]
fn a_flag_that_nobody_set_says_so_and_wakes_nobody() {
    let (flag, wakes) = counting_flag();
    assert!(!flag.take());
    assert_eq!(wakes.load(Ordering::Relaxed), 0);
    assert_eq!(format!("{flag:?}"), "WakeFlag { is_set: false, .. }");
}

#[test]
fn a_loop_that_drains_only_after_a_take_sees_every_item() {
    const SENDERS: u32 = 3;
    const ITEMS: u32 = 20_000;
    let queue = Bounded::new(16);
    let (wake, wakes) = mpsc::channel();
    let flag = WakeFlag::new(move || wake.send(()).expect("the loop outlives its senders"));
    thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                for item in 0..ITEMS {
                    queue.push(item, None).expect("it stays open");
                    flag.notify();
                }
            });
        }
        let mut seen = 0;
        while seen < SENDERS * ITEMS {
            wakes.recv().expect("the flag holds the sender");
            if flag.take() {
                seen += std::iter::from_fn(|| queue.try_pop().ok()).count() as u32;
            }
        }
        assert!(queue.is_empty());
    });
}
