//! The builder: an address, a protocol, settings, a state; then one of three ways to run it.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;

use crate::clock::Clock;
use crate::codec::Protocol;
use crate::config::Config;
use crate::context::Connection;
use crate::handle::ServerHandle;
use crate::handlers::Handlers;
use crate::io::AnyDriver;
use crate::io::listener;
use crate::io::poller::MioDriver;
use crate::reactor::{Reactor, StopReport};

/// A server that listens already and does not serve yet.
///
/// ```no_run
/// use wheelhouse::codec::BytesCodec;
/// use wheelhouse::{Config, Server};
///
/// // An echo server, on this thread, until it is stopped.
/// Server::bind("127.0.0.1:8080", BytesCodec::new())?
///     .config(Config::default().max_connections(100))
///     .run(|_, conn| {
///         conn.handlers().on_read(|_, conn, data| {
///             conn.write(data)?;
///             Ok(())
///         })
///     })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "a server serves nobody until it runs"]
pub struct Server<P: Protocol, S = ()> {
    listener: TcpListener,
    local_addr: SocketAddr,
    protocol: P,
    config: Config,
    state: S,
}

impl<P: Protocol> Server<P> {
    /// Listens at once: peers can connect from here on, and are served once the server runs.
    ///
    /// With port 0 the system chooses one; [`local_addr`](Self::local_addr) tells it. Of several addresses (a host name
    /// may have an IPv4 and an IPv6 one), the first that can be bound is taken.
    ///
    /// # Errors
    ///
    /// When no address can be bound; the message names the address.
    pub fn bind(address: impl ToSocketAddrs, protocol: P) -> io::Result<Self> {
        let config = Config::default();
        let listener = listener::bind(address, config.backlog)?;
        let local_addr = listener.local_addr()?;
        Ok(Self { listener, local_addr, protocol, config, state: () })
    }
}

impl<P: Protocol, S: 'static> Server<P, S> {
    /// The settings, in the place of the defaults.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// A state that every handler gets as `&mut`: no `Rc`, no `RefCell`, no lock.
    pub fn state<T: 'static>(self, state: T) -> Server<P, T> {
        let Self { listener, local_addr, protocol, config, state: _ } = self;
        Server { listener, local_addr, protocol, config, state }
    }

    /// The address that it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves on this thread, until the server is stopped: from a handler, by a signal, or by a handle that a handler gave
    /// away.
    ///
    /// `on_accept` is called with each connection, inbound ones only, and returns its handlers.
    ///
    /// # Errors
    ///
    /// When the settings contradict each other, the system has no descriptor left to start with, or its poll fails.
    pub fn run<F>(self, on_accept: F) -> io::Result<StopReport>
    where
        F: FnMut(&mut S, &mut Connection<'_, P, S>) -> Handlers<P, S> + 'static,
    {
        self.into_reactor(on_accept)?.run()
    }

    /// Makes a reactor, whose turns you take from your own loop.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn into_reactor<F>(self, on_accept: F) -> io::Result<Reactor<P, S>>
    where
        F: FnMut(&mut S, &mut Connection<'_, P, S>) -> Handlers<P, S> + 'static,
    {
        let Self { listener, local_addr, protocol, config, state } = self;
        config.check()?;
        listener::set_backlog(&listener, config.backlog)?;
        listener::widen_table(&listener, config.connection_limit());
        #[cfg_attr(not(feature = "signals"), expect(unused_mut, reason = "signals are added"))]
        let mut driver = MioDriver::new(listener)?;
        #[cfg(feature = "signals")]
        if config.signal_grace.is_some() {
            driver.watch_stop_signals()?;
        }
        let clock = Clock::system();
        let on_accept = Box::new(on_accept);
        let driver = AnyDriver::Mio(Box::new(driver));
        Reactor::new(protocol, config, state, on_accept, driver, clock, local_addr)
    }

    /// Serves on a thread of its own, and returns a handle once it does.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), and when no thread can be started.
    pub fn start<F>(self, on_accept: F) -> io::Result<ServerHandle<P, S>>
    where
        P: Send,
        S: Send,
        F: FnMut(&mut S, &mut Connection<'_, P, S>) -> Handlers<P, S> + Send + 'static,
    {
        let (tell, told) = mpsc::sync_channel(1);
        thread::Builder::new().name("wheelhouse".into()).spawn(move || {
            // The reactor is made here: what its handlers hold need not be `Send`.
            match self.into_reactor(on_accept) {
                Ok(reactor) => {
                    drop(tell.send(Ok(reactor.handle())));
                    // The outcome is told through the handle.
                    drop(reactor.run());
                }
                Err(error) => drop(tell.send(Err(error))),
            }
        })?;
        told.recv().unwrap_or_else(|_| {
            Err(io::Error::other("the server's thread ended before it could serve"))
        })
    }
}

impl<P: Protocol, S> fmt::Debug for Server<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("local_addr", &self.local_addr)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
