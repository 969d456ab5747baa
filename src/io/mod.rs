//! The only files that name mio or socket2.
//!
//! Above this line the loop knows a [`Socket`](stream::Socket), which reads and writes, and a [`Driver`], which waits. The
//! real driver is [`poller`]'s; tests bring one of their own, so that the loop under test is the loop that ships.

mod alarm;
mod busy;
pub(crate) mod listener;
pub(crate) mod poller;
pub(crate) mod stream;

use std::io;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use self::busy::BusyPoll;
use self::poller::MioDriver;
use self::stream::Socket;
use crate::clock::{Clock, Tick};

/// One socket's news.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Readiness {
    pub(crate) token: usize,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer has ended its stream, or the socket has failed: reading will tell which.
    pub(crate) ending: bool,
}

/// What one poll told.
#[derive(Default, Debug)]
pub(crate) struct News {
    pub(crate) of_connections: Vec<Readiness>,
    /// There may be somebody in the backlog.
    pub(crate) of_listener: bool,
    /// A signal to stop may have come.
    pub(crate) of_signals: bool,
    /// Another thread has rung. The loop knows that from its queues; this is for who polls again before it looks at them.
    pub(crate) of_waker: bool,
}

impl News {
    /// Whether any of it is of the server itself.
    #[inline]
    pub(crate) fn is_of_server(&self) -> bool {
        self.of_listener | self.of_signals
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, readiness: Readiness) {
        if readiness.token > LAST_OWN_TOKEN {
            self.of_connections.push(readiness);
        } else {
            self.note_own(readiness.token);
        }
    }

    /// News of the server itself.
    #[cold]
    fn note_own(&mut self, token: usize) {
        match token {
            LISTENER => self.of_listener = true,
            SIGNALS => self.of_signals = true,
            WAKER => self.of_waker = true,
            other => debug_assert!(false, "news of an unknown token: {other}"),
        }
    }

    /// Whether a poll has told anything.
    fn is_something(&self) -> bool {
        !self.of_connections.is_empty() || self.of_listener || self.of_signals || self.of_waker
    }
}

/// The token of the listener; a connection's tokens are all above 2³².
pub(crate) const LISTENER: usize = 0;

/// The token of the signals to stop.
pub(crate) const SIGNALS: usize = 1;

/// The token of the bell that other threads ring; its ringing is all that there is to its news.
pub(crate) const WAKER: usize = 2;

/// The token of the alarm that ends a short sleep on time.
const ALARM: usize = 3;

/// The loop's own tokens end here.
const LAST_OWN_TOKEN: usize = ALARM;

/// How long the loop may sleep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Timeout {
    /// From now.
    pub(crate) span: Duration,
    /// The moment that the span ends: it tells whether this is the same deadline as the last time.
    pub(crate) at: Tick,
}

impl Timeout {
    /// A look, and no sleep.
    pub(crate) const NONE: Self = Self { span: Duration::ZERO, at: Tick::START };
}

/// A way to end the loop's sleep from another thread.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// What the loop needs of the system.
///
/// Readiness is edge-triggered: it is told once, and again only after a call said would-block.
pub(crate) trait Driver {
    /// Waits until there is news, for `timeout` at most (`None`: without limit), and adds it to `news`. It may also end
    /// earlier, with none.
    fn poll(&mut self, timeout: Option<Timeout>, news: &mut News) -> io::Result<()>;

    /// Looks whether there is news, and does not sleep: one of many looks in a row.
    fn look(&mut self, news: &mut News) -> io::Result<()> {
        self.poll(Some(Timeout::NONE), news)
    }

    /// Takes one connection off the backlog.
    fn accept(&mut self) -> io::Result<(Socket, SocketAddr)>;

    /// Out of descriptors: gives up the spare one to accept one peer and close it, so that it learns where it stands.
    /// Says whether it could.
    fn shed(&mut self) -> bool;

    /// Stops listening. `accept` is not called again.
    fn close_listener(&mut self);

    /// Begins an outbound connection; it is made, or has failed, once the socket is writable.
    fn connect(&mut self, address: SocketAddr) -> io::Result<Socket>;

    /// Asks for the socket's news, both ways, for as long as it lives.
    fn register(&mut self, socket: &mut Socket, token: usize) -> io::Result<()>;

    /// Signals to stop that have come since the last call; to be asked after news of [`SIGNALS`].
    fn stop_signals(&mut self) -> u32;

    fn waker(&self) -> Wake;
}

/// The real driver, without a detour where each turn passes, or anything else.
pub(crate) enum AnyDriver {
    Mio(Box<MioDriver>),
    /// Those of tests, and one that looks again and again before it sleeps.
    Custom(Box<dyn Driver>),
}

impl AnyDriver {
    /// The same, looking for news for so long before it sleeps. Where that is for no time, nothing stands in between.
    pub(crate) fn busy(self, limit: Duration, clock: &Clock) -> Self {
        if limit.is_zero() {
            return self;
        }
        let driver: Box<dyn Driver> = match self {
            Self::Mio(driver) => driver,
            Self::Custom(driver) => driver,
        };
        Self::Custom(Box::new(BusyPoll::new(driver, limit, clock.clone())))
    }

    #[inline(always)]
    pub(crate) fn poll(&mut self, timeout: Option<Timeout>, news: &mut News) -> io::Result<()> {
        match self {
            Self::Mio(driver) => driver.poll(timeout, news),
            Self::Custom(driver) => poll_custom(&mut **driver, timeout, news),
        }
    }
}

#[cold]
fn poll_custom(
    driver: &mut dyn Driver,
    timeout: Option<Timeout>,
    news: &mut News,
) -> io::Result<()> {
    driver.poll(timeout, news)
}

impl Deref for AnyDriver {
    type Target = dyn Driver;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Mio(driver) => &**driver,
            Self::Custom(driver) => &**driver,
        }
    }
}

impl DerefMut for AnyDriver {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Self::Mio(driver) => &mut **driver,
            Self::Custom(driver) => &mut **driver,
        }
    }
}
