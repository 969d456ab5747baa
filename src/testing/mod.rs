//! A server under test with no socket, no thread and no sleep: scripted peers, a clock that you move, faults from a seed.
//!
//! A [`Simulation`] runs the very loop that ships, on a network that it simulates. Peers say what they say when the test
//! lets them; time passes when the test says so; the loop takes a turn when it is told to. So a test of a handler or of a
//! codec is exact: a deadline of 30 seconds is tested in no time, and a stuck peer stays stuck.
//!
//! ```
//! use std::time::Duration;
//! use wheelhouse::codec::BytesCodec;
//! use wheelhouse::testing::Simulation;
//! use wheelhouse::{CloseReason, Config};
//!
//! let mut sim = Simulation::builder(BytesCodec::new())
//!     .config(Config::default().idle_timeout(Duration::from_secs(60)))
//!     .state(Vec::new())
//!     .start(|_, conn| {
//!         conn.handlers()
//!             .on_read(|_, conn, data| Ok(conn.write(data)?))
//!             .on_closed(|closed: &mut Vec<CloseReason>, _, reason| closed.push(reason))
//!     });
//!
//! let peer = sim.connect();
//! peer.send("hello");
//! sim.run_until_idle();
//! assert_eq!(peer.received(), b"hello");
//!
//! sim.run_for(Duration::from_secs(59));
//! assert!(!peer.is_ended());
//! sim.run_for(Duration::from_secs(1));
//! assert!(peer.is_ended());
//! peer.end();
//! sim.run_until_idle();
//! assert_eq!(sim.state(), &[CloseReason::Idle]);
//! ```
//!
//! # Faults
//!
//! A real network splits, delays and breaks. [`Faults`] says how often the simulated one does; the choices come from the
//! seed, so a failure can be had again. A test that panics prints the seed of its simulation.
//!
//! ```
//! use wheelhouse::codec::BytesCodec;
//! use wheelhouse::testing::{Faults, Simulation};
//!
//! for seed in 0..20 {
//!     let mut sim = Simulation::builder(BytesCodec::new())
//!         .seed(seed)
//!         .faults(Faults::rough()) // short reads and writes, would-blocks, lying events; nothing is lost
//!         .start(|_, conn| conn.handlers().on_read(|_, conn, data| Ok(conn.write(data)?)));
//!     let peer = sim.connect();
//!     peer.send("whatever the network does");
//!     sim.run_until_idle();
//!     assert_eq!(peer.received(), b"whatever the network does");
//! }
//! ```
//!
//! # What is simulated, and what is not
//!
//! Events come as edge-triggered epoll gives them: once for each arrival of bytes, of an end or of a reset, and once for
//! room after a write that found none. A close with input unread resets. Addresses, descriptors, buffers' sizes and
//! latency are not simulated: what a peer sends has arrived, and what the server writes the peer has, up to
//! [`Peer::window`] and to where a connection is reset.

mod driver;
mod faults;
mod network;
mod pipe;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::driver::SimDriver;
pub use self::faults::{Dial, Faults, Sleep};
use self::network::Network;
pub use self::pipe::Peer;
use crate::clock::Clock;
use crate::codec::Protocol;
use crate::config::Config;
use crate::context::{Connection, ServerRef};
use crate::handlers::Handlers;
use crate::io::AnyDriver;
use crate::reactor::Reactor;

/// Turns after which a loop that has not come to rest never will.
const RESTLESS_AFTER: usize = 100_000;

/// A simulation that has not started: [`Simulation::builder`].
#[must_use]
pub struct Builder<P: Protocol, S = ()> {
    protocol: P,
    config: Config,
    state: S,
    seed: u64,
    faults: Faults,
}

impl<P: Protocol, S: 'static> Builder<P, S> {
    /// The settings, in the place of the defaults.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// A state that every handler gets as `&mut`.
    pub fn state<T: 'static>(self, state: T) -> Builder<P, T> {
        let Self { protocol, config, state: _, seed, faults } = self;
        Builder { protocol, config, state, seed, faults }
    }

    /// Where the faults' choices come from. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How often the network misbehaves. Default: never.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Starts it, at the moment zero. `on_accept` is called with each peer that connects.
    ///
    /// # Panics
    ///
    /// When the settings contradict each other.
    pub fn start<F>(self, on_accept: F) -> Simulation<P, S>
    where
        F: FnMut(&mut S, &mut Connection<'_, P, S>) -> Handlers<P, S> + 'static,
    {
        let Self { protocol, config, state, seed, faults } = self;
        let local_addr = SocketAddr::from(([127, 0, 0, 1], 1));
        let nanos = Arc::new(AtomicU64::new(0));
        let network = Network::new(seed, faults, local_addr, Arc::clone(&nanos));
        let clock = Clock::manual(Arc::clone(&nanos));
        let driver = AnyDriver::Custom(Box::new(SimDriver(network.clone())));
        let on_accept = Box::new(on_accept);
        match Reactor::new(protocol, config, state, on_accept, driver, clock, local_addr) {
            Ok(reactor) => Simulation { reactor, network, nanos, seed, peers: 0 },
            Err(error) => panic!("{error}"),
        }
    }
}

impl<P: Protocol, S: fmt::Debug> fmt::Debug for Builder<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .field("state", &self.state)
            .field("seed", &self.seed)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

/// A server on a simulated network, with a clock that stands still until it is moved. See the [module](self).
///
/// Where the test panics, dropping it prints its seed to the standard error.
pub struct Simulation<P: Protocol, S = ()> {
    reactor: Reactor<P, S>,
    network: Network,
    nanos: Arc<AtomicU64>,
    seed: u64,
    peers: u16,
}

impl<P: Protocol> Simulation<P> {
    /// Begins to build one.
    pub fn builder(protocol: P) -> Builder<P> {
        Builder { protocol, config: Config::default(), state: (), seed: 0, faults: Faults::none() }
    }
}

impl<P: Protocol, S: 'static> Simulation<P, S> {
    // Peers.

    /// A peer connects, from 127.0.0.1 and a port that nobody had before (until 65,536 have come). It stands in the
    /// backlog until the loop accepts it; where the server has stopped listening, it is reset.
    pub fn connect(&mut self) -> Peer {
        self.peers = self.peers.wrapping_add(1);
        self.connect_from(SocketAddr::from(([127, 0, 0, 1], self.peers)))
    }

    /// As [`connect`](Self::connect), from this address.
    pub fn connect_from(&mut self, address: SocketAddr) -> Peer {
        let at = self.network.0.borrow_mut().arrive(address);
        Peer::new(self.network.clone(), at)
    }

    /// Peers that wait to be accepted.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.network.0.borrow().listener.as_ref().map_or(0, |listener| listener.backlog.len())
    }

    /// The next `times` calls of `accept` fail with this `errno`: 24 is `EMFILE` on every Unix.
    pub fn fail_accept(&mut self, errno: i32, times: usize) {
        if let Some(listener) = &mut self.network.0.borrow_mut().listener {
            listener.failures.extend(std::iter::repeat_n(errno, times));
        }
    }

    /// The next `times` connections cannot be registered with the poll (`ENOSPC`).
    pub fn fail_register(&mut self, times: usize) {
        self.network.0.borrow_mut().register_failures += times;
    }

    /// What becomes of the next outbound connection that has no plan yet; without a plan it is [`Dial::Accept`].
    pub fn plan_dial(&mut self, dial: Dial) {
        self.network.0.borrow_mut().dials.push_back(dial);
    }

    /// The far end of the oldest outbound connection that was begun and not handed out yet.
    pub fn dialled(&mut self) -> Option<Peer> {
        let at = self.network.0.borrow_mut().dialled.pop_front()?;
        Some(Peer::new(self.network.clone(), at))
    }

    /// How often the network misbehaves from here on.
    pub fn set_faults(&mut self, faults: Faults) {
        self.network.0.borrow_mut().faults = faults;
    }

    // Turns and time.

    /// Takes one turn, which never sleeps, and says for how long it would have.
    ///
    /// After the server has stopped a turn does nothing, and would sleep for ever.
    pub fn turn(&mut self) -> Sleep {
        self.network.0.borrow_mut().sleep = Sleep::Unlimited;
        if let Err(error) = self.reactor.turn(None) {
            panic!("seed {}: {error}", self.seed);
        }
        self.network.0.borrow().sleep
    }

    /// Takes turns until the loop would sleep and nothing is under way to it. Returns for how long it would sleep.
    ///
    /// # Panics
    ///
    /// When it has not come to rest after 100,000 turns: it spins, or a handler never leaves it in peace.
    pub fn run_until_idle(&mut self) -> Sleep {
        for _ in 0..RESTLESS_AFTER {
            let sleep = self.turn();
            if self.is_stopped() {
                return Sleep::Unlimited;
            }
            if sleep != Sleep::None && self.is_quiet() {
                return sleep;
            }
        }
        panic!("seed {}: the loop has not come to rest in {RESTLESS_AFTER} turns", self.seed);
    }

    /// Whether nothing is under way to the loop: its last turn was told nothing, and neither would the next one be.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let net = self.network.0.borrow();
        !net.has_told && !net.has_news()
    }

    /// Lets time pass as a loop sees it: runs until idle, sleeps for as long as the loop asks for, runs again, until `span`
    /// is over.
    ///
    /// # Panics
    ///
    /// As [`run_until_idle`](Self::run_until_idle).
    pub fn run_for(&mut self, span: Duration) {
        let end = self.elapsed() + span;
        loop {
            let sleep = self.run_until_idle();
            let left = end.saturating_sub(self.elapsed());
            match sleep {
                _ if left.is_zero() => return,
                Sleep::AtMost(limit) => self.advance(limit.min(left)),
                Sleep::None | Sleep::Unlimited => self.advance(left),
            }
        }
    }

    /// Moves the clock, and does nothing else: the next turn finds that it has overslept.
    pub fn advance(&mut self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let now = self.nanos.load(Ordering::Relaxed);
        self.nanos.store(now.saturating_add(nanos), Ordering::Relaxed);
    }

    /// How often the loop has looked for news instead of sleeping, as [`Config::busy_poll`] has it do. Each look takes
    /// 1 µs of the simulation's time: this alone moves the clock by itself.
    #[must_use]
    pub fn looks(&self) -> u64 {
        self.network.0.borrow().looks
    }

    /// How far the clock has been moved.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    // The server.

    /// The shared state.
    #[must_use]
    pub fn state(&self) -> &S {
        self.reactor.state()
    }

    /// The shared state, to be changed between turns.
    pub fn state_mut(&mut self) -> &mut S {
        self.reactor.state_mut()
    }

    /// The server, as handlers see it.
    pub fn server(&mut self) -> ServerRef<'_, P, S> {
        self.reactor.server()
    }

    /// The reactor itself.
    pub fn reactor(&mut self) -> &mut Reactor<P, S> {
        &mut self.reactor
    }

    /// Whether the server has stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.reactor.report().is_some()
    }

    /// The seed that the faults are drawn from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

impl<P: Protocol, S> Drop for Simulation<P, S> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the simulation's seed was {}", self.seed);
        }
    }
}

impl<P: Protocol, S> fmt::Debug for Simulation<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("seed", &self.seed)
            .field("reactor", &self.reactor)
            .finish_non_exhaustive()
    }
}
