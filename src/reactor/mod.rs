//! The loop: a slab of connections, a driver that waits, and one turn after another.
//!
//! - [`turn`]: the list of phases, and why they stand in that order. Start here.
//! - [`accept`]: newcomers, limits, and being out of descriptors.
//! - [`serve`]: read, decode, handle.
//! - [`warm`]: the same in a straight line, for the common case.
//! - [`flush`]: write, and what follows from having written.
//! - [`fire`]: timers and deadlines.
//! - [`commands`]: what other threads want.
//! - [`stop`]: the graceful end.
//! - [`reap`]: `on_closed`, and the slot's return.
//! - [`call`]: every call into users' code.

mod accept;
mod call;
mod commands;
mod fire;
mod flush;
mod reap;
mod serve;
mod stop;
mod turn;
mod warm;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;

use self::accept::Acceptor;
use crate::buffer::{BufferPool, ReadBuffer};
use crate::clock::{Clock, Tick};
use crate::codec::Protocol;
use crate::config::Config;
use crate::context::{Connection, ServerRef};
use crate::handle::{ServerHandle, Shared};
use crate::handlers::Handlers;
use crate::id::{ConnectionId, Generation};
use crate::io::{AnyDriver, News};
use crate::logging::Logger;
use crate::registry::{Lifecycle, LogGate, Registry};
use crate::stats::Stats;
use crate::timers::Timers;

type OnAccept<P, S> = Box<dyn FnMut(&mut S, &mut Connection<'_, P, S>) -> Handlers<P, S>>;

/// A server whose turns you take from a loop of your own.
///
/// ```
/// use std::time::Duration;
/// use wheelhouse::codec::BytesCodec;
/// use wheelhouse::{Server, Turn};
///
/// let mut reactor = Server::bind("127.0.0.1:0", BytesCodec::new())?
///     .state(0_u64) // bytes seen
///     .into_reactor(|_, conn| {
///         conn.handlers().on_read(|seen, conn, data| {
///             *seen += data.len() as u64;
///             Ok(conn.write(data)?)
///         })
///     })?;
///
/// for frame in 0..3 {
///     reactor.turn(Some(Duration::ZERO))?; // whatever has come, and no waiting
///     let _world = (frame, reactor.state());
/// }
/// reactor.server().stop(Duration::ZERO);
/// while reactor.turn(None)? == Turn::Running {}
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Dropping it aborts every connection, and runs their `on_closed`.
pub struct Reactor<P: Protocol, S> {
    registry: Registry<P, S>,
    state: S,
    on_accept: OnAccept<P, S>,
    driver: AnyDriver,
    input: ReadBuffer,
    acceptor: Acceptor,
    /// A timer that ends a rest of the acceptor is pending; how many had been accepted when it was set.
    rest: Option<u64>,
    /// A whole rest has brought room for nobody.
    rested_in_vain: bool,
    report: Option<StopReport>,
    /// When the stop's deadline is in the timer queue.
    stop_armed: Option<Tick>,
    /// A signal to stop has come: the next one leaves no grace.
    #[cfg(feature = "signals")]
    signalled: bool,
    /// Commands were left to the next turn.
    commands_left: bool,
    // Kept for their memory from turn to turn.
    news: News,
    attention: Vec<ConnectionId>,
}

/// What a turn leaves the server in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Turn {
    /// It goes on.
    Running,
    /// It has stopped; further turns do nothing.
    Stopped,
}

/// How a stop went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct StopReport {
    /// Connections that ended by themselves within the grace.
    pub closed: u64,
    /// Connections that were aborted.
    pub forced: u64,
    /// From the stop's beginning to the last connection's end.
    pub elapsed: Duration,
}

impl fmt::Display for StopReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { closed, forced, elapsed } = self;
        write!(f, "stopped in {elapsed:.1?}: {closed} connections closed, {forced} forced")
    }
}

impl<P: Protocol, S> Reactor<P, S> {
    pub(crate) fn new(
        protocol: P,
        config: Config,
        state: S,
        on_accept: OnAccept<P, S>,
        driver: AnyDriver,
        clock: Clock,
        local_addr: SocketAddr,
    ) -> io::Result<Self> {
        config.check()?;
        let driver = driver.busy(config.busy_poll, &clock);
        let shared = Arc::new(Shared::new(config.commands, driver.waker(), local_addr));
        // A reactor is not `Send`: the thread that makes it is the one that it runs on.
        shared.notice.enter_loop();
        let registry = Registry {
            protocol,
            watches_silence: config.watches_silence(),
            connection_limit: config.connection_limit(),
            local_addr,
            conns: Slab::new(),
            generation: Generation::FIRST,
            clock,
            timers: Timers::new(),
            pool: BufferPool::default(),
            stats: Stats::default(),
            logger: Logger::new(config.logger.clone()),
            lifecycle: Lifecycle::Running,
            shared,
            overload_log: LogGate::default(),
            by_address: HashMap::new(),
            ready: Vec::new(),
            dirty: Vec::new(),
            doomed: Vec::new(),
            dialing: Vec::new(),
            config,
        };
        Ok(Self {
            registry,
            state,
            on_accept,
            driver,
            input: ReadBuffer::new(),
            acceptor: Acceptor::Waiting,
            rest: None,
            rested_in_vain: false,
            report: None,
            stop_armed: None,
            #[cfg(feature = "signals")]
            signalled: false,
            commands_left: false,
            news: News::default(),
            attention: Vec::new(),
        })
    }

    /// Takes turns until the server has stopped.
    ///
    /// # Errors
    ///
    /// When the system's poll fails, which no peer can bring about.
    pub fn run(mut self) -> io::Result<StopReport> {
        while self.turn(None)? == Turn::Running {}
        Ok(self.report.unwrap_or_default())
    }

    /// The shared state.
    #[must_use]
    pub fn state(&self) -> &S {
        &self.state
    }

    /// The shared state, to be changed between turns.
    pub fn state_mut(&mut self) -> &mut S {
        &mut self.state
    }

    /// The server, as handlers see it.
    pub fn server(&mut self) -> ServerRef<'_, P, S> {
        self.registry.clock.forget(); // the last turn may be long ago
        ServerRef::new(&mut self.registry)
    }

    /// The state and the server at once.
    pub fn parts(&mut self) -> (&mut S, ServerRef<'_, P, S>) {
        self.registry.clock.forget();
        (&mut self.state, ServerRef::new(&mut self.registry))
    }

    /// The address that the server listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.registry.local_addr
    }

    /// The server's view from other threads.
    #[must_use]
    pub fn handle(&self) -> ServerHandle<P, S> {
        ServerHandle::new(Arc::clone(&self.registry.shared))
    }

    /// How the stop went, once the server has stopped.
    #[must_use]
    pub fn report(&self) -> Option<StopReport> {
        self.report
    }
}

impl<P: Protocol, S> fmt::Debug for Reactor<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("local_addr", &self.registry.local_addr)
            .field("connections", &self.registry.conns.len())
            .field("lifecycle", &self.registry.lifecycle)
            .finish_non_exhaustive()
    }
}
