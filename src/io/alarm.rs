//! An alarm that ends the poll's sleep on time, where the poll itself counts in whole milliseconds.
//!
//! `epoll_wait` takes milliseconds, which mio rounds up so that nothing fires early: a timer is half of one late on average,
//! and the kernel adds some slack of its own. A timer descriptor that is polled like a socket knows neither. kqueue takes
//! nanoseconds and needs none of this.
//!
//! Setting it is a system call, so it is done seldom:
//!
//! - not for a sleep of [`FAR`] or more, of which rounding and slack are a thousandth each. Most deadlines that far away
//!   are limits, which move or are cancelled before they come;
//! - not where it is set for that moment or an earlier one. Then the poll wakes once for nothing, and sets it anew: the
//!   deadlines of a busy server move with each packet, and the alarm does not follow them.
//!
//! So it is set at most once for each time that it rings, and each time that an earlier moment comes up. The poll keeps its
//! own timeout beside it: without an alarm, timers are late, and none is lost.

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests;

use std::time::Duration;

pub(crate) use self::system::Alarm;

/// A sleep of this length or more is left to the poll.
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    expect(dead_code, reason = "where there is no alarm, every sleep is left to the poll")
)]
const FAR: Duration = Duration::from_secs(1);

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::io;
    use std::os::fd::{AsRawFd, OwnedFd};

    use mio::unix::SourceFd;
    use mio::{Interest, Registry, Token};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    use super::FAR;
    use crate::clock::Tick;
    use crate::io::Timeout;

    /// A timer descriptor on the clock of `Instant`.
    ///
    /// It is never read. What is not read stays readable, but that is no news to an edge-triggered poll; the next expiry is,
    /// for the kernel wakes whoever polls at each, and setting the timer has cleared what was not read of the last.
    pub(crate) struct Alarm {
        pub(super) timer: OwnedFd,
        /// The moment that it rings, until it has rung.
        pub(super) set_for: Option<Tick>,
    }

    impl Alarm {
        /// # Errors
        ///
        /// When the system has no descriptor left for it.
        pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
            Ok(Self { timer, set_for: None })
        }

        /// Has the poll that follows end at the timeout's end, or earlier; not where that is too far away to matter.
        #[inline]
        pub(crate) fn set(&mut self, timeout: Timeout) {
            let Timeout { span, at } = timeout;
            if span.is_zero() || span >= FAR || self.set_for.is_some_and(|set| set <= at) {
                return;
            }
            self.set_anew(timeout);
        }

        #[inline(never)]
        fn set_anew(&mut self, Timeout { span, at }: Timeout) {
            // Relative to now, which is later than the moment that the span was counted from: it does not ring early.
            let Ok(it_value) = Timespec::try_from(span) else { return };
            let once = Itimerspec { it_interval: Timespec::default(), it_value };
            // Should it fail, the poll's own timeout is there.
            if timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).is_ok() {
                self.set_for = Some(at);
            }
        }

        /// The poll told that it rang.
        pub(crate) fn rang(&mut self) {
            self.set_for = None;
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use std::io;

    use mio::{Registry, Token};

    use crate::io::Timeout;

    /// There is none.
    pub(crate) enum Alarm {}

    impl Alarm {
        /// # Errors
        ///
        /// Always.
        pub(crate) fn new(_: &Registry, _: Token) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(crate) fn set(&mut self, _: Timeout) {
            match *self {}
        }

        pub(crate) fn rang(&mut self) {
            match *self {}
        }
    }
}
