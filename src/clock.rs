//! The one place that reads the time.
//!
//! The loop forgets the time at the start of a turn and reads the clock when somebody first asks, so a turn that needs no
//! time costs no call, and everything within one turn happens at one moment. Deadlines are kept as a [`Tick`]: 8 bytes
//! where an `Instant` takes 16, and `Option` free of charge.

use std::cell::Cell;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A moment: nanoseconds since the loop began, plus one. Monotonic; it lasts 584 years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Tick(NonZeroU64);

impl Tick {
    pub(crate) const START: Self = Self(NonZeroU64::MIN);

    pub(crate) fn since_start(elapsed: Duration) -> Self {
        Self::START + elapsed
    }

    /// How long from `earlier` to `self`; zero where `earlier` is not earlier.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

/// Saturates: `Duration::MAX` from now is the end of time, which never comes.
impl std::ops::Add<Duration> for Tick {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// Time as one loop sees it.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    epoch: Instant,
    source: Source,
    seen: Cell<Option<Tick>>,
}

#[derive(Clone, Debug)]
enum Source {
    System,
    /// Nanoseconds since the epoch, moved by a test.
    #[cfg_attr(
        not(any(test, feature = "testing")),
        expect(dead_code, reason = "only tests move time")
    )]
    Manual(Arc<AtomicU64>),
}

impl Clock {
    pub(crate) fn system() -> Self {
        Self { epoch: system_now(), source: Source::System, seen: Cell::new(None) }
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn manual(nanos: Arc<AtomicU64>) -> Self {
        Self { epoch: system_now(), source: Source::Manual(nanos), seen: Cell::new(None) }
    }

    /// The next question reads the clock again.
    #[inline]
    pub(crate) fn forget(&self) {
        self.seen.set(None);
    }

    /// The moment that this turn takes place.
    #[inline]
    pub(crate) fn now(&self) -> Tick {
        if let Some(tick) = self.seen.get() {
            return tick;
        }
        let tick = self.fresh();
        self.seen.set(Some(tick));
        tick
    }

    /// This very moment, however long the turn has taken already: what is counted from here is never early.
    pub(crate) fn fresh(&self) -> Tick {
        match &self.source {
            Source::System => Tick::since_start(system_now().saturating_duration_since(self.epoch)),
            Source::Manual(nanos) => {
                Tick::since_start(Duration::from_nanos(nanos.load(Ordering::Relaxed)))
            }
        }
    }

    /// A tick as an `Instant`, for users' code.
    pub(crate) fn instant(&self, tick: Tick) -> Instant {
        self.epoch + tick.since(Tick::START)
    }
}

/// The machine's monotonic clock; for the calls that block another thread than the loop's, too.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn system_now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_turn_is_one_moment() {
        let nanos = Arc::new(AtomicU64::new(5));
        let clock = Clock::manual(Arc::clone(&nanos));
        let first = clock.now();
        nanos.store(500, Ordering::Relaxed);
        assert_eq!(clock.now(), first);
        clock.forget();
        assert_eq!(clock.now().since(first), Duration::from_nanos(495));
    }

    #[test]
    fn the_longest_span_does_not_overflow() {
        let end = Tick::START + Duration::MAX;
        assert_eq!(end + Duration::MAX, end);
        assert!(end > Tick::START);
        assert_eq!(Tick::START.since(end), Duration::ZERO);
    }

    #[test]
    fn an_optional_tick_costs_nothing_more() {
        assert_eq!(size_of::<Option<Tick>>(), 8);
    }
}
