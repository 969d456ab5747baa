//! Every limit, in one place, each with its default.
//!
//! Nothing is unbounded unless you say `None` where an `Option` stands, and nothing is a magic zero.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use log::Log;

/// Commands from other threads that one turn carries out, so that no thread can starve the sockets.
pub(crate) const COMMANDS_PER_TURN: usize = 256;

/// Connections that one turn serves: so that a timer waits for a few dozen system calls, and not for those of every busy
/// connection.
pub(crate) const CONNECTIONS_PER_TURN: usize = 64;

/// Timers that one turn fires.
pub(crate) const TIMERS_PER_TURN: usize = 1_024;

/// How long accepting rests after it ran out of descriptors or memory; a closing connection ends the rest early.
pub(crate) const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Descriptors that the default connection limit leaves to the rest of the process.
const DESCRIPTOR_RESERVE: u64 = 64;

/// The connection limit where the system states no limit of descriptors.
const UNLIMITED_DESCRIPTORS: u64 = 1 << 20;

/// The settings of one server.
///
/// ```
/// use std::time::Duration;
/// use wheelhouse::{Config, Overload};
///
/// let config = Config::default()
///     .max_connections(10_000)
///     .overload(Overload::Backlog)
///     .idle_timeout(Duration::from_secs(300))
///     .packet_timeout(None); // no deadline for a half packet
/// # let _ = config;
/// ```
///
/// Where a setting takes `impl Into<Option<T>>`, give a value, or `None` for no limit. Settings that contradict each other
/// are refused, by name, when the server starts.
#[derive(Clone)]
pub struct Config {
    pub(crate) max_connections: Option<usize>,
    pub(crate) overload: Overload,
    pub(crate) max_connections_per_address: Option<usize>,
    pub(crate) accepts_per_turn: usize,
    pub(crate) read_budget: usize,
    pub(crate) packet_budget: usize,
    pub(crate) inbox: usize,
    pub(crate) outbox: Marks,
    pub(crate) commands: usize,
    pub(crate) handle_writes: usize,
    pub(crate) packet_timeout: Option<Duration>,
    pub(crate) write_timeout: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) probe_after: Option<Duration>,
    pub(crate) linger: Duration,
    pub(crate) errors: usize,
    pub(crate) backlog: u32,
    pub(crate) max_queued_bytes: Option<usize>,
    pub(crate) half_open: bool,
    pub(crate) panic_policy: PanicPolicy,
    pub(crate) logger: Option<Arc<dyn Log>>,
    pub(crate) busy_poll: Duration,
    #[cfg(feature = "signals")]
    pub(crate) signal_grace: Option<Duration>,
}

/// The three levels of an outbox, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Marks {
    pub(crate) low: usize,
    pub(crate) high: usize,
    pub(crate) cap: usize,
}

/// What happens to a peer that connects when the server is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Overload {
    /// Accept it and close it at once: it learns quickly that there is no room. Counted in `Stats::rejected`.
    #[default]
    Reject,
    /// Leave it in the kernel's backlog until a connection closes: it waits, and the backlog's length is the limit.
    Backlog,
}

/// What a panic in a handler, a codec, or the `Drop` of something that was left with a connection brings down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum PanicPolicy {
    /// The connection, with [`CloseReason::HandlerPanic`](crate::CloseReason::HandlerPanic); the others go on.
    ///
    /// The shared state is as the panicking handler left it.
    #[default]
    CloseConnection,
    /// The process, by `std::process::abort`, once the panic's message has been printed.
    AbortProcess,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: None,
            overload: Overload::Reject,
            max_connections_per_address: None,
            accepts_per_turn: 64,
            read_budget: 64 * 1024,
            packet_budget: 128,
            inbox: 100,
            outbox: Marks { low: 16 * 1024, high: 64 * 1024, cap: 1024 * 1024 },
            commands: 1_024,
            handle_writes: 100,
            packet_timeout: Some(Duration::from_secs(30)),
            write_timeout: Some(Duration::from_secs(30)),
            idle_timeout: None,
            probe_after: None,
            linger: Duration::from_secs(2),
            errors: 16,
            backlog: 1_024,
            max_queued_bytes: None,
            half_open: false,
            panic_policy: PanicPolicy::CloseConnection,
            logger: None,
            busy_poll: Duration::ZERO,
            #[cfg(feature = "signals")]
            signal_grace: None,
        }
    }
}

impl Config {
    /// Connections at a time, inbound and outbound together. `None`, the default: the process's limit of open files
    /// (`RLIMIT_NOFILE`) less 64.
    #[must_use]
    pub fn max_connections(mut self, limit: impl Into<Option<usize>>) -> Self {
        self.max_connections = limit.into();
        self
    }

    /// What happens to a peer that connects over the limit. Default: [`Overload::Reject`].
    #[must_use]
    pub fn overload(mut self, overload: Overload) -> Self {
        self.overload = overload;
        self
    }

    /// Inbound connections at a time from one IP address; one more is accepted and closed at once. Default: no limit.
    #[must_use]
    pub fn max_connections_per_address(mut self, limit: impl Into<Option<usize>>) -> Self {
        self.max_connections_per_address = limit.into();
        self
    }

    /// Connections accepted in one turn, before those that are there get their share. Default: 64.
    #[must_use]
    pub fn accepts_per_turn(mut self, accepts: usize) -> Self {
        self.accepts_per_turn = accepts;
        self
    }

    /// Bytes read from one connection in one turn. Default: 64 KiB.
    #[must_use]
    pub fn read_budget(mut self, bytes: usize) -> Self {
        self.read_budget = bytes;
        self
    }

    /// Packets handled for one connection in one turn. Default: 128.
    #[must_use]
    pub fn packet_budget(mut self, packets: usize) -> Self {
        self.packet_budget = packets;
        self
    }

    /// Packets that wait in the inbox of a connection without an `on_read`; when it is full, its peer is not read.
    /// Default: 100.
    #[must_use]
    pub fn inbox(mut self, packets: usize) -> Self {
        self.inbox = packets;
        self
    }

    /// The outbox of a connection, in bytes. At `high` its peer is not read any more, at `low` it is read again and
    /// `on_drain` runs; over `cap` a write is refused. Default: 16 KiB, 64 KiB, 1 MiB.
    #[must_use]
    pub fn outbox(mut self, low: usize, high: usize, cap: usize) -> Self {
        self.outbox = Marks { low, high, cap };
        self
    }

    /// Commands from other threads that wait for the loop; one more blocks its sender, or is refused. Default: 1,024.
    #[must_use]
    pub fn commands(mut self, commands: usize) -> Self {
        self.commands = commands;
        self
    }

    /// Packets that wait in a [`ConnectionHandle`](crate::ConnectionHandle) for the loop; one more blocks its sender, or
    /// is refused. Default: 100.
    #[must_use]
    pub fn handle_writes(mut self, packets: usize) -> Self {
        self.handle_writes = packets;
        self
    }

    /// How long a packet may be half arrived, from its first byte. Default: 30 s.
    #[must_use]
    pub fn packet_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.packet_timeout = limit.into();
        self
    }

    /// How long output may wait without the peer taking any. Default: 30 s.
    #[must_use]
    pub fn write_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.write_timeout = limit.into();
        self
    }

    /// How long a connection may bring nothing. Default: no limit.
    ///
    /// What counts is what this side has read. So it ends also a peer whose bytes lie unread because reading is paused, the
    /// inbox is full or the outbox is over its high mark: one that has died meanwhile could not be told from it, and would
    /// stay for ever. Whoever pauses for longer than this has to set no limit.
    ///
    /// An outbound connection's time begins when it has been made.
    #[must_use]
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = limit.into();
        self
    }

    /// After how long without input a protocol that can do so asks its peer for a sign of life, once in each silence: a
    /// WebSocket sends a ping. The answer is input as any other, so [`idle_timeout`](Self::idle_timeout), which should be
    /// longer, is the deadline for it. Default: never; without effect on a codec that has nothing to ask.
    #[must_use]
    pub fn probe_after(mut self, silence: impl Into<Option<Duration>>) -> Self {
        self.probe_after = silence.into();
        self
    }

    /// Whether anybody wants to know when input last came.
    #[inline]
    pub(crate) fn watches_silence(&self) -> bool {
        self.idle_timeout.is_some() || self.probe_after.is_some()
    }

    /// After a `close`: how long to wait, once all is sent, for the peer to end its side. Default: 2 s.
    ///
    /// A socket that is closed while input waits in it takes the last output down with it; the wait is for that.
    #[must_use]
    pub fn linger(mut self, limit: Duration) -> Self {
        self.linger = limit;
        self
    }

    /// Errors that wait for [`take_error`](crate::Connection::take_error) where no `on_error` is set; the oldest gives
    /// way, and is counted. Default: 16.
    #[must_use]
    pub fn errors(mut self, errors: usize) -> Self {
        self.errors = errors;
        self
    }

    /// Connections that the kernel completes ahead of `accept`; it caps this by `net.core.somaxconn`. Default: 1,024.
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Bytes in all outboxes and inboxes together; over it, the connection that holds most is dropped. Default: no limit.
    #[must_use]
    pub fn max_queued_bytes(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.max_queued_bytes = bytes.into();
        self
    }

    /// Whether a connection stays open for writing once its peer has ended its stream; `on_end` is told, and the handler
    /// closes. Default: `false`, the connection then closes by itself when its output has been sent.
    #[must_use]
    pub fn half_open(mut self, half_open: bool) -> Self {
        self.half_open = half_open;
        self
    }

    /// What a panic in a handler brings down. Default: its connection.
    #[must_use]
    pub fn panic_policy(mut self, policy: PanicPolicy) -> Self {
        self.panic_policy = policy;
        self
    }

    /// A logger of this server's own, in place of the one that `log::set_logger` installed for the process.
    ///
    /// It is asked by its own `enabled`; `log::max_level` does not apply to it.
    #[must_use]
    pub fn logger(mut self, logger: Arc<dyn Log>) -> Self {
        self.logger = Some(logger);
        self
    }

    /// How long the loop looks for news again and again before it sleeps, counted from when it last had something to do.
    /// Default: zero, it sleeps at once.
    ///
    /// What comes meanwhile is served at once: nobody has to wake a thread for it, which takes the kernel some
    /// microseconds, and more where the core has fallen asleep itself. What it costs is a core, up to the whole of it: the
    /// loop works for as long as this after each thing that it does, and all the time where something comes more often
    /// than that. 20 µs to 200 µs are usual; with `Duration::MAX` it never sleeps. Set it where the loop has a core to
    /// itself: on a core that is shared, it takes the time away from the very peers and threads that it waits for. What it
    /// bought and cost on one machine stands in `docs/benchmarks.md`.
    ///
    /// Timers are not late for it, and whatever other threads ask is found by the looks as by the sleep. A timeout that
    /// [`Reactor::turn`](crate::Reactor::turn) was given holds for looking and sleeping together, and with a timeout of
    /// zero it looks once.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wheelhouse::Config;
    ///
    /// let config = Config::default().busy_poll(Duration::from_micros(50));
    /// # let _ = config;
    /// ```
    #[must_use]
    pub fn busy_poll(mut self, limit: Duration) -> Self {
        self.busy_poll = limit;
        self
    }

    /// Stops the server on SIGINT and SIGTERM, as `stop(grace)` does; a second signal stops at once. The first one in a stop
    /// that was asked for otherwise is a second stop as any other: it can only shorten the grace.
    #[cfg(feature = "signals")]
    #[must_use]
    pub fn stop_on_signals(mut self, grace: Duration) -> Self {
        self.signal_grace = Some(grace);
        self
    }

    /// The connection limit in force.
    pub(crate) fn connection_limit(&self) -> usize {
        self.max_connections.unwrap_or_else(|| {
            let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile)
                .current
                .unwrap_or(UNLIMITED_DESCRIPTORS);
            usize::try_from(descriptors.saturating_sub(DESCRIPTOR_RESERVE).max(1))
                .unwrap_or(usize::MAX)
        })
    }

    /// Refuses settings under which nothing could work.
    pub(crate) fn check(&self) -> io::Result<()> {
        let Marks { low, high, cap } = self.outbox;
        let positive = [
            ("max_connections", self.max_connections.unwrap_or(1)),
            ("max_connections_per_address", self.max_connections_per_address.unwrap_or(1)),
            ("accepts_per_turn", self.accepts_per_turn),
            ("read_budget", self.read_budget),
            ("packet_budget", self.packet_budget),
            ("inbox", self.inbox),
            ("commands", self.commands),
            ("handle_writes", self.handle_writes),
            ("errors", self.errors),
            ("backlog", self.backlog as usize),
            ("outbox's high mark", high),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(invalid(format!("{name} is 0: the server could do nothing")));
        }
        if !(low < high && high <= cap) {
            return Err(invalid(format!(
                "outbox({low}, {high}, {cap}) is out of order: low < high <= cap is needed"
            )));
        }
        Ok(())
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("bad configuration: {message}"))
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("max_connections", &self.max_connections)
            .field("overload", &self.overload)
            .field("max_connections_per_address", &self.max_connections_per_address)
            .field("outbox", &self.outbox)
            .field("inbox", &self.inbox)
            .field("packet_timeout", &self.packet_timeout)
            .field("write_timeout", &self.write_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("probe_after", &self.probe_after)
            .field("half_open", &self.half_open)
            .field("busy_poll", &self.busy_poll)
            .finish_non_exhaustive()
    }
}
