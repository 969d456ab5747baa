//! A handler's view of the whole server.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Connection;
use crate::codec::{Encoder, Protocol};
use crate::error::WriteError;
use crate::handle::ServerHandle;
use crate::handlers::Handlers;
use crate::id::{ConnectionId, TimerId};
use crate::io::stream::Socket;
use crate::registry::{Lifecycle, Origin, Registry, Repeat, Task};
use crate::stats::Stats;

/// A periodic timer comes at most so often; the system's sleep is no finer.
pub(super) const SHORTEST_PERIOD: Duration = Duration::from_millis(1);

/// The server, as handlers and timers see it.
pub struct ServerRef<'a, P: Protocol, S> {
    registry: &'a mut Registry<P, S>,
}

/// What a broadcast does about a connection whose outbox is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SlowConsumers {
    /// It misses this packet.
    Skip,
    /// It is dropped, with [`CloseReason::SlowConsumer`](crate::CloseReason::SlowConsumer).
    Disconnect,
}

/// What became of a broadcast.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Broadcast {
    /// Connections that the packet was queued for.
    pub sent: usize,
    /// Connections that missed it because their outbox was full.
    pub skipped: usize,
    /// Connections that were dropped because their outbox was full.
    pub disconnected: usize,
    /// Connections that were not there any more, or closing, or whose codec refused the packet.
    pub failed: usize,
}

impl<'a, P: Protocol, S> ServerRef<'a, P, S> {
    pub(crate) fn new(registry: &'a mut Registry<P, S>) -> Self {
        Self { registry }
    }

    /// The address that the server listens on, with the port that the system chose where port 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.registry.local_addr
    }

    // Connections.

    /// Another connection, by its id; `None` once it is over.
    #[must_use]
    pub fn connection(&mut self, id: ConnectionId) -> Option<Connection<'_, P, S>> {
        let live = self.registry.get(id).is_some_and(|conn| !conn.state.is_closed());
        live.then(|| Connection::new(self.registry, id))
    }

    /// Connections there are, in whatever state.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.registry.conns.len()
    }

    /// Queues a packet for a connection, for somebody who does not wait for the answer.
    pub(crate) fn write_or_count(&mut self, id: ConnectionId, packet: P::Out) {
        if let Err(WriteError::Closed(_)) = self.registry.write(id, packet) {
            self.registry.stats.packets_dropped += 1;
        }
    }

    /// Calls `each` with every connection that is not over, in no particular order.
    pub fn for_each_connection(&mut self, mut each: impl FnMut(&mut Connection<'_, P, S>)) {
        for id in self.registry.live_ids() {
            if let Some(mut conn) = self.connection(id) {
                each(&mut conn);
            }
        }
    }

    /// Empty handlers of this server's types, to set closures on.
    pub fn handlers(&self) -> Handlers<P, S> {
        Handlers::new()
    }

    /// Begins an outbound connection, which then lives beside the inbound ones.
    ///
    /// `on_connect` runs once it is made; packets can be queued before. Where it cannot be made within `limit`,
    /// `on_error` and `on_closed` say why.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] when the server has as many connections as it may, or is stopping.
    pub fn connect(
        &mut self,
        address: SocketAddr,
        limit: Duration,
        handlers: Handlers<P, S>,
    ) -> Result<ConnectionId, ConnectError> {
        if self.registry.lifecycle != Lifecycle::Running {
            return Err(ConnectError::Stopping);
        }
        if self.registry.conns.len() >= self.registry.connection_limit {
            return Err(ConnectError::Full { limit: self.registry.connection_limit });
        }
        let no_socket: Option<Socket> = None;
        let id = self.registry.insert(no_socket, address, Origin::Outbound { limit });
        let until = self.registry.clock.fresh() + limit;
        if let Some(conn) = self.registry.get_mut(id) {
            conn.handlers = handlers;
            conn.state_until = Some(until);
        }
        self.registry.arm(id);
        self.registry.dialing.push((id, address));
        Ok(id)
    }

    // Broadcast.

    /// Queues a packet for every connection that is open for writing.
    ///
    /// Where the codec says that the packet is stateless, it is encoded once, and all outboxes share the bytes.
    pub fn broadcast(&mut self, packet: P::Out, slow: SlowConsumers) -> Broadcast
    where
        P::Out: Clone,
    {
        let everyone = self.writable_ids(None);
        self.broadcast_to(everyone, packet, slow)
    }

    /// As [`broadcast`](Self::broadcast), to everyone but one.
    pub fn broadcast_except(
        &mut self,
        except: ConnectionId,
        packet: P::Out,
        slow: SlowConsumers,
    ) -> Broadcast
    where
        P::Out: Clone,
    {
        let others = self.writable_ids(Some(except));
        self.broadcast_to(others, packet, slow)
    }

    /// As [`broadcast`](Self::broadcast), to the connections named: a room, say.
    pub fn broadcast_to(
        &mut self,
        ids: impl IntoIterator<Item = ConnectionId>,
        packet: P::Out,
        slow: SlowConsumers,
    ) -> Broadcast
    where
        P::Out: Clone,
    {
        let mut report = Broadcast::default();
        let mut shared: Option<Bytes> = None;
        for id in ids {
            match self.deliver(id, &packet, &mut shared) {
                Ok(()) => report.sent += 1,
                Err(WriteError::Full(())) => match slow {
                    SlowConsumers::Skip => report.skipped += 1,
                    SlowConsumers::Disconnect => {
                        self.registry.drop_slow_consumer(id);
                        report.disconnected += 1;
                    }
                },
                Err(_) => report.failed += 1,
            }
        }
        report
    }

    fn writable_ids(&self, except: Option<ConnectionId>) -> Vec<ConnectionId> {
        self.registry
            .conns
            .iter()
            .filter(|(_, conn)| conn.state.is_writable())
            .map(|(slot, conn)| ConnectionId::new(slot, conn.generation))
            .filter(|id| Some(*id) != except)
            .collect()
    }

    /// One delivery of a broadcast.
    fn deliver(
        &mut self,
        id: ConnectionId,
        packet: &P::Out,
        shared: &mut Option<Bytes>,
    ) -> Result<(), WriteError<()>>
    where
        P::Out: Clone,
    {
        let registry = &mut *self.registry;
        let Some(conn) = registry.conns.get_mut(id.slot()) else {
            return Err(WriteError::Closed(()));
        };
        if conn.generation != id.generation() || !conn.state.is_writable() {
            return Err(WriteError::Closed(()));
        }
        if !conn.codec.is_stateless(packet) {
            return registry.write(id, packet.clone()).map_err(|error| match error {
                WriteError::Full(_) => WriteError::Full(()),
                WriteError::Encode(source) => WriteError::Encode(source),
                _ => WriteError::Closed(()),
            });
        }
        let bytes = match shared {
            Some(bytes) => bytes,
            None => {
                let mut buffer = registry.pool.lend();
                let encoded = conn.codec.encode(packet.clone(), &mut buffer);
                let bytes = buffer.take_shared();
                registry.pool.give_back(buffer);
                encoded.map_err(|error| {
                    registry.stats.caller_errors += 1;
                    WriteError::Encode(Box::new(error))
                })?;
                shared.insert(bytes)
            }
        };
        let before = conn.outbound.queued();
        let outbound = &mut conn.outbound;
        if !outbound.write_shared::<P::Codec>(bytes, &registry.config.outbox, &mut registry.pool) {
            registry.stats.packets_refused += 1;
            return Err(WriteError::Full(()));
        }
        let after = conn.outbound.queued();
        registry.stats.queued_bytes = registry.stats.queued_bytes + after - before;
        registry.stats.packets_out += 1;
        if conn.duty.may_list_dirty() {
            registry.dirty.push(id);
        }
        if registry.config.max_queued_bytes.is_some() {
            registry.keep_within_memory();
        }
        Ok(())
    }

    // Timers.

    /// The moment that this turn of the loop takes place.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.registry.clock.instant(self.registry.clock.now())
    }

    /// Calls `then` once, not earlier than `delay` from now (to the millisecond).
    pub fn after<F>(&mut self, delay: Duration, then: F) -> TimerId
    where
        F: FnOnce(&mut S, &mut ServerRef<'_, P, S>) + 'static,
    {
        self.registry.add_timer(delay, Task::Server(Repeat::Once(Box::new(then))))
    }

    /// Calls `each` every `period`, without drift: a call that comes late does not delay the next, and calls that were
    /// missed altogether are left out. A period under 1 ms is taken as 1 ms.
    pub fn every<F>(&mut self, period: Duration, each: F) -> TimerId
    where
        F: FnMut(&mut S, &mut ServerRef<'_, P, S>) + 'static,
    {
        let period = period.max(SHORTEST_PERIOD);
        self.registry.add_timer(period, Task::Server(Repeat::Every(period, Box::new(each))))
    }

    /// Cancels a timer. Says whether it was still to fire.
    pub fn cancel(&mut self, timer: TimerId) -> bool {
        self.registry.timers.cancel(timer)
    }

    // The server itself.

    /// Stops the server: the listener closes, each connection's `on_stop` runs (without one it closes), and what is not
    /// over after `grace` is aborted. With a grace of zero, everything is aborted at once.
    ///
    /// It returns at once; the stop begins later in this turn. A second stop can only shorten the grace.
    pub fn stop(&mut self, grace: Duration) {
        self.registry.request_stop(grace);
    }

    /// Whether the server takes connections: no stop has been asked for.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.registry.lifecycle == Lifecycle::Running
    }

    /// Whether a stop has been asked for and is not over.
    #[must_use]
    pub fn is_shutting_down(&self) -> bool {
        matches!(self.registry.lifecycle, Lifecycle::Asked { .. } | Lifecycle::Stopping(_))
    }

    /// Whether the server has stopped.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.registry.lifecycle == Lifecycle::Stopped
    }

    /// What the server has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.registry.snapshot()
    }

    /// The server's view from other threads.
    #[must_use]
    pub fn handle(&self) -> ServerHandle<P, S> {
        ServerHandle::new(std::sync::Arc::clone(&self.registry.shared))
    }
}

impl<P: Protocol, S> fmt::Debug for ServerRef<'_, P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerRef")
            .field("local_addr", &self.local_addr())
            .field("connections", &self.connection_count())
            .field("lifecycle", &self.registry.lifecycle)
            .finish()
    }
}

/// Why an outbound connection was not begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The server has as many connections as it may.
    Full {
        /// `Config::max_connections`.
        limit: usize,
    },
    /// The server is stopping.
    Stopping,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { limit } => {
                write!(
                    f,
                    "cannot connect: the server has its {limit} connections (max_connections)"
                )
            }
            Self::Stopping => f.write_str("cannot connect: the server is stopping"),
        }
    }
}

impl std::error::Error for ConnectError {}
