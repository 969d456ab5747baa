//! Bounded queues with the rules of Go's channels, and the flag that turns many wake-ups into one. What lies between the
//! loop and other threads goes through here; who sends what to whom is decided elsewhere.
//!
//! The rules of [`Bounded`]:
//!
//! - First in, first out. Nothing is lost and nothing comes twice.
//! - A full queue blocks its sender; an empty one blocks its reader. The `try_` forms say so instead.
//! - After a close, what was queued is still delivered, and then the end.
//! - A send on a closed queue gives the item back in an error, where Go panics.
//! - Among several blocked threads, no order is promised: a late one may slip in before one that has just been told.
//!   What one thread sends still arrives in the order in which it was sent.
//!
//! Threads that meet here are also tested under random schedules:
//!
//! ```sh
//! RUSTFLAGS='--cfg shuttle' cargo test --lib queue
//! ```
//!
//! # Why no waiter sleeps on while there is something for it
//!
//! A waiter looks at the queue and goes to sleep under one lock, so nothing can change in between. Whoever adds an item
//! while readers wait then tells one of them; whoever takes one while senders wait tells one of those: one call for each
//! item and for each free place. A thread that wakes, for whatever reason, looks at the queue first and at its deadline
//! afterwards. So a call that reaches a waiter whose time has just run out is not swallowed: that waiter takes the item, or
//! finds that another has taken it, and then nobody needs to be told. A close tells everyone.

#[cfg(all(test, shuttle))]
mod shuttle_tests;
#[cfg(all(test, not(shuttle)))]
mod tests;

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

// Development dependencies are there for tests alone, so both conditions are needed.
#[cfg(all(test, shuttle))]
use shuttle::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};
#[cfg(not(all(test, shuttle)))]
use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};

use crate::clock::system_now;

/// A queue of at most `capacity` items between threads.
///
/// No item is ever dropped under the lock, so an item's `Drop` may come back to the queue. A thread that panics with the
/// lock held breaks nothing: every change made under it is whole, so a poisoned lock is used as it is.
#[derive(Debug)]
pub(crate) struct Bounded<T> {
    state: Mutex<State<T>>,
    /// For readers: there is an item, or the end.
    filled: Condvar,
    /// For senders: there is room, or the end.
    freed: Condvar,
    capacity: usize,
}

#[derive(Debug)]
struct State<T> {
    /// It grows as it is used, so a queue that nobody uses costs nothing.
    items: VecDeque<T>,
    closed: bool,
    /// How many sleep, or have been woken and not got the lock yet. With none there is nobody to tell, and telling costs a
    /// system call.
    waiting_readers: usize,
    waiting_senders: usize,
}

/// What was not queued, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PushError<T> {
    /// There is no room, or there was none until the deadline.
    Full(T),
    /// There will never be room again.
    Closed(T),
}

/// Why nothing came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PopError {
    /// There is nothing yet, or there was nothing until the deadline.
    Empty,
    /// The queue was closed, and all that was in it has been taken.
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Popped<T> {
    pub(crate) item: T,
    /// The queue was full before this: whoever stopped for want of room can go on.
    pub(crate) was_full: bool,
}

/// The deadline of a call that waits has passed.
#[derive(Debug)]
struct TimeIsUp;

impl<T> Bounded<T> {
    /// # Panics
    ///
    /// With a capacity of 0: such a queue could never pass an item on.
    pub(crate) fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a queue holds at least one item");
        let items = VecDeque::new();
        let state = State { items, closed: false, waiting_readers: 0, waiting_senders: 0 };
        Self { state: Mutex::new(state), filled: Condvar::new(), freed: Condvar::new(), capacity }
    }

    /// Queues the item if there is room at once.
    pub(crate) fn try_push(&self, item: T) -> Result<(), PushError<T>> {
        let state = self.lock();
        if state.closed {
            return Err(PushError::Closed(item));
        }
        if state.items.len() >= self.capacity {
            return Err(PushError::Full(item));
        }
        self.append(state, item);
        Ok(())
    }

    /// Queues the item, and waits for room until the deadline; with `None`, for as long as it takes.
    pub(crate) fn push(&self, item: T, deadline: Option<Instant>) -> Result<(), PushError<T>> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(PushError::Closed(item));
            }
            if state.items.len() < self.capacity {
                self.append(state, item);
                return Ok(());
            }
            let Ok(time_left) = time_left(deadline) else {
                return Err(PushError::Full(item));
            };
            state.waiting_senders += 1;
            state = sleep(&self.freed, state, time_left);
            state.waiting_senders -= 1;
        }
    }

    /// Queues the item in any case; in a full queue, in the place of the oldest, which is returned. Never waits.
    pub(crate) fn push_evicting(&self, item: T) -> Result<Option<T>, PushError<T>> {
        let mut state = self.lock();
        if state.closed {
            return Err(PushError::Closed(item));
        }
        let is_full = state.items.len() >= self.capacity;
        let evicted = if is_full { state.items.pop_front() } else { None };
        self.append(state, item);
        Ok(evicted)
    }

    /// Takes the oldest item, if there is one.
    pub(crate) fn try_pop(&self) -> Result<Popped<T>, PopError> {
        let mut state = self.lock();
        match state.items.pop_front() {
            Some(item) => Ok(self.hand_out(state, item)),
            None if state.closed => Err(PopError::Closed),
            None => Err(PopError::Empty),
        }
    }

    /// Takes the oldest item, and waits for one until the deadline; with `None`, for as long as it takes.
    pub(crate) fn pop(&self, deadline: Option<Instant>) -> Result<Popped<T>, PopError> {
        let mut state = self.lock();
        loop {
            if let Some(item) = state.items.pop_front() {
                return Ok(self.hand_out(state, item));
            }
            if state.closed {
                return Err(PopError::Closed);
            }
            let Ok(time_left) = time_left(deadline) else {
                return Err(PopError::Empty);
            };
            state.waiting_readers += 1;
            state = sleep(&self.filled, state, time_left);
            state.waiting_readers -= 1;
        }
    }

    /// Ends the queue: nothing more goes in, and what is in it can still be taken. Wakes everyone who waits.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.freed.notify_all();
    }

    /// Ends the queue, drops what is in it, and says how many items that were. Wakes everyone who waits.
    pub(crate) fn close_and_clear(&self) -> usize {
        let dropped = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.items)
        };
        self.filled.notify_all();
        self.freed.notify_all();
        dropped.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().items.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.capacity
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the item in, lets go of the lock, and tells one reader. There is room: the caller has seen to it.
    fn append(&self, mut state: MutexGuard<'_, State<T>>, item: T) {
        debug_assert!(state.items.len() < self.capacity && !state.closed);
        state.items.push_back(item);
        let somebody_waits = state.waiting_readers > 0;
        drop(state);
        if somebody_waits {
            self.filled.notify_one();
        }
    }

    /// Lets go of the lock after an item was taken out, and tells one sender.
    fn hand_out(&self, state: MutexGuard<'_, State<T>>, item: T) -> Popped<T> {
        let was_full = state.items.len() + 1 >= self.capacity;
        let somebody_waits = state.waiting_senders > 0;
        drop(state);
        if somebody_waits {
            self.freed.notify_one();
        }
        Popped { item, was_full }
    }
}

/// How long a waiter may still sleep: `None` for as long as it takes.
fn time_left(deadline: Option<Instant>) -> Result<Option<Duration>, TimeIsUp> {
    let Some(deadline) = deadline else {
        return Ok(None);
    };
    match deadline.saturating_duration_since(system_now()) {
        Duration::ZERO => Err(TimeIsUp),
        left => Ok(Some(left)),
    }
}

/// Sleeps until told, or until the time is up, or for no reason: the caller looks at the queue again in each case.
fn sleep<'a, T>(
    told: &Condvar,
    state: MutexGuard<'a, State<T>>,
    time_left: Option<Duration>,
) -> MutexGuard<'a, State<T>> {
    match time_left {
        None => told.wait(state).unwrap_or_else(PoisonError::into_inner),
        Some(left) => told.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
    }
}

/// Wakes the loop once for any number of calls between two of its turns.
///
/// A sender puts its item in a queue and then calls [`notify`](Self::notify). The loop calls [`take`](Self::take) in each
/// turn, and drains its queues if that says `true`: always in this order.
///
/// # Why no item is missed
///
/// Both sides change the flag by a swap, so all changes stand in one order, and each swap sees the one before it. After a
/// sender's swap, every swap reads `true` until the next one of `take`; that one therefore says `true`, and it acquires
/// what each sender before it has released, since a chain of swaps hands a release on. So the drain that follows sees the
/// items of all those senders. A sender whose swap comes after that `take` finds `false` and wakes the loop for another.
///
/// That a `take` does come: of the senders between two of them, the first found `false` and calls `wake`, which must end
/// the loop's sleep, or the next one if it is awake, as `mio::Waker` does. The plain load by which `take` begins may be too
/// old to show a flag that is being set right now; but it is made again after that wake-up, and then it shows it.
pub(crate) struct WakeFlag {
    is_set: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl WakeFlag {
    /// `wake` must not panic: those who come after would count on a wake-up that never came.
    pub(crate) fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self { is_set: AtomicBool::new(false), wake: Box::new(wake) }
    }

    /// For the sender, after its item is in the queue.
    pub(crate) fn notify(&self) {
        if !self.is_set.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
    }

    /// For the loop, before it drains the queues: whether there is anything to drain. It clears the flag.
    ///
    /// Where there is nothing, this costs a load of a line that nobody writes to.
    #[inline]
    pub(crate) fn take(&self) -> bool {
        self.is_set.load(Ordering::Relaxed) && self.is_set.swap(false, Ordering::AcqRel)
    }
}

impl std::fmt::Debug for WakeFlag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_set = self.is_set.load(Ordering::Relaxed);
        f.debug_struct("WakeFlag").field("is_set", &is_set).finish_non_exhaustive()
    }
}
