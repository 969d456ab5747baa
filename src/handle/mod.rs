//! The view from other threads: handles that are `Send`, and the queues behind them.
//!
//! A thread never touches a connection. It puts a packet, a wish or a closure into a bounded queue and rings; the loop
//! looks at the queues once in a turn. One wake-up serves any number of rings between two turns.

mod connection;
mod server;

use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use self::connection::{ConnectionHandle, Packets, ReadError};
pub(crate) use self::connection::{Link, Wish};
pub(crate) use self::server::Outcome;
pub use self::server::{HandleError, ServerHandle};
use crate::codec::Protocol;
use crate::context::ServerRef;
use crate::id::ConnectionId;
use crate::io::Wake;
use crate::queue::{Bounded, WakeFlag};
use crate::reactor::StopReport;

/// Something for the loop to do, with the state and the server in hand.
pub(crate) type Command<P, S> = Box<dyn FnOnce(&mut S, &mut ServerRef<'_, P, S>) + Send>;

/// What a server's loop and its handles share.
pub(crate) struct Shared<P: Protocol, S> {
    pub(crate) commands: Bounded<Command<P, S>>,
    pub(crate) notice: std::sync::Arc<Notice>,
    pub(crate) outcome: Outcome,
    local_addr: SocketAddr,
}

impl<P: Protocol, S> Shared<P, S> {
    pub(crate) fn new(commands: usize, wake: Wake, local_addr: SocketAddr) -> Self {
        Self {
            commands: Bounded::new(commands),
            notice: std::sync::Arc::new(Notice::new(wake)),
            outcome: Outcome::default(),
            local_addr,
        }
    }

    /// Tells everybody that the loop is over, and how it ended. The commands that it did not come to are left to be dropped:
    /// that tells those who wait for one.
    pub(crate) fn end(&self, outcome: &io::Result<StopReport>) {
        self.notice.set_phase(Phase::Stopped);
        self.notice.leave_loop();
        self.commands.close();
        self.outcome.set(outcome);
    }
}

/// How other threads get the loop's attention, and what they may know of it without asking.
pub(crate) struct Notice {
    flag: WakeFlag,
    /// Connections whose handle wants something: each at most once, so no more than there are connections.
    attention: Mutex<Vec<ConnectionId>>,
    stop: Mutex<Option<Duration>>,
    stop_asked: AtomicBool,
    phase: AtomicU8,
    connections: AtomicUsize,
    /// The thread that the loop runs on, by this module's own count; 0 once it is over.
    thread: AtomicU64,
}

/// Where the server stands, for other threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Phase {
    Running,
    Stopping,
    Stopped,
}

impl Notice {
    fn new(wake: Wake) -> Self {
        Self {
            flag: WakeFlag::new(move || wake()),
            attention: Mutex::default(),
            stop: Mutex::default(),
            stop_asked: AtomicBool::new(false),
            phase: AtomicU8::new(Phase::Running as u8),
            connections: AtomicUsize::new(0),
            thread: AtomicU64::new(0),
        }
    }

    // From other threads.

    /// Ends the loop's sleep.
    pub(crate) fn ring(&self) {
        self.flag.notify();
    }

    /// Asks the loop to look at a connection's queues.
    pub(crate) fn call_for(&self, id: ConnectionId) {
        lock(&self.attention).push(id);
        self.ring();
    }

    pub(crate) fn ask_to_stop(&self, grace: Duration) {
        let mut asked = lock(&self.stop);
        *asked = Some(asked.map_or(grace, |earlier| earlier.min(grace)));
        drop(asked);
        self.stop_asked.store(true, Ordering::Release);
        self.ring();
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 if !self.stop_asked.load(Ordering::Acquire) => Phase::Running,
            0 | 1 => Phase::Stopping,
            _ => Phase::Stopped,
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// Whether the calling thread is the one that runs the loop, which must not wait for itself.
    pub(crate) fn on_loop_thread(&self) -> bool {
        self.thread.load(Ordering::Acquire) == thread_number()
    }

    // From the loop.

    /// Whether anybody rang since the last call; to be asked before the queues are looked at.
    #[inline]
    pub(crate) fn was_rung(&self) -> bool {
        self.flag.take()
    }

    pub(crate) fn take_attention(&self, into: &mut Vec<ConnectionId>) {
        std::mem::swap(&mut *lock(&self.attention), into);
    }

    pub(crate) fn take_stop(&self) -> Option<Duration> {
        lock(&self.stop).take()
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    pub(crate) fn set_connections(&self, count: usize) {
        self.connections.store(count, Ordering::Release);
    }

    /// Marks the calling thread as the loop's.
    pub(crate) fn enter_loop(&self) {
        self.thread.store(thread_number(), Ordering::Release);
    }

    /// The loop is over: the thread that ran it is one like any other, and may wait.
    pub(crate) fn leave_loop(&self) {
        self.thread.store(0, Ordering::Release);
    }
}

/// A number of the calling thread's own, which no other ever has.
fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static NUMBER: Cell<u64> = const { Cell::new(0) };
    }
    NUMBER.with(|number| {
        if number.get() == 0 {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}

/// A lock that a panicking thread cannot spoil: nothing is left half done under any of these.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notice")
            .field("phase", &self.phase())
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}
