//! What all peers of a soak share: when it is over, and what they have seen. Peers are threads, and meet in nothing else.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::Outcome;
use crate::latency::Latencies;

/// Errors whose words are kept. All are counted.
const ERRORS_KEPT: usize = 50;

/// Longer than any answer may take, on a machine that may stand still for half a minute.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Count {
    /// Packets that came back as they were sent.
    Echoes,
    /// Messages that a member of the chat heard in their place.
    Heard,
    /// Connections that came, were served, and went.
    Visits,
    /// Slow senders that were dropped at their deadline.
    Slow,
    /// Peers that did not read, and were dropped.
    Unread,
    /// Peers that sent what is no protocol, and were dropped.
    Hostile,
    /// Connections over the limit of their address, that were turned away.
    Refused,
}

impl Count {
    pub(crate) const ALL: [(Self, &'static str); 7] = [
        (Self::Echoes, "echoes verified"),
        (Self::Heard, "chat messages heard in order"),
        (Self::Visits, "visits served"),
        (Self::Slow, "slow senders dropped"),
        (Self::Unread, "readers that never read dropped"),
        (Self::Hostile, "hostile peers dropped"),
        (Self::Refused, "connections refused to an address"),
    ];
}

/// Whose latency is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Timed {
    /// From a batch to its whole echo.
    Echo,
    /// From a post to its coming back.
    Chat,
    /// From the connect to the first answer.
    Visit,
}

impl Timed {
    pub(crate) const ALL: [(Self, &'static str); 3] =
        [(Self::Echo, "echo"), (Self::Chat, "chat"), (Self::Visit, "visit")];
}

/// Latencies of an interval, in microseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

impl Latency {
    pub(crate) fn of(latencies: &Latencies) -> Self {
        Self {
            count: latencies.count(),
            p50: latencies.quantile(0.5),
            p99: latencies.quantile(0.99),
            max: latencies.max(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Field {
    is_over: AtomicBool,
    waiting: Mutex<()>,
    bell: Condvar,
    counts: [AtomicU64; Count::ALL.len()],
    open: AtomicI64,
    latencies: [Mutex<Latencies>; Timed::ALL.len()],
    wrong: AtomicU64,
    errors: Mutex<Vec<String>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Field {
    pub(crate) fn new() -> Outcome<Self> {
        Ok(Self {
            is_over: AtomicBool::new(false),
            waiting: Mutex::new(()),
            bell: Condvar::new(),
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            open: AtomicI64::new(0),
            latencies: [Latencies::new()?, Latencies::new()?, Latencies::new()?].map(Mutex::new),
            wrong: AtomicU64::new(0),
            errors: Mutex::new(Vec::new()),
        })
    }

    // When it is over.

    /// All peers come to their end.
    pub(crate) fn end(&self) {
        let _waiting = locked(&self.waiting);
        self.is_over.store(true, Ordering::Relaxed);
        self.bell.notify_all();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Lets so much time pass, or less where the run ends meanwhile. Says whether it goes on.
    pub(crate) fn pause(&self, span: Duration) -> bool {
        let until = Instant::now() + span;
        let mut waiting = locked(&self.waiting);
        while !self.is_over() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.bell.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        !self.is_over()
    }

    // What was seen.

    pub(crate) fn count(&self, what: Count, more: u64) {
        self.counts[what as usize].fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn counted(&self, what: Count) -> u64 {
        self.counts[what as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn time(&self, what: Timed, took: Duration) {
        locked(&self.latencies[what as usize]).note(took);
    }

    /// The latencies since the last call, which are added to `all`.
    pub(crate) fn take_latencies(&self, all: &mut [Latencies; 3]) -> Outcome<[Latency; 3]> {
        let mut taken = [Latency::default(); 3];
        for (at, latencies) in self.latencies.iter().enumerate() {
            let mut latencies = locked(latencies);
            taken[at] = Latency::of(&latencies);
            latencies.move_to(&mut all[at])?;
        }
        Ok(taken)
    }

    /// Something that a well-behaved peer must never see, or that an ill-behaved one should have seen.
    pub(crate) fn error(&self, whose: &str, what: impl Display) {
        self.wrong.fetch_add(1, Ordering::Relaxed);
        let mut errors = locked(&self.errors);
        if errors.len() < ERRORS_KEPT {
            errors.push(format!("{whose}: {what}"));
        }
    }

    pub(crate) fn wrong(&self) -> u64 {
        self.wrong.load(Ordering::Relaxed)
    }

    pub(crate) fn errors(&self) -> Vec<String> {
        locked(&self.errors).clone()
    }

    /// Connections of all peers together.
    pub(crate) fn open(&self) -> i64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts connections as open for as long as the guard lives.
    pub(crate) fn opened(&self, connections: i64) -> Open<'_> {
        self.open.fetch_add(connections, Ordering::Relaxed);
        Open { field: self, connections }
    }
}

/// Connections that are open.
#[derive(Debug)]
pub(crate) struct Open<'a> {
    field: &'a Field,
    connections: i64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.field.open.fetch_sub(self.connections, Ordering::Relaxed);
    }
}
